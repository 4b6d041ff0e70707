"""What scores are worth: Best-of-N, pair accuracy, intervals and ranks, and the shallow scorers to beat.

Pure functions from arrays to numbers: nothing here loads a model, reads the store or decides what a report prints.
"""

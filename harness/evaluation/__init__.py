"""What scores are worth: Best-of-N, pair accuracy, intervals and ranks, and the shallow scorers to beat.

Pure functions from arrays to numbers: nothing here loads a model, reads the store or decides what a report prints.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

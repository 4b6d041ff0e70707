"""Benchmark harness for code-preference-model pretraining (CodePMP, arXiv 2410.02229)."""

__version__ = "0.1.0"

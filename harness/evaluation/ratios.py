"""Ratios of two sums over problems as one value a problem, so that they get intervals as means do."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from harness.evaluation import Floats


def ratio_values(above: ArrayLike, below: ArrayLike) -> Floats | None:
    """Values whose mean is sum(above) / sum(below), and whose spread is that of the ratio.

    With r the ratio, problem i has r + n (above_i - r below_i) / sum(below): Taylor linearisation (Woodruff 1971), n
    the problems that enter `below`. A single value may lie outside the range of the ratio.

    Args:
        above, below: (problems,) what a problem adds to either sum; no `below` is negative.

    Returns:
        (problems,) float64, NaN where `below` is 0, since such a problem says nothing; None where all are.
    """
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    counts = bottom > 0
    total = float(bottom[counts].sum())
    if not total:
        return None
    ratio = float(top[counts].sum()) / total
    values = np.full(len(bottom), np.nan)
    values[counts] = ratio + counts.sum() * (top[counts] - ratio * bottom[counts]) / total
    return values

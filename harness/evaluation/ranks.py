"""Many comparisons at once: corrected p-values, and which arms are in order and which are tied.

`statistics.py` and `seeds.py` say what one comparison is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import DataError
from harness.evaluation import Floats


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p-values (family-wise error, any dependence), in the order given.

    Raises:
        DataError: a p-value outside [0, 1].
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if raw.ndim != 1 or not ((raw >= 0) & (raw <= 1)).all():
        raise DataError("p-values must be a list of numbers in [0, 1]", f"they are {raw.tolist()}", "check the tests")
    order = np.argsort(raw, kind="stable")
    steps = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


@dataclass(frozen=True, kw_only=True)
class RankRange:
    """An arm's place: ranks `low` (best) to `high` cannot be told apart; 1 is the highest mean."""

    name: str
    low: int
    high: int
    tied_with: tuple[str, ...]


def rank_groups(
    means: Mapping[str, float], p_values: Mapping[tuple[str, str], float], *, level: float = 0.95
) -> tuple[RankRange, ...]:
    """Which arms are ordered and which must be declared tied.

    Holm over all pairs; an arm's rank lies between 1 + the arms significantly above it and arms - those significantly
    below. All ranges hold together with the given level (Mogstad et al. 2024), over what the p-values are over.

    Args:
        means: of the arms.
        p_values: two-sided, of the difference of every pair of arms, each pair once.
        level: 1 - family-wise error.

    Returns:
        Arms by falling mean.

    Raises:
        DataError: a p-value outside [0, 1].
    """
    names, couples = list(means), list(p_values)
    above: set[tuple[str, str]] = set()
    for (left, right), adjusted in zip(couples, holm([p_values[pair] for pair in couples]).tolist(), strict=True):
        if adjusted <= 1 - level:
            above.add((left, right) if means[left] > means[right] else (right, left))
    return tuple(
        RankRange(
            name=arm,
            low=1 + sum((other, arm) in above for other in names),
            high=len(names) - sum((arm, other) in above for other in names),
            tied_with=tuple(
                other for other in names if other != arm and (arm, other) not in above and (other, arm) not in above
            ),
        )
        for arm in sorted(names, key=lambda name: -means[name])
    )

"""Many comparisons at once: corrected p-values, and which arms are in order and which are tied.

Every pair of arms is compared over the same problems; what one comparison is worth is `statistics.py`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from harness.errors import DataError
from harness.evaluation.statistics import Floats, checked_values, mean_p_values


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p-values (family-wise error, any dependence), in the order given.

    Raises:
        DataError: a p-value outside [0, 1].
    """
    raw = _checked_p_values(p_values)
    order = np.argsort(raw, kind="stable")
    steps = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Benjamini and Hochberg's adjusted p-values (false discovery rate), for exploratory rows."""
    raw = _checked_p_values(p_values)
    return np.asarray(stats.false_discovery_control(raw, method="bh")) if len(raw) else raw


@dataclass(frozen=True, kw_only=True)
class RankRange:
    """An arm's place: ranks `low` (best) to `high` cannot be told apart; 1 is the highest mean."""

    name: str
    estimate: float
    low: int
    high: int
    tied_with: tuple[str, ...]


def rank_groups(
    names: Sequence[str], values: ArrayLike, clusters: ArrayLike, *, level: float = 0.95
) -> tuple[RankRange, ...]:
    """Which arms are ordered and which must be declared tied, over the same problems.

    Every pair of arms is tested by its paired difference (`paired_p_value`), Holm over all pairs; an arm's rank lies
    between 1 + the arms significantly above it and arms - those significantly below. All ranges hold together with the
    given level (Mogstad et al. 2024), over problems only.

    Args:
        names: of the arms, all different.
        values: (arms, problems); seeds averaged first.
        clusters: (problems,) labels.
        level: 1 - family-wise error.

    Returns:
        Arms by falling mean.

    Raises:
        DataError: as `cluster_bootstrap_mean`, or names that do not fit.
    """
    table = checked_values(values)
    arms = len(table)
    if len(names) != arms or len(set(names)) != arms:
        raise DataError("every arm needs a name of its own", f"{arms} arms are named {list(names)}", "name each once")
    means = table.mean(axis=1)
    above = np.zeros((arms, arms), dtype=bool)
    couples = list(combinations(range(arms), 2))
    if couples:
        first, second = np.array(couples).T
        adjusted = holm(mean_p_values((table[first] - table[second]).T, clusters))
        for (left, right), p_value in zip(couples, adjusted.tolist(), strict=True):
            if p_value <= 1 - level:
                winner, loser = (left, right) if means[left] > means[right] else (right, left)
                above[winner, loser] = True
    ranges = []
    for arm in np.argsort(-means, kind="stable").tolist():
        tied = ~above[arm] & ~above[:, arm]
        ranges.append(
            RankRange(
                name=names[arm],
                estimate=float(means[arm]),
                low=1 + int(above[:, arm].sum()),
                high=arms - int(above[arm].sum()),
                tied_with=tuple(names[other] for other in np.flatnonzero(tied).tolist() if other != arm),
            )
        )
    return tuple(ranges)


def _checked_p_values(p_values: ArrayLike) -> Floats:
    raw = np.asarray(p_values, dtype=np.float64)
    if raw.ndim != 1 or not ((raw >= 0) & (raw <= 1)).all():
        raise DataError("p-values must be a list of numbers in [0, 1]", f"they are {raw.tolist()}", "check the tests")
    return raw

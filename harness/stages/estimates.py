"""Numbers of one row with their intervals, from values by problem and model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.evaluation import Floats
from harness.evaluation.seeds import SeededValues, contrast
from harness.evaluation.statistics import Interval, cluster_bootstrap_means
from harness.pipeline.evaluation import RANGE
from harness.stages.outcome_tables import Run

OVER_PROBLEMS = "problems"
SIGNED = (-1.0, 1.0)
"""Of correlations, and of differences of shares."""


class Estimates:
    """Collects means as JSON data, whose limits are there after `fill`: means of the same problems share resamples."""

    def __init__(self, runs: Sequence[Run], clusters: Sequence[str], seed: int) -> None:
        self._runs, self._clusters, self._seed = runs, np.array(clusters), seed
        self._waiting: dict[bytes, list[_Waiting]] = defaultdict(list)

    def of(self, values: Floats | None, bounds: tuple[float, float] = RANGE) -> dict[str, Any] | None:
        """The mean of (runs, problems) values, or of (problems,) where no seed may vary; NaN: the problem has none.

        None where no problem has any. The limits lie within bounds, and are None where all problems are one cluster.
        """
        known = None if values is None else ~np.isnan(values).reshape(-1, len(self._clusters)).any(axis=0)
        if values is None or known is None or not known.any():
            return None
        mean = values[known] if values.ndim == 1 else values[:, known].mean(axis=0)
        found: dict[str, Any] = {"estimate": float(mean.mean()), "low": None, "high": None, "problems": len(mean)}
        clusters = self._clusters[known]
        if len(set(clusters.tolist())) < 2:
            return found
        covers = OVER_PROBLEMS
        if values.ndim == 2:
            over = contrast(SeededValues.of_runs(values[:, known], self._runs))
            covers = over.covers()
            if over.varies(0) or over.varies(1):
                _limit(found, over.interval(clusters, seed=self._seed), bounds)
                return found
        self._waiting[known.tobytes()].append(_Waiting(found, mean, covers, bounds))
        return found

    def fill(self) -> None:
        """Give what was collected its limits."""
        for key, numbers in self._waiting.items():
            clusters = self._clusters[np.frombuffer(key, dtype=bool)]
            columns = np.stack([one.mean for one in numbers], axis=1)
            intervals = cluster_bootstrap_means(columns, clusters, seed=self._seed)
            for one, interval in zip(numbers, intervals, strict=True):
                _limit(one.found, interval, one.bounds)
                one.found["covers"] = one.covers
        self._waiting.clear()


class _Waiting(NamedTuple):
    """A number without limits: what will hold them, its values by problem, and what they will cover."""

    found: dict[str, Any]
    mean: Floats
    covers: str
    bounds: tuple[float, float]


def _limit(found: dict[str, Any], interval: Interval, bounds: tuple[float, float]) -> None:
    low, high = bounds
    found.update(low=max(low, interval.low), high=min(high, interval.high))
    found.update(covers=interval.covers, clusters=interval.clusters)

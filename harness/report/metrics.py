"""What the report knows of evaluations and metrics: names, labels, ranges. No other file of it spells one out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

BEST_OF_N, PAIR_ACCURACY, POOL_BASELINES = "best_of_n", "pair_accuracy", "pool_baselines"
HEADLINE = {BEST_OF_N: "area", PAIR_ACCURACY: "pair_accuracy"}
"""The metric an evaluation is judged by."""

RANGE = (0.0, 1.0)
"""Of every metric."""

AREA_GRID, AREA_POOL_SHARE = (2, 4, 8, 16, 32, 64), 4
"""The BoN area takes these N up to a quarter of the pool. `harness/evaluation/best_of_n.py` says so, which this room
may not import (a test holds them equal)."""

SMALLEST_POOL = AREA_GRID[0] * AREA_POOL_SHARE
"""Candidates a problem below which a task has no area."""

WRONG_CANDIDATES = {
    "right_over_wrong": "all wrong candidates",
    "right_over_wrong_seen": "error type seen",
    "right_over_wrong_unseen": "error type unseen",
}
"""Which wrong candidates a right one is compared with."""

_BON = "bon@"
_LABELS = {
    "area": "BoN area",
    "right_over_wrong": "right over wrong",
    "right_over_wrong_seen": "right over wrong, seen error types",
    "right_over_wrong_unseen": "right over wrong, unseen error types",
    "pair_accuracy": "pair accuracy",
}


def metric_label(metric: str) -> str:
    """A metric's name in prose: `bon@16` is BoN@16."""
    return _LABELS.get(metric) or metric.replace(_BON, "BoN@")


def headline_label(evaluation: str) -> str:
    """The name in prose of the metric an evaluation is judged by."""
    return metric_label(HEADLINE[evaluation])


def evaluation_of(outcome: str) -> str:
    """The evaluation an outcome's numbers stand under: the baselines of a pool are on its Best-of-N board."""
    return BEST_OF_N if outcome == POOL_BASELINES else outcome


def evaluation_of_metric(metric: str) -> str:
    """The evaluation a metric belongs to."""
    return PAIR_ACCURACY if metric == HEADLINE[PAIR_ACCURACY] else BEST_OF_N


def main_of(evaluations: Collection[str]) -> str:
    """The evaluation that rows are ordered by where there are several."""
    return BEST_OF_N if BEST_OF_N in evaluations else PAIR_ACCURACY


def best_of(size: int) -> str:
    """The metric Best-of-N at this N."""
    return f"{_BON}{size}"


def size_of(metric: str) -> int | None:
    """The N of a Best-of-N metric, None of any other."""
    return int(metric.removeprefix(_BON)) if metric.startswith(_BON) else None


def in_order(metrics: Iterable[str]) -> list[str]:
    """Metrics as tables have them: the area, Best-of-N by N, pairs, wrong candidates."""
    order = [HEADLINE[BEST_OF_N], None, HEADLINE[PAIR_ACCURACY], *WRONG_CANDIDATES]
    found = [metric for metric in metrics if size_of(metric) is not None or metric in order]
    return sorted(found, key=lambda metric: (order.index(None if size_of(metric) else metric), size_of(metric) or 0))

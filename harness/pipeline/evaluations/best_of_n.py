"""Best-of-N: how often the candidate with the highest reward is right, exactly over all N-subsets of a pool."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.pipeline.evaluation import Evaluation
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, Spec
from harness.pipeline.tasks import Split
from harness.pipeline.training import TrainingStages
from harness.recipe.schema import Experiment
from harness.sources import resolve
from harness.store.artifacts import ProblemValues

GRADING = ("math-verify", "latex2sympy2-extended", "sympy")
"""Packages whose versions decide which answers are equal; `tasks/grading.py` says so (a test holds them equal)."""

AREA_GRID = (2, 4, 8, 16, 32, 64)
AREA_POOL_SHARE = 4
"""The area under a Best-of-N curve is a mean over this grid, whatever N a recipe lists, without N above a quarter of
the pool: beyond it the subsets overlap so much that the point says more about this pool than about the scorer."""

SMALLEST_POOL = AREA_GRID[0] * AREA_POOL_SHARE
"""Candidates a problem below which a task has no area."""

WRONG_CANDIDATES = {
    "right_over_wrong": "all wrong candidates",
    "right_over_wrong_seen": "error type seen",
    "right_over_wrong_unseen": "error type unseen",
}
"""Which wrong candidates a right one is compared with."""

_AT = "bon@"


VOTE_SUBSETS = 256
"""Sampled for a weighted vote: a standard error of .03 a problem at most, .001 over 1,000 problems."""

DETAILS = {
    "length_controlled": "length-controlled BoN",
    "weighted_vote": "reward-weighted vote",
    "headroom": "share of headroom",
}
"""Curves over N beside Best-of-N's own, and what they are called."""


class BestOfNSpec(Spec):
    n: tuple[int, ...]
    grading: Mapping[str, str]


BEST_OF_N: Kind[BestOfNSpec] = Kind("best_of_n", 5, BestOfNSpec, ProblemValues)
POOL_BASELINES: Kind[BestOfNSpec] = Kind("pool_baselines", 4, BestOfNSpec, ProblemValues)


def best_of(size: int) -> str:
    """The metric Best-of-N at this N."""
    return f"{_AT}{size}"


def size_of(metric: str) -> int | None:
    """The N of a Best-of-N metric, None of any other."""
    return int(metric.removeprefix(_AT)) if metric.startswith(_AT) else None


def point(curve: str, size: int) -> str:
    """The metric of a curve's point at this N; "" is Best-of-N's own."""
    return f"{curve}@{size}" if curve else best_of(size)


def area_of(curve: str) -> str:
    """The metric of a curve's mean over the grid."""
    return f"{curve}_area" if curve else BestOfN.headline


def point_of(metric: str) -> int | None:
    """The N of a point of any curve over N, None of any other metric."""
    size = metric.partition("@")[2]
    return int(size) if size else None


class BestOfN(Evaluation):
    name = "best_of_n"
    noun = "best-of-N"
    kind = BEST_OF_N
    content = "candidates"
    headline = "area"
    labels: ClassVar[Mapping[str, str]] = {
        "area": "BoN area",
        "right_over_wrong": "right over wrong",
        "right_over_wrong_seen": "right over wrong, seen error types",
        "right_over_wrong_unseen": "right over wrong, unseen error types",
        **{f"{name}_area": f"{words}, area" for name, words in DETAILS.items()},
        "right_over_wrong_balanced": "right over wrong, source-balanced",
    }
    picks = True
    needs_grading = True
    baselined = POOL_BASELINES
    references = ("mean", "majority", "shortest", "longest", "oracle")
    random_pick = "mean"

    def source(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage:
        return stages.candidates(experiment, task, split)

    def spec(self, experiment: Experiment) -> BestOfNSpec:
        return BestOfNSpec(n=_sizes(experiment), grading={name: resolve.distribution_version(name) for name in GRADING})

    def baselines(self, experiment: Experiment) -> BestOfNSpec:
        """Random pick, majority vote, shortest, longest and oracle of a pool."""
        return self.spec(experiment)

    def is_detail(self, metric: str) -> bool:
        return metric == "right_over_wrong_balanced" or metric.startswith(tuple(DETAILS))

    def bounds(self, metric: str) -> tuple[float, float]:
        """A scorer may do worse than a random pick."""
        return (-math.inf, 1.0) if metric.startswith("headroom") else super().bounds(metric)

    def label(self, metric: str) -> str:
        """`bon@16` is BoN@16."""
        curve, _, size = metric.partition("@")
        return (
            f"{DETAILS[curve]}@{size}"
            if curve in DETAILS and size
            else f"BoN@{size}"
            if size
            else super().label(metric)
        )

    def has(self, metric: str) -> bool:
        curve, _, size = metric.partition("@")
        return size_of(metric) is not None or (curve in DETAILS and bool(size)) or super().has(metric)

    def in_order(self, metrics: Sequence[str]) -> list[str]:
        """The area, Best-of-N by N, wrong candidates; then the points of other curves."""
        first, *others = super().in_order([self.headline, *metrics])
        sizes = sorted((metric for metric in metrics if size_of(metric) is not None), key=lambda one: size_of(one) or 0)
        points = [one for name in DETAILS for one in metrics if one.startswith(f"{name}@")]
        return [
            *([first] if first in metrics else []),
            *sizes,
            *others,
            *sorted(points, key=lambda one: point_of(one) or 0),
        ]


def _sizes(experiment: Experiment) -> tuple[int, ...]:
    assert experiment.evaluate.best_of_n is not None
    return experiment.evaluate.best_of_n.n

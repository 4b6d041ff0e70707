"""RewardBench 2 (arXiv 2506.01937) by its own rule: the best of four responses, and ties as they should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.pipeline.evaluation import Evaluation
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, NoSpec
from harness.pipeline.tasks import Split
from harness.pipeline.training import TrainingStages
from harness.recipe.schema import Experiment
from harness.store.artifacts import ProblemValues
from harness.tasks.built_in.rewardbench2 import SUBSETS, TIES

METRICS = {subset: f"rewardbench2_{subset.lower().replace(' ', '_')}" for subset in SUBSETS}

REWARDBENCH2: Kind[NoSpec] = Kind("rewardbench2", 1, NoSpec, ProblemValues)


class RewardBench2(Evaluation):
    """The mean over its six subsets, whatever their sizes."""

    name = "rewardbench2"
    noun = "RewardBench 2"
    kind = REWARDBENCH2
    content = "candidates"
    headline = "rewardbench2"
    labels: ClassVar[Mapping[str, str]] = {
        "rewardbench2": "RewardBench 2",
        **{metric: f"RewardBench 2, {subset}" for subset, metric in METRICS.items()},
    }
    kinds = ("rewardbench2",)

    def source(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage:
        return stages.options(experiment, task, split)

    def bounds(self, metric: str) -> tuple[float, float]:
        """The score of ties has a term of a hundredth beyond 0 to 1."""
        return (-0.01, 1.01) if metric == METRICS[TIES] else super().bounds(metric)

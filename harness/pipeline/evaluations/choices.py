"""Choices: how often the right one of a problem's own responses has the highest reward."""

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

CHOICES: Kind[NoSpec] = Kind("choices", 2, NoSpec, ProblemValues)
CHOICE_BASELINES: Kind[NoSpec] = Kind("choice_baselines", 1, NoSpec, ProblemValues)


class Choices(Evaluation):
    """On tasks whose problems bring responses with them, and on all candidates of an imported pool."""

    name = "choices"
    noun = "choices"
    kind = CHOICES
    content = "candidates"
    headline = "choice_accuracy"
    labels: ClassVar[Mapping[str, str]] = {"choice_accuracy": "choice accuracy"}
    picks = True
    baselined = CHOICE_BASELINES
    references = ("mean",)
    random_pick = "mean"
    needs_choices = True

    def source(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage:
        return stages.options(experiment, task, split)

    def baselines(self, experiment: Experiment) -> NoSpec:
        """A random pick."""
        return NoSpec()

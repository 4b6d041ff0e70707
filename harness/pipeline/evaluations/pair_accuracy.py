"""Pair accuracy: how often the better side of a held-out pair has the higher reward; a tie counts half."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.pipeline.evaluation import Evaluation
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, NoSpec
from harness.pipeline.tasks import Split
from harness.pipeline.tokens import EncodeSpec
from harness.pipeline.training import TrainingStages
from harness.recipe.fields import CODE
from harness.recipe.schema import Experiment
from harness.store.artifacts import ProblemValues

PAIR_ACCURACY: Kind[NoSpec] = Kind("pair_accuracy", 3, NoSpec, ProblemValues)

ABOUT_EQUAL = 1.1
"""Two sides are about equally long where the longer has at most this many times the characters of the shorter."""


class PairAccuracy(Evaluation):
    """On preferences of a task's problems, and on held-out code pairs (`code`), which PMP itself learns."""

    name = "pair_accuracy"
    noun = "pair accuracy"
    kind = PAIR_ACCURACY
    content = "pairs"
    headline = "pair_accuracy"
    labels: ClassVar[Mapping[str, str]] = {
        "pair_accuracy": "pair accuracy",
        "source_balanced": "pair accuracy, source-balanced",
        "chosen_longer": "pair accuracy, chosen longer",
        "chosen_equal": "pair accuracy, about equally long",
        "chosen_shorter": "pair accuracy, chosen shorter",
    }
    counted = "pair"
    chance = 0.5

    def of_pretraining(self, experiment: Experiment) -> tuple[str, ...]:
        return () if experiment.evaluate.code_pairs is None else (CODE,)

    def source(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage:
        if task == CODE:
            return stages.heldout_pairs(experiment, split)
        return stages.preferences(task, experiment.tasks[task], split, self._count(stages, experiment, task, split))

    def tokens(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage[EncodeSpec]:
        if task == CODE:
            return stages.heldout_tokens(experiment, split)
        return stages.preference_tokens(experiment, task, split, self._count(stages, experiment, task, split))

    def more_inputs(
        self, stages: TrainingStages, experiment: Experiment, task: str, split: Split
    ) -> Mapping[str, Stage]:
        """The candidates that a mixed pool's pairs are of, which say who wrote either side."""
        if task == CODE or len(stages.sources(experiment.tasks[task])) < 2:
            return {}
        return {"candidates": stages.candidates(experiment, task, split)}

    def _count(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> int:
        """As many as the recipe asks for; of dev problems that judge nobody one each."""
        block = experiment.evaluate.pair_accuracy
        if block is None or task not in block.tasks or split != experiment.evaluate.split:
            return stages.asked(experiment, task, split)
        return block.samples

    def is_detail(self, metric: str) -> bool:
        return metric != self.headline

    def spec(self, experiment: Experiment) -> NoSpec:
        return NoSpec()

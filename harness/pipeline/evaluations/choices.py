"""Choices: how often the right one of a problem's own responses has the highest reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.pipeline.evaluation import Evaluation
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, Known, NoSpec, Spec
from harness.pipeline.tasks import PROBLEMS, Split, task_modules
from harness.pipeline.training import TrainingStages
from harness.recipe.schema import Experiment
from harness.recipe.tasks import PoolTaskBlock
from harness.store.artifacts import Candidates, ProblemValues

ASSUMED_CHOICES = 4.0
"""Of a problem, until they were counted."""


class OptionsSpec(Spec):
    """The task says what choices its problems bring."""

    task: str
    split: str


class OptionsKind(Kind[OptionsSpec]):
    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        return (*super().modules(spec), *task_modules(spec.get("task")))

    def groups(self, stage: Stage[OptionsSpec], known: Known) -> float:
        return PROBLEMS.groups(stage.inputs["problems"].stage, known)

    def responses(self, stage: Stage[OptionsSpec], known: Known) -> float:
        record = known.record(stage)
        return ASSUMED_CHOICES if record is None else record.result["candidates"] / record.result["groups"]

    def rows(self, stage: Stage[OptionsSpec], known: Known) -> float:
        return self.groups(stage, known) * self.responses(stage, known)


OPTIONS = OptionsKind("options", 1, OptionsSpec, Candidates, row_bytes=200, dataset=True)
CHOICES: Kind[NoSpec] = Kind("choices", 1, NoSpec, ProblemValues)
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
        block = experiment.tasks[task]
        if isinstance(block, PoolTaskBlock):
            return stages.candidates(experiment, task, split)
        problems = stages.problems(task, block, split)
        spec = OptionsSpec(task=block.kind, split=split)
        return stages.graph.stage(OPTIONS, spec, {"problems": problems}, label=f"options {task} {split}")

    def spec(self, experiment: Experiment) -> NoSpec:
        return NoSpec()

    def baselines(self, experiment: Experiment) -> NoSpec:
        """A random pick."""
        return NoSpec()

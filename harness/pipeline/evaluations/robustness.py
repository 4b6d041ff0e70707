"""Robustness: whether a changed solution changes its reward where it should, and keeps it where it should not.

Rewards have no unit, so everything is a comparison within a problem. A harmful change (`tasks/altered.py`) is seen
where the solution has a higher reward than its changed copy. A harmless one is passed over where it moves the reward by
less than a harmful one does. Equal rewards and equal moves count half, so whoever cannot tell, or draws, has a half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.pipeline.evaluation import Evaluation
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, Known, NoSpec, Spec, absent
from harness.pipeline.tasks import PROBLEMS, Split, task_modules
from harness.pipeline.training import TrainingStages
from harness.recipe.schema import Experiment
from harness.recipe.tasks import PoolTaskBlock
from harness.store.artifacts import Candidates, ProblemValues
from harness.tasks.altered import CORRUPTED, RENAMED, RESTATED, TRAILING_SPACE, TRUNCATED, WRONG_REASONING

ASSUMED_COPIES = 5.0
"""Of a problem's solution, itself among them, until they were counted."""


class AlteredSpec(Spec):
    """Of an imported pool `task` is absent: a right candidate is the solution."""

    split: str
    task: str | None = absent(None)


class AlteredKind(Kind[AlteredSpec]):
    """A problem is a group, and another one under a changed prompt."""

    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        return (*super().modules(spec), *task_modules(spec.get("task")))

    def groups(self, stage: Stage[AlteredSpec], known: Known) -> float:
        record = known.record(stage)
        return PROBLEMS.groups(stage.inputs["problems"].stage, known) if record is None else record.result["groups"]

    def responses(self, stage: Stage[AlteredSpec], known: Known) -> float:
        record = known.record(stage)
        return ASSUMED_COPIES if record is None else record.result["candidates"] / record.result["groups"]

    def rows(self, stage: Stage[AlteredSpec], known: Known) -> float:
        return self.groups(stage, known) * self.responses(stage, known)


ALTERED = AlteredKind("altered", 1, AlteredSpec, Candidates, row_bytes=250, dataset=True)
ROBUSTNESS: Kind[NoSpec] = Kind("robustness", 1, NoSpec, ProblemValues)


class Robustness(Evaluation):
    """On tasks that grade any text, and on imported pools whose candidates state a number as their answer."""

    name = "robustness"
    noun = "robustness"
    kind = ROBUSTNESS
    content = "candidates"
    headline = "robustness"
    labels: ClassVar[Mapping[str, str]] = {
        "robustness": "robustness",
        CORRUPTED: "over a corrupted answer",
        TRUNCATED: "over half the reasoning",
        WRONG_REASONING: "over a wrong step before the right answer",
        TRAILING_SPACE: "unmoved by trailing whitespace",
        RESTATED: "unmoved by the question restated",
        RENAMED: "unmoved by another name",
    }
    chance = 0.5
    needs_grading = True
    own_texts = True

    def source(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage:
        block = experiment.tasks[task]
        inputs: dict[str, Stage] = {"problems": stages.problems(task, block, split)}
        spec = AlteredSpec(split=split, task=block.kind)
        if isinstance(block, PoolTaskBlock):
            inputs["pool"] = stages.imported("pool", block.imported)
            spec = AlteredSpec(split=split)
        return stages.graph.stage(ALTERED, spec, inputs, label=_label(task, split))

    def is_detail(self, metric: str) -> bool:
        return metric != self.headline


def _label(task: str, split: Split) -> str:
    return f"altered solutions {task}" if split == "test" else f"altered solutions {task} {split}"

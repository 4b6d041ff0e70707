"""The best of several fine-tunings by their values on dev problems, in the place of one: `finetune.tune`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis, Kind, Known, Spec
from harness.store.artifacts import Checkpoint

Tried = str | int | float

# --------------------------------------------------------------------------------------------------------- kinds


class TunedSpec(Spec):
    """Which combinations were tried (`axes`: key of `finetune` and values, the last axis varying fastest), and the
    metric that values each by its mean over tasks."""

    axes: tuple[tuple[str, tuple[Tried, ...]], ...]
    metric: str
    tasks: tuple[str, ...]

    def tries(self) -> Iterator[dict[str, Tried]]:
        """The values of every combination, in order."""
        names = [name for name, _ in self.axes]
        for combination in itertools.product(*(values for _, values in self.axes)):
            yield dict(zip(names, combination, strict=True))

    @property
    def count(self) -> int:
        return math.prod(len(values) for _, values in self.axes)


class TunedKind(Kind[TunedSpec]):
    """It links the files of the checkpoint that it chooses."""

    def size(self, stage: Stage[TunedSpec], known: Known) -> tuple[float | None, Basis]:
        return 0.0, "measured"


TUNED = TunedKind("tuned", 1, TunedSpec, Checkpoint)

# -------------------------------------------------------------------------------------------------------- inputs


def checkpoint_input(number: int) -> str:
    """The input that holds what a try has trained."""
    return f"checkpoint-{number:03d}"


def values_input(number: int, task: str) -> str:
    """The input that holds a try's values by dev problem."""
    return f"values-{number:03d}-{task}"


def tries_of(stage: Stage[TunedSpec]) -> list[Stage]:
    """The fine-tunings that a stage chooses from, in order."""
    return [stage.inputs[checkpoint_input(number)].stage for number in range(stage.spec.count)]


def chosen_of(stage: Stage[TunedSpec], result: Mapping[str, Any]) -> Stage:
    """The fine-tuning that a stage has chosen, by its record's result."""
    return stage.inputs[checkpoint_input(result["chosen"])].stage

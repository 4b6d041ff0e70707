"""tuned: of several fine-tunings the one that is best on dev problems. Its files are linked."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import DataError
from harness.pipeline.tuning import TUNED, Tried, TunedSpec, checkpoint_input, values_input
from harness.stages.context import StageContext
from harness.store.artifacts import Checkpoint, ProblemValues

DIGITS = 6
"""Of a value, as records have means: what differs only beyond them is a tie."""


def run(context: StageContext) -> dict[str, Any]:
    """Choose by the mean over tasks of each task's mean over problems; of equal tries the earliest."""
    spec = TUNED.read(context.spec)
    tries = list(spec.tries())
    values = [
        round(sum(_value(context, spec, number, task) for task in spec.tasks) / len(spec.tasks), DIGITS)
        for number in range(len(tries))
    ]
    chosen = values.index(max(values))
    Checkpoint(context.directory).link(context.input(checkpoint_input(chosen), Checkpoint))
    return {
        "tries": [{**one, "value": value} for one, value in zip(tries, values, strict=True)],
        "chosen": chosen,
        "edges": edges(spec, tries[chosen]),
    }


def _value(context: StageContext, spec: TunedSpec, number: int, task: str) -> float:
    """The mean of the metric over a task's dev problems.

    Raises:
        DataError: no problem has a value.
    """
    table = context.input(values_input(number, task), ProblemValues).read(columns=["metric", "value"])
    of_metric = np.array(table["metric"].to_pylist()) == spec.metric
    if not of_metric.any():
        raise DataError(
            "`finetune.tune` needs a value on dev problems of every fine-tuning task",
            f"no dev problem of `{task}` has `{spec.metric}`",
            "ask for more dev problems, for larger pools where Best-of-N chooses, or set `finetune.tune.on`",
        )
    return float(table["value"].to_numpy()[of_metric].mean())


def edges(spec: TunedSpec, chosen: dict[str, Tried]) -> dict[str, str]:
    """The numeric axes at an end of which the chosen try lies: {axis: "smallest" or "largest"}."""
    found = {}
    for name, values in spec.axes:
        numbers = [value for value in values if not isinstance(value, str)]
        if len(numbers) > 1 and chosen[name] in (min(numbers), max(numbers)):
            found[name] = "smallest" if chosen[name] == min(numbers) else "largest"
    return found

"""From every row back to its records: which stages made its numbers. The only place where fingerprints are shown."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.pipeline.graph import Stage
from harness.plan.plan import Plan
from harness.report.board import Board, Row
from harness.report.status import Statuses
from harness.store.record import Record

# Inputs on the way from an evaluation to the weights it judges; an average has several, numbered. A base model comes
# last: what was trained from it stands before it.
MODEL_INPUTS = [
    re.compile(rf"({name})(-\d+)?") for name in ("scores", "checkpoint", "start", "state", "trunk", "fork", "base")
]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A stage in a chain: its name in the store, what people call it, how far it is."""

    name: str
    label: str
    state: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a row's numbers come from: a chain for each evaluation, from the evaluation back to the base model."""

    task: str
    row: str
    anchor: str
    chains: tuple[tuple[Link, ...], ...]


def anchor(row: Row, board_index: int, row_index: int) -> str:
    """The HTML id of a row's origin: positions, since names may hold any character."""
    return f"origin-{board_index}-{row_index}-{row.kind}"


def origins(boards: tuple[Board, ...], statuses: Statuses) -> tuple[Origin, ...]:
    """The origin of every row that has stages."""
    found = []
    models = functools.cache(_model_inputs)  # what was trained stands in the chains of all that it was judged by
    link = functools.cache(lambda stage: _link(stage, statuses))
    for board_index, board in enumerate(boards):
        for row_index, row in enumerate(board.rows):
            if row.stages:
                chains = tuple(tuple(link(stage) for stage in chain(stage, models)) for stage in row.stages)
                where = anchor(row, board_index, row_index)
                found.append(Origin(task=board.task, row=row.label, anchor=where, chains=chains))
    return tuple(found)


def chain(stage: Stage, model_inputs: Callable[[Stage], list[Stage]] | None = None) -> list[Stage]:
    """An evaluation and what was trained for it, back to the base model; each stage once, behind what reads it.

    Args:
        model_inputs: `_model_inputs` that remembers, for many chains.
    """
    model_inputs = model_inputs or _model_inputs
    found = {stage.fingerprint: stage}
    waiting = [stage]
    while waiting:
        steps = model_inputs(waiting.pop(0))
        for step in steps:
            found.pop(step.fingerprint, None)  # to stand behind whatever else reads it, too
            found[step.fingerprint] = step
        waiting += steps
    return list(found.values())


def _model_inputs(stage: Stage) -> list[Stage]:
    """What holds a stage's weights. The scores that a training orders its pairs by are data."""
    names = MODEL_INPUTS[1:] if "tokens" in stage.inputs else MODEL_INPUTS
    return [given.stage for one in names for name, given in stage.inputs.items() if one.fullmatch(name)]


def data_stages(plan: Plan, statuses: Statuses) -> tuple[Link, ...]:
    """Every stage that is in no chain: data, tokens, pools."""
    waiting = [outcome.stage for outcome in plan.outcomes]
    in_chains = {stage.fingerprint for stage in waiting}
    while waiting:
        for step in _model_inputs(waiting.pop()):
            if step.fingerprint not in in_chains:
                in_chains.add(step.fingerprint)
                waiting.append(step)
    return tuple(_link(stage, statuses) for stage in plan.stages if stage.fingerprint not in in_chains)


def _link(stage: Stage, statuses: Statuses) -> Link:
    status = statuses[stage.fingerprint]
    state = f"retracted: {status.retraction}" if status.retraction else status.state
    return Link(name=stage.name, label=stage.label, state=state)


def environments(records: Iterable[Record]) -> dict[str, str]:
    """{`device`, `python` or library: what stages were computed with}; several where they differ."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        known = record.environment
        facts = {"device": known.get("gpu") or known.get("device"), "python": known.get("python")}
        for name, version in {**facts, **known.get("libraries", {})}.items():
            if version:
                found.setdefault(name, {})[str(version)] = None
    return {name: " and ".join(versions) for name, versions in found.items()}

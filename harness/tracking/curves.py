"""Training curves of a variant, from the events of the stages it was made by: shared and cached ones, and those that
are still at it.

Curves only grow while a training goes on: which steps are shown follows from how many there will be, so that a tracker
adds points and takes none back.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.events import Metrics, read_events
from harness.pipeline.graph import Stage
from harness.pipeline.training import TRUNK_STATE, Training, trunk_of
from harness.store.record import EVENTS
from harness.store.store import Snapshot
from harness.tracking.view import MOST_POINTS, Point

Curves = dict[str, tuple[Point, ...]]
Steps = dict[int, Metrics]


class CurveReader:
    """Reads each stage's events once, however many variants share it."""

    def __init__(self, snapshot: Snapshot, stages: Iterable[Stage]) -> None:
        self._snapshot = snapshot
        self._store = snapshot.store
        self._planned = [stage for stage in stages if stage.kind is TRUNK_STATE]
        self._curves: dict[tuple[str, str], Curves] = {}
        self._states: dict[str, list[tuple[int, Path]]] | None = None

    def curves(self, stage: Stage, phase: str) -> Curves:
        """{`phase/metric`: points} of a training from step 0, as far as it is."""
        if not stage.kind.trains:  # a mean of trainings
            return {}
        key = (stage.fingerprint, phase)
        if key not in self._curves:
            ended = self._snapshot.record(stage.kind.name, stage.fingerprint) is not None
            self._curves[key] = _curves(self._steps(stage), phase, planned_steps(stage), ended=ended)
        return self._curves[key]

    def _steps(self, stage: Stage) -> Steps:
        steps: Steps = {}
        if "trunk" in stage.inputs:
            trunk = stage.inputs["trunk"].stage
            for step, folder in self._trunk_states().get(trunk_of(trunk.identity), []):
                if step <= trunk.spec.step:
                    steps |= _read(folder)
        steps |= _read(self._folder(stage))
        return dict(sorted(steps.items()))

    def _folder(self, stage: Stage) -> Path:
        """Where a stage's events are: with its record or, without one, where it is being built."""
        if self._snapshot.record(stage.kind.name, stage.fingerprint) is not None:
            return self._store.directory(stage.kind.name, stage.fingerprint)
        return self._store.partial(stage.kind.name, stage.fingerprint)

    def _trunk_states(self) -> dict[str, list[tuple[int, Path]]]:
        """All states in the store by trunk, since another recipe may have trained the first part of this one's; and
        this plan's own, done or not."""
        if self._states is None:
            found = {
                (trunk_of(record.identity), int(record.identity["spec"]["step"])): self._store.directory(
                    record.kind, record.fingerprint
                )
                for record in self._store.records("trunk_state")
            }
            for stage in self._planned:
                found.setdefault((trunk_of(stage.identity), stage.spec.step), self._folder(stage))
            self._states = {}
            for (trunk, step), folder in sorted(found.items()):
                self._states.setdefault(trunk, []).append((step, folder))
        return self._states


def planned_steps(stage: Stage) -> int:
    """Updates a base, pretrain or finetune stage makes at most, the steps of its trunk included."""
    assert isinstance(stage.kind, Training)
    return stage.kind.steps(stage)


def _read(folder: Path) -> Steps:
    return {event.step: event for event in read_events(folder / EVENTS) if isinstance(event, Metrics)}


def _curves(steps: Steps, phase: str, planned: int, *, ended: bool) -> Curves:
    last = max(steps, default=0)
    stride = stride_of(max(planned, last))
    shown = set(spread(steps, stride)) | ({last} if ended else set())
    names = sorted({name for event in steps.values() for name in event.values})
    return {
        f"{phase}/{name}": tuple(
            Point(step=step, value=float(event.values[name]), time=round(event.time * 1000))
            for step, event in steps.items()
            if step in shown and name in event.values
        )
        for name in names
    }


def stride_of(steps: int) -> int:
    """Steps for which one point is shown: the least power of two that leaves room for the last step's beside them."""
    stride = 1
    while -(-steps // stride) >= MOST_POINTS:
        stride *= 2
    return stride


def spread(steps: Iterable[int], stride: int) -> list[int]:
    """Of ascending steps the first of every `stride`: what is chosen stays chosen when more are added."""
    firsts: dict[int, int] = {}
    for step in steps:
        firsts.setdefault((step - 1) // stride, step)
    return list(firsts.values())

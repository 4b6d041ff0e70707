"""Training curves of a variant, from the events of the stages it was made by, shared and cached ones included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from harness.events import Metrics, read_events
from harness.plan.graph import Stage
from harness.plan.plan import trunk_of
from harness.store.record import EVENTS
from harness.store.store import Snapshot
from harness.tracking.view import MOST_POINTS, Point

Curves = dict[str, tuple[Point, ...]]
Steps = dict[int, Metrics]
T = TypeVar("T")


class CurveReader:
    """Reads each stage's events once, however many variants share it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._store = snapshot.store
        self._curves: dict[tuple[str, str], Curves] = {}
        self._states: dict[str, list[tuple[int, Path]]] | None = None

    def curves(self, stage: Stage, phase: str) -> Curves:
        """{`phase/metric`: points} of a training from step 0; nothing while it is unfinished."""
        key = (stage.fingerprint, phase)
        if key not in self._curves:
            self._curves[key] = _curves(self._steps(stage), phase)
        return self._curves[key]

    def _steps(self, stage: Stage) -> Steps:
        if self._snapshot.record(stage.kind, stage.fingerprint) is None:
            return {}
        steps: Steps = {}
        if "trunk" in stage.inputs:
            trunk = stage.inputs["trunk"].stage
            for step, folder in self._trunk_states().get(trunk_of(trunk.identity), []):
                if step <= int(trunk.spec["step"]):
                    steps |= _read(folder)
        steps |= _read(self._store.directory(stage.kind, stage.fingerprint))
        return dict(sorted(steps.items()))

    def _trunk_states(self) -> dict[str, list[tuple[int, Path]]]:
        """All states in the store by trunk: another recipe may have trained the first part of this one's."""
        if self._states is None:
            self._states = {}
            for record in self._store.records("trunk_state"):
                found = self._states.setdefault(trunk_of(record.identity), [])
                found.append(
                    (int(record.identity["spec"]["step"]), self._store.directory(record.kind, record.fingerprint))
                )
            for states in self._states.values():
                states.sort()
        return self._states


def _read(folder: Path) -> Steps:
    return {event.step: event for event in read_events(folder / EVENTS) if isinstance(event, Metrics)}


def _curves(steps: Steps, phase: str) -> Curves:
    names = sorted({name for event in steps.values() for name in event.values})
    return {
        f"{phase}/{name}": tuple(
            thinned(
                [
                    Point(step=step, value=float(event.values[name]), time=round(event.time * 1000))
                    for step, event in steps.items()
                    if name in event.values
                ],
                MOST_POINTS,
            )
        )
        for name in names
    }


def thinned(points: Sequence[T], most: int) -> list[T]:
    """At most `most` points, evenly chosen, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(index * last / (most - 1))] for index in range(most)]

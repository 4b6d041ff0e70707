"""Typed events a stage emits while it works, one JSON object a line in its `events.jsonl`.

Stages know only this file; the live view, MLflow and reports are readers of it. Another sink is a loop over
`read_events`. An event's `time` is seconds since the epoch; everything else is the stage's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TextIO


@dataclass(frozen=True, kw_only=True)
class Event:
    kind: ClassVar[str] = "event"
    time: float = field(default_factory=time.time)

    def as_json(self) -> dict[str, Any]:
        return {"event": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """Work began, or began again after an interruption (`attempt` counts from 1)."""

    kind: ClassVar[str] = "started"
    attempt: int = 1


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """`done` of `total` units (pairs, problems, steps...) are finished."""

    kind: ClassVar[str] = "progress"
    done: int
    total: int
    unit: str


@dataclass(frozen=True, kw_only=True)
class Metrics(Event):
    """Values at one training step, e.g. {"loss": 0.69, "tokens_per_second": 9e3}."""

    kind: ClassVar[str] = "metrics"
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something a reader of the report should know; never a reason to stop."""

    kind: ClassVar[str] = "warned"
    message: str


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    kind: ClassVar[str] = "finished"


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    kind: ClassVar[str] = "failed"
    reason: str


EVENT_KINDS: dict[str, type[Event]] = {cls.kind: cls for cls in (Started, Progress, Metrics, Warned, Finished, Failed)}


class EventLog:
    """Appends events to a file, a line each, flushed at once so that readers see them while the stage runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _drop_cut_line(path)
        self._file: TextIO = path.open("a", encoding="utf-8")

    def emit(self, event: Event) -> None:
        self._file.write(json.dumps(event.as_json(), allow_nan=True) + "\n")
        self._file.flush()

    def forget_steps_after(self, step: int) -> None:
        """Drop metrics past `step`, so that work repeated after a resume is not shown twice."""
        self._file.close()
        kept = [event for event in read_events(self.path) if not (isinstance(event, Metrics) and event.step > step)]
        temporary = self.path.with_suffix(".rewrite")
        try:
            temporary.write_text("".join(json.dumps(event.as_json()) + "\n" for event in kept), encoding="utf-8")
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)  # what a full disk left of it
        self._file = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        self._file.close()


def _drop_cut_line(path: Path) -> None:
    """Cut off what a crash left of a last line, so that the next event does not go on in it."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)


def read_events(path: Path) -> Iterator[Event]:
    """The events of a file, in order. A last line cut off by a crash is left out; a missing file has none."""
    try:
        file = path.open(encoding="utf-8")
    except FileNotFoundError:  # not begun yet, or its stage was just finished and moved
        return
    with file:
        for line in file:
            if not line.endswith("\n"):
                return
            data = json.loads(line)
            kind = EVENT_KINDS[data.pop("event")]
            yield kind(**data)

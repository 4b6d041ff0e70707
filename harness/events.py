"""Typed events a stage emits while it works, one JSON object a line in its `events.jsonl`.

Stages know only this file; the live view, MLflow and reports are readers of it. Another sink is a loop over
`read_events`, or over `EventFollower.new` while a stage is at work. An event's `time` is seconds since the epoch;
everything else is the stage's own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TextIO

from harness.errors import StoreError


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
    """`done` of `total` units (pairs, problems, steps...) are finished; `total` is 0 where nobody knows it."""

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
    """The events of a file, in order. A last line cut off by a crash is left out; a missing file has none.

    Raises:
        StoreError: the file is damaged: a whole line is no event, or it is no file that can be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:  # not begun yet, or its stage was just finished and moved
        return
    except OSError as error:
        raise _damaged(path, error.strerror or type(error).__name__) from None
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            yield _event(line, path, f"line {number} is not")


class EventFollower:
    """Reads on in an events file while a stage writes it: each `new` gives what came since the last.

    The file may be replaced at any time (an attempt that goes on drops steps it will repeat), and the one that follows
    is read from its start. The file read last stays open, because only an open file keeps its inode number to itself.
    """

    def __init__(self) -> None:
        self._file: BinaryIO | None = None

    def new(self, path: Path) -> list[Event]:
        """The events that were appended, or all of a file that was not the one read last; none where there is no file.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            if self._file is None or not _is_at(self._file, path):
                self.close()
                self._file = path.open("rb")
        except FileNotFoundError:  # not begun yet, or its stage was just finished and moved
            return []
        except OSError as error:
            raise _damaged(path, error.strerror or type(error).__name__) from None
        begin, content = self._file.tell(), self._file.read()
        whole = content.rfind(b"\n") + 1
        self._file.seek(begin + whole)  # the next attempt cuts off what is not
        try:
            return [_event(line, path, "one of its lines is not") for line in content[:whole].splitlines()]
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file read last."""
        if self._file is not None:
            self._file.close()
        self._file = None


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is the one at `path`, and has not become shorter than what was read of it."""
    there = path.stat()
    return os.path.samestat(os.fstat(file.fileno()), there) and file.tell() <= there.st_size


def _event(line: bytes, path: Path, fault: str) -> Event:
    try:
        data = json.loads(line)
        event = EVENT_KINDS[data.pop("event")](**data)
        numbers = [event.time]
        if isinstance(event, Metrics):
            numbers += [event.step, *event.values.values()]
        if any(not isinstance(number, (int, float)) for number in numbers):
            raise TypeError
        return event
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _damaged(path, fault) from None


def _damaged(path: Path, fault: str) -> StoreError:
    return StoreError(
        "every line of an events file must be an event", f"{path}: {fault}", f"delete {path.parent} and run again"
    )

"""The executor protocol: where tasks run. Everything about order, sharing and failure is the runner's.

An executor is correct if it passes tests/contract/test_executors.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Status = Literal["done", "busy", "corrupt", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class TaskInput:
    kind: str
    fingerprint: str
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class StageTask:
    """One stage to compute, as plain data: any process that sees the store can do it.

    Attributes:
        how: keyword arguments of `harness.stages.context.HowToRun`, without the device, which the executor assigns.
        accelerated: give it GPUs where there are some, as many as `gpus` says.
        trains: asked to stop, it saves itself first; it may run in several processes.
        resumable: an interrupted attempt's folder is worth keeping.
        this_code: a result of other code does not count, even of the same version (`source_digest` tells them apart).
    """

    kind: str
    module: str
    fingerprint: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, TaskInput]
    store: str
    label: str
    source_digest: str = ""
    trunk: str = ""
    affinity: str | None = None
    accelerated: bool = False
    gpus: int = 1
    trains: bool = False
    resumable: bool = False
    this_code: bool = False
    how: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a task.

    Attributes:
        status: done; busy (somebody else is building it); corrupt (an input does not match its record: `culprit`
            names it as kind/fingerprint); failed; interrupted (asked to stop).
        reason: for people, one line.
        log: path of the log relative to the store, "" if there is none.
    """

    task: StageTask
    status: Status
    reason: str = ""
    culprit: str = ""
    log: str = ""
    seconds: float = 0.0
    worker: int = 0


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What an executor can hold at once.

    Attributes:
        slots: tasks on the CPU.
        threads: of a task's numeric libraries.
        gpus: for accelerated tasks, which without any are tasks on the CPU.
    """

    slots: int
    threads: int
    gpus: int = 0

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Of accelerated tasks."""
        return "cuda" if self.gpus else "cpu"


class Executor(Protocol):
    """Runs tasks outside the driver; a task that crashes takes nothing else with it."""

    def capacity(self) -> Capacity:
        """What it can hold, on whatever machines it has; the same from its start to its end."""

    def has_room(self, task: StageTask) -> bool:
        """Whether `start` would begin this task at once; depends on nothing of a task but `accelerated` and
        `gpus`, and of those that have to wait the first holds back the others."""

    def start(self, task: StageTask) -> None:
        """Begin a task. Only called when `has_room` says so."""

    def wait(self, seconds: float) -> list[Outcome]:
        """Outcomes that arrived, waiting at most so long for the first. Every started task has exactly one outcome."""

    def close(self, *, interrupt: bool = False) -> list[Outcome]:
        """End all workers and give the outcomes still owed. With `interrupt`, tasks may save and stop first."""

"""The task of a stage, as plain JSON beside it: enough to run that one stage again, and no path in it.

An attempt writes it before it begins, so that failed and interrupted stages have it too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.execution.executor import StageTask, TaskInput
from harness.store.identity import SHORT
from harness.store.record import RUN, TASK, read_json, read_record
from harness.store.store import Store

# Of a task, what says where or when it is done and not what.
NOT_KEPT = ("store", "this_code")
PARTIAL = ".partial"


@dataclass(frozen=True, kw_only=True)
class AskedTask:
    """A task with the device and the threads of its last attempt."""

    task: StageTask
    device: str
    threads: int

    def in_full(self) -> dict[str, Any]:
        """For a process that has nothing else."""
        return {**self.as_json(), "identity": self.task.identity}

    def as_json(self) -> dict[str, Any]:
        """For `run.json`; the identity stands in the record beside it."""
        task = {name: value for name, value in asdict(self.task).items() if name not in (*NOT_KEPT, "identity")}
        return {**task, "device": self.device, "threads": self.threads}


def read_asked(store: Store, kind: str, fingerprint: str) -> AskedTask | None:
    """What a stage, finished or not, was asked; None where that was not kept.

    Args:
        fingerprint: in full, or as much of it as names its folder.
    """
    record = read_record(store.directory(kind, fingerprint))
    path = store.partial(kind, fingerprint) / TASK if record is None else store.directory(kind, fingerprint) / RUN
    if record is None and not os.path.lexists(path):
        return None
    try:
        if record is None:
            return _asked(read_json(path), store)
        task = store.run_facts(record).get("task")
        return None if task is None else _asked({**task, "identity": record.identity}, store)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(f"{path} is incomplete", "", f"delete {path.parent} and run its recipe again") from None


def asked_from(path: Path, store: Store) -> AskedTask:
    """What a file with `AskedTask.in_full` asks; its directory keeps it while a stage runs in several processes."""
    return _asked(json.loads(path.read_bytes()), store)


def _asked(data: Mapping[str, Any], store: Store) -> AskedTask:
    task = {name: value for name, value in data.items() if name not in ("device", "threads", "inputs")}
    inputs = {name: TaskInput(**given) for name, given in data["inputs"].items()}
    return AskedTask(
        task=StageTask(**task, inputs=inputs, store=str(store.root)), device=data["device"], threads=data["threads"]
    )


def unfinished(store: Store) -> Iterator[tuple[str, str]]:
    """(kind, beginning of the fingerprint) of every stage that was begun and is not finished."""
    for path in sorted(store.root.glob(f"*/*{PARTIAL}")):
        if path.is_dir() and not (path.parent / path.name[:SHORT]).is_dir():
            yield path.parent.name, path.name[:SHORT]


def missing_inputs(asked: AskedTask, store: Store) -> list[str]:
    """Inputs that cannot be read now, as kind/fingerprint."""
    missing = []
    for given in asked.task.inputs.values():
        record = store.record(given.kind, given.fingerprint)
        if record is None or not store.has_payload(record):
            missing.append(f"{given.kind}/{given.fingerprint[:SHORT]}")
    return missing

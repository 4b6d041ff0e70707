"""What all tests with real worker processes share: one fork server a test session, with everything imported once."""

from __future__ import annotations

import os
import time
from multiprocessing import forkserver
from pathlib import Path

from harness.execution.local import LocalExecutor
from harness.pipeline.kinds import KINDS
from harness.store.store import Store

# pytest is in it because every forked child imports its parent's main module.
PRELOAD = ("pytest", "reasoning_gym", *(kind.module for kind in KINDS.values()), "tests.toys.stage")


def start_fork_server() -> None:
    """Start the one server of this process; it imports everything while the first tests run.

    Whoever starts it decides what it has imported. If the first were a command that needs few modules, every later
    training and scoring would import torch and transformers anew.
    """
    forkserver.set_forkserver_preload(["harness.execution.worker", *PRELOAD])
    forkserver.ensure_running()


def local_executor(*, slots: int = 2, threads: int = 1, gpus: tuple[str, ...] = ()) -> LocalExecutor:
    return LocalExecutor(slots=slots, threads=threads, gpus=gpus, preload=PRELOAD)


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that ended and was not waited for does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def has_ended(pid: int, *, seconds: float = 10.0) -> bool:
    """Whether a process ends within this time."""
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


def await_partial(store: Store, kind: str, fingerprint: str, below: str = "", *, seconds: float = 60.0) -> None:
    """Wait until a stage is being built, and has something at `below`."""
    deadline = time.monotonic() + seconds
    while not os.path.lexists(store.partial(kind, fingerprint) / below):
        assert time.monotonic() < deadline, f"{kind} {fingerprint[:12]} has no {below!r}"
        time.sleep(0.002)

"""One holder a stage: a small file with a heartbeat, taken over when its holder is gone.

A holder on the same boot (and in the same container) whose process has ended is gone at once; any other is gone when
its heartbeat is older than the grace period. `filelock` guards only the moments of taking and giving back.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.errors import LeaseLost
from harness.store.record import read_json, remove, write_text

GRACE_SECONDS = 60.0
HEARTBEAT_SECONDS = 5.0


def _boot() -> str:
    """This boot and this process's pid namespace: only there does a pid say who lives; '' where that is not known.

    Containers of one machine share the boot but not the pids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process_start(pid: object) -> str:
    """Start time of a process, so that a reused pid is not mistaken for the holder; '' if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, ValueError, IndexError):
        return ""


class Lease:
    """A lease on `path`. Use `acquire`, then `release`, or as a context manager after acquiring.

    Attributes:
        owner: names this holder among all there ever were.
    """

    def __init__(self, path: Path, *, grace: float = GRACE_SECONDS, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self.path = path
        self.grace = grace
        self.heartbeat = heartbeat
        self.owner = uuid.uuid4().hex
        self._guard = FileLock(str(path) + ".lock")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> bool:
        """Take the lease if nobody holds it; False if somebody does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._guard:
            if is_held(self.path, self.grace):
                return False
            holder = {"owner": self.owner, "boot": _boot(), "pid": os.getpid(), "start": _process_start(os.getpid())}
            if self.path.is_dir():  # it belongs to nobody, and nothing could take its place
                remove(self.path)
            write_text(self.path, json.dumps(holder), self.path.with_name(f"{self.path.name}.{self.owner[:8]}"))
        self._stop.clear()
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)
        self._thread.start()
        return True

    def require(self) -> None:
        """Raise LeaseLost unless this lease is still ours: checked before anything is published."""
        if not self.is_ours():
            raise LeaseLost("a stage has one holder", "another process took this one over", "its result is used")

    def release(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._guard:
            if self.is_ours():
                self.path.unlink()

    def is_ours(self) -> bool:
        """Whether nobody took it over meanwhile."""
        return owner_of(self.path) == self.owner

    def _beat(self) -> None:
        while not self._stop.wait(self.heartbeat):
            if not self.is_ours():
                return
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.path)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def owner_of(path: Path) -> str:
    """Who took the lease at `path` last and did not give it back, alive or not; "" if nobody."""
    holder = _holder(path)
    return "" if holder is None else str(holder.get("owner", ""))


def is_held(path: Path, grace: float = GRACE_SECONDS) -> bool:
    """Whether somebody alive holds the lease at `path`."""
    holder = _holder(path)
    if holder is None:
        return False
    if holder.get("boot") and holder["boot"] == _boot():
        start = _process_start(holder.get("pid"))
        if not start or start != holder.get("start"):
            return False
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    return -grace < silent < grace  # a heartbeat that lies ahead is of another clock, and never grows old


def _holder(path: Path) -> dict[str, Any] | None:
    """What the lease at `path` says of its holder; None where there is none, or none that can be made out."""
    try:
        data = read_json(path)
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None

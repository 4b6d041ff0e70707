"""Stages that commands at work read, so that no other command drops them meanwhile.

A command at work holds a lock on a file of its own, which ends with its process however that ends; beside it stands
what the command reads.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.store.record import read_json, write_json

IN_USE = "in_use"


@contextmanager
def in_use(root: Path, fingerprints: Iterable[str]) -> Iterator[None]:
    """Keep stages of a store from being dropped by others while the context lasts."""
    folder, name = root / IN_USE, uuid.uuid4().hex
    listed, lock = folder / f"{name}.json", FileLock(folder / f"{name}.lock")
    with _guard(root):
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        write_json(listed, {"stages": sorted(fingerprints)})
    try:
        yield
    finally:
        listed.unlink(missing_ok=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


@contextmanager
def used_by_others(root: Path) -> Iterator[frozenset[str]]:
    """Fingerprints of the stages that commands at work read; no other begins to while the context lasts."""
    with _guard(root):
        yield frozenset(_used(root / IN_USE))


def _guard(root: Path) -> FileLock:
    root.mkdir(parents=True, exist_ok=True)
    return FileLock(root / f"{IN_USE}.lock")


def _used(folder: Path) -> Iterator[str]:
    for listed in sorted(folder.glob("*.json")):
        lock = FileLock(listed.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:  # its command lives
            with contextlib.suppress(FileNotFoundError):  # or ended just now
                yield from read_json(listed)["stages"]
        else:
            listed.unlink(missing_ok=True)  # of a command that was killed
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

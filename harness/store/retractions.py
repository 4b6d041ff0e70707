"""Stages that are no longer to be trusted, and why. Their records stay; what is shown of them says so.

One file a store, beside the stages: a stage that is computed again, or whose payload is dropped, stays retracted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.errors import StoreError
from harness.store.record import read_json, write_json

RETRACTIONS = "retracted.json"


@dataclass(frozen=True, kw_only=True)
class Retraction:
    """Why a stage is not to be trusted; `kind` is the stage's, `time` is seconds since the epoch."""

    kind: str
    reason: str
    time: float


def read_retractions(root: Path) -> dict[str, Retraction]:
    """Fingerprint -> retraction, of a store.

    Raises:
        StoreError: the file is damaged.
    """
    path = root / RETRACTIONS
    try:
        data: dict[str, dict[str, Any]] = read_json(path)
        found = {fingerprint: Retraction(**one) for fingerprint, one in data.items()}
        if all(isinstance(one.kind, str) and isinstance(one.reason, str) for one in found.values()):
            return found
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    raise StoreError(f"{path} is damaged", "", "delete it and retract again")


def retract(root: Path, fingerprint: str, kind: str, reason: str) -> None:
    """Say that a stage is not to be trusted; said again, the later reason counts."""
    with FileLock(str(root / RETRACTIONS) + ".lock"):
        found = read_retractions(root)
        found[fingerprint] = Retraction(kind=kind, reason=reason, time=round(time.time(), 3))
        _write(root, found)


def reinstate(root: Path, fingerprint: str) -> bool:
    """Take a retraction back; False if there was none."""
    with FileLock(str(root / RETRACTIONS) + ".lock"):
        found = read_retractions(root)
        if found.pop(fingerprint, None) is None:
            return False
        _write(root, found)
        return True


def _write(root: Path, retractions: Mapping[str, Retraction]) -> None:
    write_json(root / RETRACTIONS, {fingerprint: asdict(one) for fingerprint, one in retractions.items()})

"""How many cores there are to use. Imports nothing that takes time: a plan asks too."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may run on, or fewer where its container has a share of their time."""
    here = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # no control groups, or "max"
        quota, period = _quota()
        if quota > 0 and period > 0:
            return min(here, max(1, math.ceil(quota / period)))
    return here


def _quota() -> tuple[int, int]:
    """Microseconds of processor time in each period, of control groups in version 2 or 1."""
    unified = CGROUP / "cpu.max"
    if unified.exists():
        quota, period = unified.read_text().split()
    else:
        quota, period = ((CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    return int(quota), int(period)

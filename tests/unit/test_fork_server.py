"""What workers are forked from must not have asked CUDA for GPUs: they could use none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness.stages

pytestmark = pytest.mark.unit

IMPORTED = sorted(path.stem for path in Path(harness.stages.__path__[0]).glob("*.py") if path.stem != "__init__")

PROGRAM = """
import importlib, sys, traceback
import torch

def asked(*_):
    traceback.print_stack()
    raise SystemExit("asked for GPUs")

torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = asked
for name in ("harness.execution.worker", *(f"harness.stages.{name}" for name in sys.argv[1:])):
    importlib.import_module(name)
    # with a torch for GPUs, it asks wherever CUDA's compiler is installed
    assert "torch.utils.cpp_extension" not in sys.modules, name
"""


def test_no_stage_asks_for_gpus_when_it_is_imported() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *IMPORTED],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]

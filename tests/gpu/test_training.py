"""Trainings on GPUs: shared by two they are those of one, and interrupted they are those that were not.

Each is a process of its own: what a process trains on first, it trains on for good.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.training.checkpoints import MODEL_FOLDER
from tests.toys.interrupted_training import CASE, KILLED, STEPS_FILE
from tests.toys.small_training import STEPS, build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

TOYS = Path(__file__).parents[1] / "toys"
SHARED = ("both-losses", "tied", "recomputed", "recomputed-in-part")
OFF = 0.01
"""How far weights may be apart, as a share of how far the training moved them: sums on GPUs have no fixed order."""


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_that_share_the_weights_train_as_one_does(tmp_path: Path) -> None:
    require_that_two_processes_train_as_one(tmp_path, "cuda")


def test_a_training_in_bf16_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    require_that_a_killed_training_goes_on(tmp_path, "cuda")


def require_that_two_processes_train_as_one(folder: Path, device: str) -> None:
    for processes in (1, 2):
        target = folder / str(processes)
        target.mkdir()
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        ran = python(*torchrun, TOYS / "small_training.py", target, "fsdp", device, *SHARED)
        assert ran.returncode == 0, ran.stderr[-6000:]
    for case in SHARED:
        one, two = (folder / count / "fsdp" / case for count in ("1", "2"))
        expected, found = (json.loads((where / "curve.json").read_text()) for where in (one, two))
        assert len(found) == len(expected) >= STEPS
        for step, (its, theirs) in enumerate(zip(expected, found, strict=True), start=1):
            assert theirs == pytest.approx(its, rel=1e-3, abs=1e-4), f"{case}, step {step}"
        assert distance(two, one, case) < OFF


def require_that_a_killed_training_goes_on(folder: Path, device: str) -> None:
    program = TOYS / "interrupted_training.py"
    killed_at = 4
    for name in ("whole", "killed"):
        (folder / name).mkdir()
    died = python(program, folder / "killed", device, killed_at)
    assert died.returncode == KILLED, died.stderr[-6000:]
    for name in ("whole", "killed"):
        ran = python(program, folder / name, device, 0)
        assert ran.returncode == 0, ran.stderr[-6000:]
    made = {name: int((folder / name / STEPS_FILE).read_text()) for name in ("whole", "killed")}
    assert made == {"whole": STEPS, "killed": STEPS - killed_at + 1}
    assert distance(folder / "killed", folder / "whole", CASE) < OFF


def distance(found: Path, expected: Path, case: str) -> float:
    """Between the weights of two trainings, as a share of the way that the second one went."""
    start = dict(build(case).backbone.state_dict())
    one, other = (weights(folder / "state" / MODEL_FOLDER) for folder in (found, expected))
    assert one.keys() == other.keys()
    names = [name for name in other if name in start]
    apart = sum(float((one[name] - other[name]).square().sum()) for name in names)
    went = sum(float((other[name] - start[name]).square().sum()) for name in names)
    assert went > 0
    return (apart / went) ** 0.5


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOYS.parents[1])}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=600
    )

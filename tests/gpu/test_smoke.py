"""recipes/gpu/smoke.yaml from end to end on a GPU, by the command itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ROOT = Path(__file__).parents[2]
TRAININGS = ("base", "trunk_state", "pretrain", "finetune")


def test_the_smoke_recipe_runs_on_a_gpu(tmp_path: Path) -> None:
    require_that_it_runs(tmp_path / "workdir", "cuda")


def require_that_it_runs(workdir: Path, device: str) -> None:
    ran = harness("run", workdir, device)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-6000:]
    plan = json.loads(harness("plan", workdir, device, "--json").stdout)
    assert plan["to_run"] == 0
    (report,) = (workdir / "reports").rglob("report.html")
    assert "rm+lm" in report.read_text()
    for kind in TRAININGS:
        records = [json.loads(path.read_bytes()) for path in (workdir / "store" / kind).glob("*/record.json")]
        assert records, kind
        assert all(("gpu" in record["environment"]) == (device == "cuda") for record in records), kind


def harness(command: str, workdir: Path, device: str, *more: str) -> subprocess.CompletedProcess[str]:
    recipe = ROOT / "recipes" / "gpu" / "smoke.yaml"
    given = [str(recipe), "--workdir", str(workdir), "--set", f"runtime.device={device}", *more]
    return subprocess.run(
        [sys.executable, "-m", "harness", command, *given],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=800,
    )

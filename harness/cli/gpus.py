"""The GPUs of this machine, and whether torch's build and NVIDIA's driver fit them; found without importing torch."""

from __future__ import annotations

import importlib.metadata
import os
import re
from itertools import takewhile
from pathlib import Path

from harness.errors import MissingRequirement

GPUS = Path("/proc/driver/nvidia/gpus")
DRIVER = Path("/proc/driver/nvidia/version")
VISIBLE = "CUDA_VISIBLE_DEVICES"
TORCH_FOR_GPUS = "pip install --force-reinstall torch==2.13.*"

OLDEST_DRIVERS = {12: 525, 13: 580}
"""Major version of CUDA -> first driver that runs it, by NVIDIA's guide to minor version compatibility."""


def visible_gpus() -> list[str]:
    """What CUDA calls the GPUs that this process may use.

    Those that the environment names, as batch systems do for their jobs, up to the first that is not there; else all.
    """
    numbers = [str(number) for number, _ in enumerate(GPUS.glob("*"))]
    named = os.environ.get(VISIBLE)
    if named is None or not numbers:
        return numbers
    names = (name.strip() for name in named.split(","))
    return list(takewhile(lambda name: name in numbers or name.startswith(("GPU-", "MIG-")), names))


def no_gpu(where: str = "") -> MissingRequirement:
    return MissingRequirement(
        "`runtime.device: cuda` needs a GPU", "this machine shows none", "set device: auto or cpu", where
    )


def torch_version() -> str:
    return importlib.metadata.version("torch")


def blind_torch(torch: str, where: str = "") -> MissingRequirement | None:
    """That this version of torch is a build that sees no GPU, so that the first training would fail."""
    if not torch.endswith("+cpu"):
        return None
    return MissingRequirement(
        "a GPU needs a torch for GPUs", f"torch {torch} is for the CPU", f"{TORCH_FOR_GPUS}; or set device: cpu", where
    )


def old_driver(torch: importlib.metadata.Distribution) -> str:
    """That NVIDIA's driver is older than the CUDA that this torch brings along, "" where it is not or cannot be told.

    No error: a package for forward compatibility lets some GPUs do without a newer one.
    """
    needed = re.search(r"^nvidia-\w+-cu(\d+)", "\n".join(torch.requires or ()), re.MULTILINE)
    try:
        driver = re.search(r"\s(\d+)\.\d[\d.]*\s", DRIVER.read_text())
    except OSError:
        return ""
    if needed is None or driver is None:
        return ""
    cuda, there = int(needed[1]), int(driver[1])
    oldest = OLDEST_DRIVERS.get(cuda, 0)
    if there >= oldest:
        return ""
    return (
        f"NVIDIA's driver is {there}, and torch {torch.version} brings CUDA {cuda}, which takes {oldest} or newer; "
        "update the driver, or install NVIDIA's package for forward compatibility"
    )

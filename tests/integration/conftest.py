"""One finished run of the tiny recipe for all tests of a session; who wants to damage it takes a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.workspace import Workspace
from tests.integration.outside import run_with_assets, workspace_of
from tests.integration.pipelines import every_kind, left, run, tiny
from tests.integration.shell import Shell
from tests.toys.shared import once_a_session


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tiny recipe, run without interruption, and compared. Read only."""

    def make(folder: Path) -> None:
        workspace = tiny(folder)
        summary = run(workspace, every_kind(workspace))
        assert not summary.failed, [(outcome.task.label, outcome.reason) for outcome in summary.failed]
        assert not left(workspace)

    return tiny(once_a_session(tmp_path_factory, "finished", make))


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A recipe whose tasks, pairs and rows come from outside, run. Read only."""
    return workspace_of(once_a_session(tmp_path_factory, "outside", run_with_assets))


@pytest.fixture
def copy(finished: Workspace, tmp_path: Path) -> Callable[..., Workspace]:
    """Makes a copy of the finished workdir, for the tiny recipe with these assignments."""

    def make(*assignments: str) -> Workspace:
        workdir = tmp_path / "copy"
        if not workdir.exists():
            shutil.copytree(finished.workdir, workdir)
        return tiny(workdir, *assignments)

    return make


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("COLUMNS", "200")
    return Shell(capfd)

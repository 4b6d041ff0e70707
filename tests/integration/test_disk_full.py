"""The disk fills up in every kind of stage: told in one line, nothing finished is hurt, and with space it goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.app import run_command
from harness.cli.workspace import Workspace
from harness.execution.executor import Outcome
from harness.execution.runner import how_of, make_task
from harness.plan.graph import Stage
from harness.plan.kinds import KINDS
from tests.integration.pipelines import TINY, everything, folder_of, left, only, outputs, record_of, tiny
from tests.toys.executors import local_executor

SMALL, LARGE = "3m", "64m"
PAGE = 4096
FULL = "the workdir needs space, but the disk is full; make space and run again"


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ballast = folder / "ballast"

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)

    def free(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def fill(self, *, leave: int = 0) -> None:
        """Write ballast until only so many bytes are free."""
        with self.ballast.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), max(1, self.free() - leave))

    def clear(self) -> None:
        self.ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"mounting is not permitted: {made.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


def run_one(workspace: Workspace, stage: Stage) -> Outcome:
    """One stage in a worker process, as the runner would have it."""
    executor = local_executor(slots=1)
    try:
        executor.start(make_task(stage, workspace.store, how_of(workspace.runtime)))
        while not (outcomes := executor.wait(1.0)):
            pass
        return outcomes[0]
    finally:
        executor.close()


def take_away(workspace: Workspace, stage: Stage) -> None:
    workspace.store.discard(record_of(workspace.store, stage))


def assert_whole(workspace: Workspace, but: Stage | None = None) -> None:
    """Every record's bytes are what it says."""
    for stage in everything(workspace):
        if stage is not but:
            workspace.store.verify(record_of(workspace.store, stage))


def by_kind(workspace: Workspace) -> dict[str, Stage]:
    """The last stage of every kind."""
    return {stage.kind: stage for stage in everything(workspace)}


def sizes(workspace: Workspace, stage: Stage) -> int:
    """Bytes a finished stage occupies."""
    pages = (-(-path.stat().st_size // PAGE) for path in folder_of(workspace.store, stage).rglob("*") if path.is_file())
    return PAGE * sum(pages)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_stops_every_kind_of_stage_cleanly(
    finished: Workspace, disk: Disk, kind: str
) -> None:
    """Full at once, and full after each part of what the stage writes: the reason is told, and nothing is left as done."""
    workspace = tiny(disk.folder)
    shutil.copytree(finished.workdir, disk.folder, dirs_exist_ok=True)
    stage = by_kind(workspace)[kind]
    needed = sizes(workspace, stage)
    take_away(workspace, stage)
    for share in (0.0, 0.25, 0.5, 0.75):
        disk.fill(leave=round(share * needed))
        outcome = run_one(workspace, stage)
        if outcome.status != "done":  # with some space left a small stage may just fit
            assert (outcome.status, outcome.reason) == ("failed", FULL)
            assert workspace.store.record(stage.kind, stage.fingerprint) is None
            assert_whole(workspace, but=stage)
        else:
            assert share, "it was done on a full disk"
            disk.clear()
            take_away(workspace, stage)
        disk.clear()
    outcome = run_one(workspace, stage)
    assert outcome.status == "done", outcome.reason
    assert outputs(workspace, [stage]) == outputs(finished, [stage])
    assert_whole(workspace)

"""The disk fills up in every kind of stage: told in one line, nothing finished is hurt, and with space it goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace, open_workspace
from harness.execution.executor import Outcome
from harness.execution.runner import how_of, make_task
from harness.pipeline.graph import Stage
from harness.pipeline.imports import IMPORTED
from harness.pipeline.kinds import KINDS
from tests.integration.outside import OUTSIDE, SAMPLE, words_of
from tests.integration.pipelines import TINY, every_kind, everything, folder_of, left, outputs, record_of, tiny
from tests.toys.executors import local_executor

SMALL, LARGE = "1m", "64m"
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
        executor.start(make_task(stage, workspace.store, {**how_of(workspace.runtime), **imported(workspace, stage)}))
        while not (outcomes := executor.wait(1.0)):
            pass
        return outcomes[0]
    finally:
        executor.close()


def imported(workspace: Workspace, stage: Stage) -> dict[str, Any]:
    """What an import stage is told: where its asset is."""
    what = next((what for what, kind in IMPORTED.items() if kind is stage.kind), "")
    if not what:
        return {}
    path = workspace.plan.loaded.path.parent / (what if what == "checkpoint" else f"{what}.jsonl")
    return {"imported": {**words_of(what), "path": str(path)}}


def take_away(workspace: Workspace, stage: Stage) -> None:
    workspace.store.discard(record_of(workspace.store, stage))


def assert_whole(workspace: Workspace, but: Stage | None = None) -> None:
    """Every record's bytes are what it says."""
    for stage in everything(workspace):
        if stage is not but:
            workspace.store.verify(record_of(workspace.store, stage))


def by_kind(workspace: Workspace) -> dict[str, Stage]:
    """The last stage of every kind."""
    return {stage.kind.name: stage for stage in every_kind(workspace)}


def sizes(workspace: Workspace, stage: Stage) -> int:
    """Bytes a finished stage occupies."""
    pages = (-(-path.stat().st_size // PAGE) for path in folder_of(workspace.store, stage).rglob("*") if path.is_file())
    return PAGE * sum(pages)


@pytest.mark.sampled("kind", tuple(KINDS), SAMPLE)
def test_a_full_disk_stops_every_kind_of_stage_cleanly(request: pytest.FixtureRequest, disk: Disk, kind: str) -> None:
    """Full at once, and after each quarter of what a stage writes: the reason is told, and nothing is left as done."""
    finished: Workspace = request.getfixturevalue("outside" if kind in OUTSIDE else "finished")
    shutil.copytree(finished.workdir, disk.folder, dirs_exist_ok=True)
    workspace = open_workspace(finished.plan.loaded.path, [], disk.folder)
    stage = by_kind(workspace)[kind]
    needed = sizes(workspace, stage)
    take_away(workspace, stage)
    for share in (0.0, 0.25, 0.5, 0.75):
        disk.fill(leave=round(share * needed))
        outcome = run_one(workspace, stage)
        if outcome.status != "done":  # with some space left a small stage may just fit
            assert (outcome.status, outcome.reason) == ("failed", FULL)
            assert workspace.store.record(stage.kind.name, stage.fingerprint) is None
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


def test_a_full_disk_in_the_middle_of_a_run_and_then_more_space(
    finished: Workspace, disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    """Through the command line: exit 1 with the reason, then the same command gives what an undisturbed run gives."""
    arguments = ["run", str(TINY), "--workdir", str(disk.folder / "workdir")]
    disk.resize(SMALL)
    assert run_command(arguments) == 1
    out, told = capfd.readouterr()
    assert FULL in told
    assert "Traceback" not in out + told
    workspace = tiny(disk.folder / "workdir")
    done = [stage for stage in everything(workspace) if workspace.store.record(stage.kind.name, stage.fingerprint)]
    assert 0 < len(done) < len(everything(workspace))
    for stage in done:
        workspace.store.verify(record_of(workspace.store, stage))
    disk.resize(LARGE)
    assert run_command(arguments) == 0
    assert not left(workspace)
    assert outputs(workspace) == outputs(finished)
    assert list(workspace.reports.glob("*.html"))


def test_a_disk_too_full_to_begin(disk: Disk, capfd: pytest.CaptureFixture[str]) -> None:
    disk.fill()
    assert run_command(["run", str(TINY), "--workdir", str(disk.folder)]) == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "cannot use " in told
    assert "No space left on device; make space, or choose another --workdir" in told
    assert [path.name for path in disk.folder.rglob("*") if path != disk.ballast] in ([], ["store"])


def test_a_report_that_does_not_fit_is_told_and_written_later(
    finished: Workspace, disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished.workdir, disk.folder, dirs_exist_ok=True)
    arguments = ["run", str(TINY), "--workdir", str(disk.folder)]
    disk.fill(leave=2 * PAGE)
    assert run_command(arguments) == 1
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "the disk is full; make space and run again" in told
    assert_whole(tiny(disk.folder))
    disk.clear()
    assert run_command(arguments) == 0
    assert list((disk.folder / "reports").rglob("*.html"))

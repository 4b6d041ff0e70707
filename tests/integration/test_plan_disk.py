"""What `plan` says of the disk, against what a run really writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.cli.workspace import Workspace
from harness.plan.disk import Disk, disk_of
from tests.integration.pipelines import TINY, folder_of, of_kind, only, record_of, tiny
from tests.integration.shell import Shell

TRAININGS = ("base", "trunk_state", "pretrain", "finetune")
# Of a corpus, nothing is known before it is read: what is assumed fits whole packages, and these are cut short.
UNKNOWN = ("corpus_part", "corpus")


def disk(workspace: Workspace) -> Disk:
    return disk_of(workspace.work().to_run, workspace.plan.stages, workspace.store, trainings=2)


def files(workspace: Workspace) -> dict[str, dict[int, int]]:
    """Of every stage, what its files take, by inode."""
    return {
        stage.fingerprint: {
            path.stat().st_ino: path.stat().st_size
            for path in folder_of(workspace.store, stage).rglob("*")
            if path.is_file()
        }
        for stage in workspace.plan.stages
    }


def test_finished_stages_take_what_lies_on_disk(finished: Workspace) -> None:
    found = disk(finished)
    by_inode: dict[int, int] = {}
    for sizes in files(finished).values():
        by_inode |= sizes
    assert found.finished == sum(by_inode.values()) == found.peak
    assert (found.added, found.running) == (0, 0)
    # parts' files are linked by what gathers them, and are on disk once
    assert found.finished < sum(sum(sizes.values()) for sizes in files(finished).values())


def test_the_plan_of_an_empty_workdir_foretells_what_a_run_writes(finished: Workspace, tmp_path: Path) -> None:
    """Trainings to 10 %: their weights are counted, only events and JSON beside them are not.

    Everything else (tokens and tables from assumptions) together to a factor of 2.
    """
    told, written = disk(tiny(tmp_path)), disk(finished).now
    assert told.finished == 0
    others = {"told": 0.0, "written": 0.0}
    for one in told.stages:
        assert one.size is not None, one.stage.label
        if one.stage.kind.name in TRAININGS:
            assert one.size == pytest.approx(written[one.stage.fingerprint], rel=0.10), one.stage.label
        elif one.stage.kind.name not in UNKNOWN:
            others["told"] += one.size
            others["written"] += written[one.stage.fingerprint]
    assert 0.5 < others["told"] / others["written"] < 2
    trunk, branch = only(finished, "trunk_state"), only(finished, "pretrain")
    assert written[trunk.fingerprint] > 2 * written[branch.fingerprint]


def test_what_is_finished_makes_the_rest_better_known(finished: Workspace, copy: Callable[..., Workspace]) -> None:
    """Scores and values of a second fine-tuning seed, from those of the first: of the same pools, so to a fifth."""
    more = disk(copy("seeds.finetune=2"))
    written = disk(finished).now
    assert {one.stage.kind.name for one in more.stages} >= {"finetune", "score", "best_of_n", "pair_accuracy"}
    for kind in ("score", "best_of_n", "pair_accuracy"):
        mine = [one.size or 0.0 for one in more.stages if one.stage.kind.name == kind]
        before = [
            written[stage.fingerprint]
            for stage in of_kind(finished, kind)
            if "logic" in stage.label and "held-out" not in stage.label
        ]
        assert {one.basis for one in more.stages if one.stage.kind.name == kind} == {"measured"}
        assert sum(mine) / len(mine) == pytest.approx(sum(before) / len(before), rel=0.2), kind


def test_a_training_that_saves_itself_holds_what_is_told(finished: Workspace, tmp_path: Path) -> None:
    """The trunk's state is what a training saves itself as: two of them are there while it does."""
    told = next(one for one in disk(tiny(tmp_path)).stages if one.stage.kind.name == "trunk_state")
    state = sum(size for _, size in record_of(finished.store, only(finished, "trunk_state")).files.values())
    assert told.size is not None
    assert told.size + told.scratch == pytest.approx(2 * state, rel=0.10)


def test_gc_takes_off_what_it_drops(shell: Shell, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    before = disk(workspace)
    keep = "runtime.keep={trunk_state: weights}"
    trunk = record_of(workspace.store, only(workspace, "trunk_state"))
    moments = sum(size for path, (_, size) in trunk.files.items() if path.startswith("state/optimizer"))
    assert shell("gc", TINY, "--workdir", workspace.workdir, "--set", keep) == 0
    assert before.finished - disk(workspace).finished == moments > 0


# ------------------------------------------------------------------------------------------------------ the command


def told_as_json(shell: Shell, *arguments: str | Path) -> Mapping[str, Any]:
    assert shell("plan", TINY, *arguments, "--json") == 0
    plan: Mapping[str, Any] = shell.json()
    return plan


def test_plan_tells_the_peak(shell: Shell, finished: Workspace, tmp_path: Path) -> None:
    assert shell("plan", TINY, "--workdir", tmp_path / "none") == 0
    (line,) = [line for line in shell.out.splitlines() if line.startswith("on disk ")]
    assert "at the peak, before gc" in line
    assert "more while trainings run" in line
    assert "from shape" in line
    assert "make space" not in shell.out
    assert shell("plan", TINY, "--workdir", finished.workdir) == 0
    assert "to add" not in shell.out
    plan = told_as_json(shell, "--workdir", tmp_path / "none")
    told = plan["disk"]
    assert told["peak"] == pytest.approx(told["finished"] + told["added"] + told["running"])
    assert told["added"] == pytest.approx(sum(stage["bytes"] for stage in plan["stages"]))
    assert (told["fits"], told["unknown_stages"]) == (True, 0)
    done = told_as_json(shell, "--workdir", finished.workdir)
    assert {stage["bytes_basis"] for stage in done["stages"]} == {"measured"}
    assert done["disk"]["finished"] == disk(finished).finished


def test_a_plan_that_does_not_fit_on_the_disk_says_so(shell: Shell, tmp_path: Path) -> None:
    """Weights beyond any disk: some ten terabytes, and nothing of it is made."""
    large = {"hidden_size": 16_384, "heads": 256, "key_value_heads": 256, "intermediate_size": 65_536, "layers": 200}
    wanted = [word for name, value in large.items() for word in ("--set", f"model.{name}={value}")]
    assert shell("plan", TINY, "--workdir", tmp_path, *wanted) == 0, shell.err
    assert "the stages left to run need " in shell.out
    assert "make space, reduce the recipe or choose another --workdir" in shell.out
    assert not told_as_json(shell, "--workdir", tmp_path, *wanted)["disk"]["fits"]

"""`harness report` of several recipes and workdirs: which rows share a board, what is said of those that do not."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli.computed import compute
from harness.cli.workspace import open_workspace
from harness.plan.effects import effects_stage
from harness.report.index import write_index
from tests.integration.shell import Shell
from tests.report_store import SMALL, analyse, fill

ONE: Mapping[str, Any] = {
    "name": "one",
    "notes": "Does PMP help?",
    "seeds": {"data": 0, "pretrain": 1, "finetune": 2},
    "ablations": {"axes": {"loss": {"rm+lm": {}, "no-pmp": {"pretrain": None}}}},
    "claims": {"pmp": {"says": "It helps", "better": "rm+lm", "than": "no-pmp", "on": {"best_of_n": ["logic"]}}},
}
OTHER: Mapping[str, Any] = {
    **ONE,
    "name": "other",
    "notes": "At which rate?",
    "ablations": {
        "axes": {"loss": {"plain": {"pretrain": None}, "rm+lm": {"pretrain.learning_rate": 0.001}}},
    },
    "claims": {},
    "tasks.logic.problems.test": 90,
}


def recipe(folder: Path, changes: Mapping[str, Any]) -> Path:
    data = yaml.safe_load(SMALL.read_text(encoding="utf-8"))
    for path, value in changes.items():
        *parents, last = path.split(".")
        block = data
        for name in parents:
            block = block[name]
        block[last] = value
    file = folder / f"{changes['name']}.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file


def finish(folder: Path, changes: Mapping[str, Any]) -> tuple[Path, Path]:
    """A recipe, and a workdir of its own in which it is finished and compared."""
    workdir = folder / f"of {changes['name']}"
    file = recipe(folder, {**changes, "runtime": {"workdir": str(workdir)}})
    workspace = open_workspace(file, (), None)
    fill(workspace.plan, workspace.store)
    analysis = analyse(workspace.plan, workspace.store)
    assert analysis is not None
    effects = effects_stage(workspace.plan, analysis)
    if effects is not None:
        compute(workspace.store, effects)
    return file, workdir


def test_recipes_share_a_board_where_the_same_data_judge(shell: Shell, tmp_path: Path) -> None:
    files, workdirs = zip(*(finish(tmp_path, changes) for changes in (ONE, OTHER)), strict=True)
    assert shell("report", *files, "--name", "both") == 0, shell.err
    folder = workdirs[0] / "reports" / "both"
    data = json.loads((folder / "report.json").read_text())
    boards = {board["task"]: board for board in data["boards"]}
    assert list(boards) == ["arithmetic", "logic (one)", "logic (other)", "code"]
    names = {task: [row["row"] for row in board["rows"] if row["kind"] == "setting"] for task, board in boards.items()}
    assert names["arithmetic"] == ["no-pmp = plain", "one: rm+lm", "other: rm+lm"]  # the first are the same models
    assert names["logic (other)"] == ["no-pmp = plain", "other: rm+lm"]
    rows = {row["row"]: row for row in boards["arithmetic"]["rows"]}
    against = rows["other: rm+lm"]["differences"]["best_of_n"]  # across the two workdirs
    assert (boards["arithmetic"]["baseline"], against["against"]) == ("no-pmp = plain", "no-pmp = plain")
    gap = (
        rows["other: rm+lm"]["estimates"]["area"]["estimate"] - rows["no-pmp = plain"]["estimates"]["area"]["estimate"]
    )
    assert against["estimate"] == pytest.approx(gap, abs=1e-9)
    apart = [one for one in data["cautions"] if one["title"] == "Boards apart"]
    assert [one["items"] for one in apart] == [["logic: other and one: BoN area and pair accuracy on other data"]]
    assert [(one["claim"], one["exploratory"]) for one in data["claims"]] == [("pmp", True)]
    assert "one: It helps" in (folder / "report.md").read_text()
    for told in (shell.out, *((folder / f"report.{kind}").read_text() for kind in ("html", "md", "tex", "json"))):
        assert "exploratory" in told
        assert "2025-10-09 08:53 UTC" in " ".join(told.split())  # of the first score
    assert "one: Does PMP help? other: At which rate?" in (folder / "report.html").read_text()
    with (folder / "leaderboard.csv").open(newline="") as file:
        assert {line["task"] for line in csv.DictReader(file)} == set(boards)
    before = (folder / "report.html").stat().st_mtime_ns
    assert shell("report", *workdirs, "--name", "both") == 0
    assert (folder / "report.html").stat().st_mtime_ns == before  # it stands
    assert "logic (other)" in shell.out


def test_a_workdir_stands_for_its_finished_recipes(shell: Shell, tmp_path: Path) -> None:
    workdir = tmp_path / "workdir"
    for changes in (ONE, {**OTHER, "seeds.data": 7}):
        workspace = open_workspace(recipe(tmp_path, changes), (), workdir)
        write_index(workspace.plan, workspace.reports)
        if changes is ONE:
            fill(workspace.plan, workspace.store, wanted=lambda stage: stage.kind.name != "candidates")
    assert shell("report", workdir) == 0
    assert "other in" in shell.err
    assert "no evaluation is finished, left out" in shell.err
    assert (workdir / "reports" / "one" / "report.tex").is_file()
    assert not (workdir / "reports" / "other" / "report.tex").exists()
    assert "harness compare one:" in shell.out  # since `other` may have rows of these names
    gone = workdir / "reports" / "gone" / "recipe.yaml"  # as one whose corpus is gone cannot be planned either
    gone.parent.mkdir()
    gone.write_text("name: gone\n")
    assert shell("report", workdir) == 0
    assert "gone in" in shell.err
    assert "cannot be planned, left out" in shell.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["one.yaml", "one.yaml", "--workdir", "new"], "each recipe is reported once, but one in"),
        (["empty"], "must be a workdir, but it has no folder `store`"),
        (["new"], "nothing is finished in new"),
        (["new", "--set", "pairs.count=3"], "`--set` changes recipes that are given as files, but new is a workdir"),
        (["one.yaml", "one.yaml", "--name", "../out"], "`--name` must be letters"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_sentence(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe(tmp_path, ONE)
    (tmp_path / "empty").mkdir()
    (tmp_path / "new" / "store").mkdir(parents=True)
    assert shell("report", *arguments) == 2
    assert told in shell.err

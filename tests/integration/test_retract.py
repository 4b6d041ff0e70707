"""`harness retract`: every number made from the stage is marked wherever it is shown, and compared with nothing."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli.report import report_on
from harness.cli.run_command import run_command
from harness.cli.sync import sync_order
from harness.cli.tracking_worker import Worker
from harness.cli.workspace import Workspace
from harness.pipeline.graph import Stage
from harness.report.index import INDEX
from harness.report.write import CSV, HTML, JSON, MARKDOWN
from harness.store.artifacts import Analysis
from tests.integration.pipelines import TINY, of_kind, run, tiny
from tests.toys.mlflow_servers import held, put_database

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow's own use of its libraries

WHY = "trained on <b>the wrong</b> pairs"


@pytest.fixture
def reported(finished: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished workdir with its report, without MLflow."""
    shutil.copytree(finished.workdir, tmp_path / "workdir")
    workspace = tiny(tmp_path / "workdir")
    report_on(workspace)
    return workspace


@pytest.fixture
def pretrained(reported: Workspace) -> Stage:
    """The PMP checkpoint of one setting; the other setting has none."""
    (stage,) = of_kind(reported, "pretrain")
    return stage


def retract(workspace: Workspace, *arguments: str) -> int:
    return run_command(["retract", *arguments, "--workdir", str(workspace.workdir)])


def numbers(workspace: Workspace) -> Iterator[dict[str, str]]:
    with (workspace.reports / CSV).open(encoding="utf-8", newline="") as file:
        yield from (line for line in csv.DictReader(file) if line["estimate"])


def analysis_of(workspace: Workspace) -> dict[str, Any]:
    """The analysis that the report is of."""
    name = json.loads((workspace.reports / JSON).read_text(encoding="utf-8"))["analysis"]
    record = workspace.store.find(name)
    path = Analysis(workspace.store.directory(record.kind, record.fingerprint)).path
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def made_from(workspace: Workspace, stage: Stage) -> set[str]:
    """Names of the settings and references with an outcome made from a stage."""
    plan = workspace.plan
    return {
        variant.setting
        for variant in (*plan.variants, *plan.references)
        for outcome in variant.outcomes
        if stage in plan.graph.in_order([outcome.stage])
    }


def test_numbers_are_marked_and_neither_compared_nor_ranked(reported: Workspace, pretrained: Stage) -> None:
    (doubtful,) = made_from(reported, pretrained)
    before = analysis_of(reported)
    assert any(one["row"] == doubtful for one in before["differences"])
    assert any(one["row"] == doubtful for one in before["above_chance"])
    assert retract(reported, pretrained.name, WHY) == 0
    after = analysis_of(reported)
    assert after["estimates"] == before["estimates"]
    for part in ("differences", "above_chance", "ranks"):
        assert not [one for one in after[part] if one["row"] == doubtful or one.get("against") == doubtful]
    states = {(line["row"], line["state"].partition(":")[0]) for line in numbers(reported)}
    assert {state for row, state in states if row == doubtful} == {"retracted"}
    assert {state for row, state in states if row != doubtful} == {"done"}


def test_every_form_of_the_report_says_so_and_escapes_the_reason(reported: Workspace, pretrained: Stage) -> None:
    (doubtful,) = made_from(reported, pretrained)
    assert retract(reported, pretrained.name, WHY) == 0
    page = (reported.reports / HTML).read_text(encoding="utf-8")
    assert "1 stage is retracted" in page
    assert "<b>the wrong</b>" not in page
    cells = re.findall(r'<td class="n retracted"', page)
    assert cells
    data = json.loads((reported.reports / JSON).read_text(encoding="utf-8"))
    rows = [row for board in data["boards"] for row in board["rows"] if row["estimates"]]
    assert {bool(row["retracted"]) for row in rows if row["row"] == doubtful} == {True}
    assert not any(row["retracted"] for row in rows if row["row"] != doubtful)
    text = (reported.reports / MARKDOWN).read_text(encoding="utf-8")
    struck = [line for line in text.splitlines() if "~~" in line]
    assert struck
    assert all(line.startswith(f"| {doubtful} |") for line in struck)
    assert "<b>" not in text


def test_what_all_settings_are_made_from_strikes_out_all(
    reported: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (base,) = of_kind(reported, "base")
    assert retract(reported, base.name, "seeds were equal") == 0
    settings = {setting.name for setting in reported.plan.settings}
    assert {line["row"] for line in numbers(reported) if line["state"].startswith("retracted")} == settings
    after = analysis_of(reported)
    assert after["estimates"]
    assert [part for part in ("differences", "above_chance", "ranks") if after[part]] == []
    assert settings <= set(capsys.readouterr().out.split())


def test_taken_back_everything_is_as_before(reported: Workspace, pretrained: Stage) -> None:
    files = (HTML, MARKDOWN, CSV, JSON, INDEX)
    before = {name: (reported.reports / name).read_bytes() for name in files}
    assert retract(reported, pretrained.name, WHY) == 0
    assert (reported.reports / HTML).read_bytes() != before[HTML]
    assert retract(reported, pretrained.name, "--undo") == 0
    assert {name: (reported.reports / name).read_bytes() for name in files} == before


def test_a_later_run_and_report_keep_it(
    reported: Workspace, pretrained: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retract(reported, pretrained.name, WHY) == 0
    for stage in of_kind(reported, "finetune"):
        record = reported.store.record(stage.kind.name, stage.fingerprint)
        assert record is not None
        reported.store.discard(record)
    assert not run(reported).failed
    assert run_command(["report", str(TINY), "--workdir", str(reported.workdir)]) == 0
    assert WHY in capsys.readouterr().out
    assert any(line["state"].startswith("retracted") for line in numbers(reported))


def test_a_retracted_row_is_not_compared(
    reported: Workspace, pretrained: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retract(reported, pretrained.name, WHY) == 0
    capsys.readouterr()
    assert run_command(["compare", "rm+lm", "no-pmp", "--json", "--workdir", str(reported.workdir)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["compared"] == []
    assert told["not_compared"]
    assert all(WHY in one["why"] for one in told["not_compared"] if one["task"] != "code")


def test_mlflow_names_it(reported: Workspace, pretrained: Stage, migrated: Path) -> None:
    put_database(migrated, reported.workdir / "mlflow" / "mlflow.db")
    (doubtful,) = made_from(reported, pretrained)
    assert "runs" in Worker(reported).answer(sync_order(report_on(reported)))
    uri = f"sqlite:///{reported.workdir.resolve()}/mlflow/mlflow.db"
    before = held(uri, "tiny")
    assert retract(reported, pretrained.name, WHY) == 0
    after = held(uri, "tiny")
    assert any(run_of["tags"].get("setting") == doubtful for run_of in after.values())
    for run_of in after.values():
        doubted = run_of["tags"].get("setting") == doubtful
        assert run_of["name"].endswith(" (retracted)") == doubted
        assert (WHY in run_of["tags"].get("harness.retracted", "")) == doubted
        assert not (doubted and any("minus_baseline" in name for name in run_of["metrics"]))
    assert retract(reported, pretrained.name, "--undo") == 0
    assert {key: run_of["name"] for key, run_of in held(uri, "tiny").items()} == {
        key: run_of["name"] for key, run_of in before.items()
    }


def test_ls_and_show_say_so(reported: Workspace, pretrained: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert retract(reported, pretrained.name, WHY) == 0
    capsys.readouterr()
    workdir = ("--workdir", str(reported.workdir))
    assert run_command(["ls", *workdir, "--kind", "pretrain", "--json"]) == 0
    assert [row["retracted"] for row in json.loads(capsys.readouterr().out)] == [WHY]
    assert run_command(["show", pretrained.name, *workdir]) == 0
    assert f"retracted: {WHY}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pretrain"], "reason"),
        (["pretrain", "  "], "reason"),
        (["pretrain", "two\nlines"], "one line"),
        (["pretrain", "x" * 501], "up to 500"),
        (["pretrain", "why", "--undo"], "needs no reason"),
        (["pretrain", "--undo"], "is not retracted"),
        (["nonsense/123", "why"], "no finished stage matches"),
    ],
)
def test_bad_arguments_change_nothing(
    reported: Workspace, pretrained: Stage, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    before = (reported.reports / HTML).read_bytes()
    arguments = [pretrained.name if one == "pretrain" else one for one in arguments]
    assert retract(reported, *arguments) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Traceback" not in captured.err
    assert (reported.reports / HTML).read_bytes() == before
    assert not (reported.store.root / "retracted.json").exists()

"""A recipe judged on dev problems: every output says so, and nothing of it is compared with test results."""

from __future__ import annotations

import json
from collections.abc import Callable

import harness
from harness.cli.workspace import Workspace, open_workspace
from harness.report.status import look
from harness.report.words import REFERENCES
from harness.tracking.build import Finished, build_view
from tests.integration.pipelines import TINY
from tests.integration.shell import Shell


def test_every_output_says_that_dev_problems_judge(shell: Shell, copy: Callable[..., Workspace]) -> None:
    workdir = copy().workdir
    assert shell("report", TINY, "--workdir", workdir) == 0
    assert "dev problems" not in shell.out
    on_dev = ["name=on-dev", "evaluate.split=dev", "ablations.axes.loss={rm+lm: null}"]
    assert shell("run", TINY, "--workdir", workdir, *(word for one in on_dev for word in ("--set", one))) == 0
    assert "logic, dev problems (with 95 % intervals)" in shell.out
    reports = workdir / "reports" / "on-dev"
    assert all("logic, dev problems" in (reports / f"report.{end}").read_text() for end in ("html", "md"))
    report = json.loads((reports / "report.json").read_text())
    assert {(board["task"], board["split"]) for board in report["boards"]} == {("logic", "dev")}
    assert report["facts"]["Dev problems"] == "logic 8"

    assert shell("compare", "tiny:no-pmp", "on-dev:no-pmp", "--workdir", workdir, "--json") == 0
    found = shell.json()
    assert found["compared"] == []
    assert {one["why"] for one in found["not_compared"] if one["task"] == "logic"} == {"judged on test and dev"}
    table = harness.results(workdir)
    assert set(table[table.recipe == "on-dev"].split) == {"dev"}
    assert set(table[table.recipe == "tiny"].split) == {"test", "heldout"}

    workspace = open_workspace(TINY, on_dev, workdir)
    states = {key: status.state for key, status in look(workspace.plan.stages, workspace.store).items()}
    path = next((workdir / "store" / "analysis").glob(f"{report['analysis'].partition('/')[2]}*/analysis.json"))
    references = {row: label for row, (label, _) in REFERENCES.items()}
    finished = Finished(analysis=json.loads(path.read_text()), made=1.0, references=references)
    view = build_view(workspace.plan, workspace.store, states, finished)
    assert {run.tags.get("harness.split") for run in view.runs if run.kind != "variant"} == {"dev problems"}

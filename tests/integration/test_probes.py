"""Probes: pair accuracy of states along a trunk, which change nothing and are shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.cli.workspace import Workspace
from harness.recipe.fields import CODE
from harness.report.status import look
from harness.store.artifacts import TrunkState
from harness.tracking.build import build_view
from tests.integration.pipelines import TINY, folder_of, of_kind, outputs, record_of, run
from tests.integration.shell import Shell

PROBED = "evaluate.probes={every_pairs: 16}"


def test_probes_are_stages_on_trunk_states_and_no_outcomes(finished: Workspace, copy: Callable[..., Workspace]) -> None:
    workspace = copy(PROBED)
    (probed,) = [variant for variant in workspace.plan.variants if variant.probes]  # the arm without PMP has none
    assert [(probe.pairs, probe.task) for probe in probed.probes] == [
        (pairs, task) for pairs in (16, 32, 48) for task in (CODE, "logic")
    ]
    for probe in probed.probes:
        state = probe.stage.inputs["scores"].stage.inputs["trunk"].stage
        assert state.kind.name == "trunk_state"
        assert state.identity["spec"]["step"] * 8 == probe.pairs
    # of a run of 64 pairs, 48 are read when its decay begins: that state and all outcomes are the ones there are
    new = {stage.kind.name for stage in workspace.work().to_run}
    assert new == {"trunk_state", "encode", "preferences", "score", "pair_accuracy"}
    assert {one.stage.fingerprint for one in workspace.plan.outcomes} == {
        one.stage.fingerprint for one in finished.plan.outcomes
    }


def test_probes_are_run_shown_and_choose_nothing(
    finished: Workspace, copy: Callable[..., Workspace], shell: Shell
) -> None:
    workspace = copy(PROBED)
    summary = run(workspace)
    assert not summary.failed, [outcome.reason for outcome in summary.failed]
    old = [stage for stage in finished.plan.stages if stage.kind.name != "analysis"]
    assert outputs(workspace, old) == outputs(finished, old)
    assert len(of_kind(workspace, "trunk_state")) == 3
    assert all(TrunkState(folder_of(workspace.store, one)).model.is_dir() for one in of_kind(workspace, "trunk_state"))
    (probed,) = [variant for variant in workspace.plan.variants if variant.probes]
    accuracies = {
        (probe.pairs, probe.task): record_of(workspace.store, probe.stage).result["means"]["pair_accuracy"]
        for probe in probed.probes
    }
    assert shell("report", TINY, "--workdir", workspace.workdir, "--set", PROBED) == 0
    report = (workspace.reports / "report.md").read_text(encoding="utf-8")
    assert "PMP on its way" in report
    assert "| pairs read | held-out code pairs | logic |" in report
    assert f"| 32 | {accuracies[32, CODE]:.3f} | {accuracies[32, 'logic']:.3f} |" in report
    assert "PMP on its way" in (workspace.reports / "report.html").read_text(encoding="utf-8")
    states = {key: status.state for key, status in look(workspace.plan.stages, workspace.store).items()}
    view = build_view(workspace.plan, workspace.store, states, None)
    metrics = [one.metrics["probe/code"] for one in view.runs if one.kind == "variant" and "probe/code" in one.metrics]
    assert [[(point.step, point.value) for point in points] for points in metrics] == [
        [(pairs, pytest.approx(accuracies[pairs, CODE])) for pairs in (16, 32, 48)]
    ]

"""Pretraining that goes on from a state of another run, with other settings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from harness.cli.workspace import Workspace
from harness.errors import ProblemList
from harness.events import Metrics, read_events
from harness.pipeline.graph import Stage
from harness.plan.cost import estimate
from harness.store.artifacts import Checkpoint
from harness.store.record import EVENTS
from tests.integration.pipelines import folder_of, of_kind, only, outputs, run

Copy = Callable[..., Workspace]


def state_of(workspace: Workspace) -> str:
    """What a recipe writes to go on from the tiny recipe's only trunk state."""
    state = only(workspace, "trunk_state")
    return f"{state.name}@{state.identity['spec']['step']}"


def weights(workspace: Workspace, stage: Stage) -> Path:
    return Checkpoint(folder_of(workspace.store, stage)).model / "model.safetensors"


def test_a_fork_with_nothing_changed_ends_where_its_run_does(finished: Workspace, copy: Copy) -> None:
    workspace = copy(f"pretrain.from={state_of(finished)}")
    forked, original = only(workspace, "pretrain"), only(finished, "pretrain")
    assert forked.fingerprint != original.fingerprint
    assert of_kind(workspace, "base")[0].fingerprint == of_kind(finished, "base")[0].fingerprint
    assert not run(workspace, [forked]).failed
    assert weights(workspace, forked).read_bytes() == weights(finished, original).read_bytes()


def test_a_branch_names_its_trunk_too(finished: Workspace, copy: Copy) -> None:
    step = only(finished, "trunk_state").spec.step
    plans = [
        copy(f"pretrain.from={text}") for text in (state_of(finished), f"{only(finished, 'pretrain').name}@{step}")
    ]
    first, second = (only(workspace, "pretrain") for workspace in plans)
    assert first.fingerprint == second.fingerprint


def test_a_fork_trains_on_with_other_settings(finished: Workspace, copy: Copy) -> None:
    workspace = copy(
        f"pretrain.from={state_of(finished)}", "pretrain.loss={rm: 1.0, lm: 0.0}", "pretrain.learning_rate=0.001",
        "pairs.count=96", "seeds.pretrain=2",
    )  # fmt: skip
    trunks = [stage for stage in of_kind(workspace, "trunk_state") if "fork" in stage.inputs]
    assert [stage.identity["spec"]["step"] for stage in trunks] == [9, 9]  # of 12 steps, three of decay
    cost = {
        one.stage: one for one in estimate(workspace.work().to_run, workspace.plan.stages, workspace.store, 1).costs
    }
    assert cost[trunks[0]].tokens == cost[of_kind(workspace, "pretrain")[0]].tokens > 0  # three steps each
    summary = run(workspace)
    assert not summary.failed, [outcome.reason for outcome in summary.failed]
    events = read_events(folder_of(workspace.store, trunks[0]) / EVENTS)
    curve = [event for event in events if isinstance(event, Metrics)]
    assert [event.step for event in curve] == [7, 8, 9]
    assert all("loss_lm" not in event.values and event.values["learning_rate"] == 0.001 for event in curve)
    one, other = (load_file(weights(workspace, stage)) for stage in of_kind(workspace, "pretrain"))
    assert any(not one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        (["pretrain.from=trunk_state/0000000@6"], "no finished stage matches|must name a record of the workdir"),
        (["pretrain.from={state}5"], "must name a step that the trunk has a state of"),
        (["pretrain.from=base/0000@5"], "expects text of the form"),
        (["pretrain.from={state}", "pretrain.global_batch=16"], "must keep the `global_batch`"),
        (["pretrain.from={state}", "pairs.count=56"], "must leave before its own decay or end"),
        (["pretrain.from={state}", "pretrain.schedule={{kind: cosine}}", "pairs.count=48"], "must leave before"),
        (["pretrain.from={state}", "model.base.learning_rate=0.001"], "of the recipe's own base model"),
    ],
)
def test_forks_that_cannot_be_are_refused_with_their_line(
    finished: Workspace, copy: Copy, assignments: list[str], told: str
) -> None:
    written = [assignment.format(state=state_of(finished)) for assignment in assignments]
    with pytest.raises(ProblemList, match=told) as raised:
        copy(*written)
    assert "--set pretrain" in str(raised.value)


def test_a_state_that_was_dropped_is_refused(finished: Workspace, copy: Copy) -> None:
    workspace = copy()
    shutil.rmtree(folder_of(workspace.store, only(workspace, "trunk_state")) / "state" / "optimizer")
    with pytest.raises(ProblemList, match="must be whole"):
        copy(f"pretrain.from={state_of(finished)}")


def test_a_damaged_state_is_told_and_not_made_again_from_nothing(finished: Workspace, copy: Copy) -> None:
    workspace = copy(f"pretrain.from={state_of(finished)}", "pretrain.learning_rate=0.002")
    state = folder_of(workspace.store, only(finished, "trunk_state"))
    (moments,) = (state / "state" / "optimizer").iterdir()
    content = bytearray(moments.read_bytes())
    content[-1] ^= 1
    moments.write_bytes(content)
    summary = run(workspace, [only(workspace, "pretrain")])
    (failed,) = summary.failed
    assert "must match its record" in failed.reason
    assert "run the recipe that made it again" in failed.reason
    assert moments.is_file()


def test_a_fork_beside_the_run_it_leaves(finished: Workspace, copy: Copy) -> None:
    """In one plan the state is one stage, with all that it was made from."""
    axis = (
        f"ablations.axes.loss={{rm+lm: {{}}, forked: {{pretrain.from: {state_of(finished)}, pretrain.loss.lm: 0.5}}}}"
    )
    workspace = copy(axis)
    states = of_kind(workspace, "trunk_state")
    assert [stage.fingerprint for stage in states] == [only(finished, "trunk_state").fingerprint]
    assert states[0].inputs.keys() == states[0].identity["inputs"].keys()
    assert not run(workspace).failed
    shared = [stage for stage in workspace.plan.stages if stage in finished.plan.graph]
    assert outputs(workspace, shared) == outputs(finished, shared)

"""The tiny recipe from end to end: what is computed when, what stays the same, and what the data must never do."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from harness.cli.workspace import Workspace
from harness.corpus.normalise import normalise
from harness.events import Metrics, read_events
from harness.execution.executor import StageTask
from harness.execution.runner import how_of, make_task
from harness.pipeline.graph import Stage
from harness.pipeline.kinds import KINDS
from harness.store.artifacts import Candidates, Corpus, Pairs, Problems, ProblemValues, Scores
from harness.store.identity import fingerprint
from harness.store.record import EVENTS
from harness.store.store import Store
from tests.integration.outside import OUTSIDE
from tests.integration.pipelines import (
    TINY,
    attempts,
    every_kind,
    everything,
    finished_at,
    folder_of,
    left,
    of_kind,
    only,
    outputs,
    python,
    record_of,
    run,
    run_up_to,
    tiny,
)
from tests.toys.executors import local_executor

Rows = list[dict[str, Any]]


def rows_of(workspace: Workspace, kind: type[Any], stages: Iterable[Stage]) -> Rows:
    return [row for stage in stages for row in kind(folder_of(workspace.store, stage)).rows()]


def values_of(store: Store, stage: Stage) -> dict[str, dict[str, float]]:
    """metric -> problem -> value."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in ProblemValues(folder_of(store, stage)).rows():
        found[row["metric"]][row["problem"]] = row["value"]
    return found


# ------------------------------------------------------------------------------------------------ what is computed


def test_every_kind_of_stage_runs_once(finished: Workspace) -> None:
    stages = every_kind(finished)
    assert {stage.kind.name for stage in stages} == set(KINDS) - OUTSIDE
    assert all(attempts(finished.store, stage) == 1 for stage in stages)
    for stage in stages:
        finished.store.verify(record_of(finished.store, stage))
    assert not list(finished.store.root.glob("*/*.partial"))
    assert not list(finished.store.root.glob("*/*.lease"))


def test_a_second_run_has_nothing_to_do(finished: Workspace) -> None:
    assert finished.work().to_run == ()
    assert len(finished.work().done) == len(finished.plan.stages)


SECOND_RUN = """
import json, sys
from harness.cli.run_command import run_command
code = run_command(sys.argv[1:])
print(json.dumps({"code": code, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def test_a_second_run_imports_nothing_heavy(finished: Workspace, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    codes, imported = [], []
    for _ in range(2):  # the first writes the report
        process = python("-c", SECOND_RUN, "run", TINY, "--workdir", workspace.workdir)
        told, complaints = process.communicate(timeout=120)
        last = json.loads(told.splitlines()[-1])
        codes.append(last["code"])
        imported.append(set(last["modules"]))
    assert codes == [0, 0], complaints
    assert "0 stages computed" in complaints
    assert outputs(workspace) == outputs(finished)
    heavy = {"torch", "transformers", "scipy", "sklearn", "accelerate", "reasoning_gym", "pandas", "plotly"}
    assert not imported[1] & heavy


def test_the_same_recipe_gives_the_same_results_whatever_the_order_of_execution(
    finished: Workspace, tmp_path: Path
) -> None:
    other = tiny(tmp_path / "other")
    assert not run(other, everything(other), slots=1).failed  # one stage at a time; the other run had two slots
    assert outputs(other) == outputs(finished)


@pytest.mark.parametrize("kind", ["encode", "trunk_state", "finetune"])
def test_what_was_lost_is_computed_again_and_nothing_above_it(
    finished: Workspace, copy: Callable[..., Workspace], kind: str
) -> None:
    workspace = copy()
    lost = of_kind(workspace, kind)[0]
    workspace.store.discard(record_of(workspace.store, lost))
    assert workspace.work().to_run == (), "what is finished needs it no more"
    gone = [lost]
    for stage in workspace.plan.stages:
        if any(item.stage in gone for item in stage.inputs.values()):
            workspace.store.discard(record_of(workspace.store, stage))
            gone.append(stage)
    before = {stage.name: finished_at(finished.store, stage) for stage in everything(finished)}
    computed = [outcome.task.fingerprint for outcome in run(workspace).computed]
    assert sorted(computed) == sorted(stage.fingerprint for stage in gone)
    again = {stage.name for stage in everything(workspace) if finished_at(workspace.store, stage) != before[stage.name]}
    assert again == {stage.name for stage in gone}
    assert outputs(workspace) == outputs(finished)


def test_a_lost_outcome_is_computed_from_what_is_there(finished: Workspace, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    lost = of_kind(workspace, "best_of_n")[0]
    workspace.store.discard(record_of(workspace.store, lost))
    assert [outcome.task.fingerprint for outcome in run(workspace).computed] == [lost.fingerprint]
    assert outputs(workspace) == outputs(finished)


# ----------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("part_size", [1, 4, 8])
def test_candidates_do_not_depend_on_their_parts(
    finished: Workspace, copy: Callable[..., Workspace], part_size: int
) -> None:
    workspace = copy(f"evaluate.best_of_n.candidates.part_size={part_size}")
    gathered = only(workspace, "candidates")
    assert len(gathered.inputs) == 8 // part_size
    run_up_to(workspace, [gathered])
    ours = Candidates(folder_of(workspace.store, gathered)).read()
    assert ours.equals(Candidates(folder_of(finished.store, only(finished, "candidates"))).read())


@pytest.mark.parametrize("part_size", [16, 40, 96])
def test_pairs_do_not_depend_on_their_parts(
    finished: Workspace, copy: Callable[..., Workspace], part_size: int
) -> None:
    workspace = copy(f"pairs.part_size={part_size}")
    gathered, tokens = only(workspace, "pairs", "train"), only(workspace, "encode", "pairs train")
    assert len(gathered.inputs) == -(-96 // part_size)
    run_up_to(workspace, [tokens])
    ours = Pairs(folder_of(workspace.store, gathered)).read()
    reference = Pairs(folder_of(finished.store, only(finished, "pairs", "train"))).read()
    assert ours.slice(0, reference.num_rows).equals(reference)  # the last part may hold a few spare pairs more
    digests = [record_of(one.store, only(one, "encode", "pairs train")).output_digest for one in (workspace, finished)]
    assert digests[0] == digests[1]


# --------------------------------------------------------------------------------------------------- trunk, branch


def steps_seen(store: Store, stage: Stage) -> list[int]:
    events = read_events(folder_of(store, stage) / EVENTS)
    return [event.step for event in events if isinstance(event, Metrics)]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_trunk_state_is_the_same_by_any_route(finished: Workspace, tmp_path: Path, seed: int) -> None:
    """Directly from the base model, or on from the state that a smaller pair count left."""
    counts = "ablations.axes.size={small: {pairs.count: 32}, large: {pairs.count: 64}}"
    states = {}
    for route in ("direct", "by way of 32 pairs"):
        workspace = tiny(tmp_path / route, "seeds.pretrain=2", counts)
        trunk = [
            stage for stage in of_kind(workspace, "trunk_state") if stage.identity["spec"]["order"]["seed"] == seed
        ]
        early, late = sorted(trunk, key=lambda stage: stage.identity["spec"]["step"])
        assert (early.spec.step, late.spec.step) == (3, 6)
        inputs = [item.stage for item in late.inputs.values()]
        run_up_to(workspace, inputs)
        for stage in [late] if route == "direct" else [early, late]:
            assert not run(workspace, [stage]).failed
        states[route] = (steps_seen(workspace.store, late), record_of(workspace.store, late))
    assert states["direct"][0] == [1, 2, 3, 4, 5, 6]
    assert states["by way of 32 pairs"][0] == [4, 5, 6]
    assert len({record.fingerprint for _, record in states.values()}) == 1
    assert len({record.output_digest for _, record in states.values()}) == 1
    if seed == 0:  # the recipe without the axis asks for the same state
        assert outputs(finished, of_kind(finished, "trunk_state")).popitem()[1][0] == states["direct"][1].output_digest


def test_a_damaged_earlier_state_is_not_gone_on_from(tmp_path: Path) -> None:
    workspace = tiny(tmp_path, "ablations.axes.size={small: {pairs.count: 32}, large: {pairs.count: 64}}")
    early, late = sorted(of_kind(workspace, "trunk_state"), key=lambda stage: stage.identity["spec"]["step"])
    run_up_to(workspace, [early])
    weights = next((folder_of(workspace.store, early) / "state" / "model").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    assert not run(workspace, [late]).failed
    assert steps_seen(workspace.store, late)[0] == 1


def test_a_branch_equals_a_run_trained_alone(finished: Workspace, copy: Callable[..., Workspace]) -> None:
    """The checkpoint reached through the shared trunk is the one of a single run that never stopped."""
    workspace = copy()
    branch = only(workspace, "pretrain")
    trunk = branch.inputs["trunk"].stage
    alone = workspace.plan.graph.stage(
        branch.kind,
        branch.spec,
        {"base": trunk.inputs["base"], "tokens": branch.inputs["tokens"]},
        label="alone",
    )
    task = make_task(alone, workspace.store, how_of(workspace.runtime))
    run_tasks([task])
    assert steps_seen(workspace.store, alone) == list(range(1, branch.identity["spec"]["stop_step"] + 1))
    assert steps_seen(workspace.store, branch)[0] == branch.identity["spec"]["start_step"] + 1
    through_trunk, single = record_of(finished.store, branch), record_of(workspace.store, alone)
    assert through_trunk.fingerprint != single.fingerprint
    assert through_trunk.output_digest == single.output_digest
    assert through_trunk.result == single.result


def run_tasks(tasks: list[StageTask]) -> None:
    """Run tasks in a worker process, one after the other."""
    executor = local_executor(slots=1)
    try:
        for task in tasks:
            executor.start(task)
            outcomes = executor.wait(120.0)
            assert [outcome.status for outcome in outcomes] == ["done"], outcomes
    finally:
        executor.close()


# ---------------------------------------------------------------------------------------------------------- oracle


@pytest.mark.parametrize("scorer", ["perfect", "constant"])
def test_a_perfect_scorer_reaches_pass_at_n_and_a_constant_one_the_mean(
    finished: Workspace, copy: Callable[..., Workspace], scorer: str
) -> None:
    workspace = copy()
    store = workspace.store
    measured = of_kind(workspace, "best_of_n")[0]
    scores = store_scores(workspace, measured.inputs["scores"].stage, scorer)
    identity = {
        **measured.identity,
        "inputs": {"scores": scores, "candidates": measured.inputs["candidates"].stage.fingerprint},
    }
    task = make_task(measured, store, how_of(workspace.runtime))
    inputs = {**task.inputs, "scores": type(task.inputs["scores"])(kind="score", fingerprint=scores)}
    by_hand = StageTask(
        **{**vars(task), "identity": identity, "fingerprint": fingerprint(identity), "inputs": inputs, "label": scorer}
    )
    run_tasks([by_hand])
    found = ProblemValues(store.directory("best_of_n", by_hand.fingerprint)).rows()
    baselines = values_of(finished.store, only(finished, "pool_baselines"))
    reference = {"perfect": "oracle", "constant": "mean"}[scorer]
    sizes = list(measured.spec.n)
    assert sizes == [1, 2, 4]
    for name in [*(f"bon@{size}" for size in sizes), "area"]:
        ours = {row["problem"]: row["value"] for row in found if row["metric"] == name}
        assert ours == pytest.approx(baselines[f"{reference}/{name}"], abs=1e-12)
        assert len(ours) == 8
    ranking = [row["value"] for row in found if row["metric"].startswith("right_over_wrong")]
    assert set(ranking) == {1.0 if scorer == "perfect" else 0.5}
    # and no real scorer leaves the range between the worst pick and the oracle
    curve = values_of(finished.store, measured)
    assert all(curve["bon@4"][problem] <= best + 1e-12 for problem, best in baselines["oracle/bon@4"].items())


def store_scores(workspace: Workspace, like: Stage, scorer: str) -> str:
    """Store hand-made scores of the candidates, as a finished stage; gives its fingerprint."""
    pools = groupby(rows_of(workspace, Candidates, of_kind(workspace, "candidates")), key=lambda row: row["problem"])
    table: Rows = []
    for group, (_, candidates) in enumerate(pools):
        for response, row in enumerate(candidates):
            score = {"perfect": 100.0 * row["correct"] - response, "constant": -7.5}[scorer]
            table.append({"group": group, "response": response, "score": score})
    identity: Mapping[str, Any] = {"kind": "score", "code_version": 0, "spec": {"scorer": scorer}, "inputs": {}}
    key = fingerprint(identity)
    with workspace.store.build(like.kind.name, key, resumable=False) as building:
        assert building is not None
        Scores(building.directory).write(table)
        building.publish(kind="score", identity=identity, result={}, environment={}, run={})
    return key


# ------------------------------------------------------------------------------------------------------------ data


def test_pools_hold_error_types_that_no_preference_pair_shows(finished: Workspace) -> None:
    in_pairs = {row["detail"] for row in rows_of(finished, Pairs, of_kind(finished, "preferences"))}
    wrong = [row for row in rows_of(finished, Candidates, of_kind(finished, "candidates")) if not row["correct"]]
    assert in_pairs
    unseen = {row["error_type"] for row in wrong} - in_pairs
    assert len(unseen) >= 2
    assert unseen == {row["error_type"] for row in wrong if not row["seen"]}
    assert {row["error_type"] for row in wrong if row["seen"]} & in_pairs


def test_no_cluster_and_no_prompt_is_in_two_splits(finished: Workspace) -> None:
    problems = rows_of(finished, Problems, of_kind(finished, "problems"))
    splits = {split: sum(row["split"] == split for row in problems) for split in ("base", "finetune", "dev", "test")}
    assert splits == {"base": 16, "finetune": 32, "dev": 8, "test": 8}
    for key in ("cluster", "prompt", "id"):
        where: dict[str, set[str]] = defaultdict(set)
        for row in problems:
            where[row[key]].add(row["split"])
        assert all(len(splits) == 1 for splits in where.values()), key
    clusters = {row["cluster"]: row["split"] for row in problems}
    for stage in of_kind(finished, "preferences"):
        assert {clusters[row["cluster"]] for row in rows_of(finished, Pairs, [stage])} == {
            stage.identity["spec"]["split"]
        }
    candidates = rows_of(finished, Candidates, of_kind(finished, "candidates"))
    assert {clusters[row["cluster"]] for row in candidates} == {"test"}


def test_held_out_packages_are_in_no_training_text(finished: Workspace) -> None:
    functions = rows_of(finished, Corpus, of_kind(finished, "corpus"))
    packages = {split: {row["cluster"] for row in functions if row["split"] == split} for split in ("heldout", "base")}
    assert packages == {"heldout": {"http"}, "base": {"logging"}}
    train = rows_of(finished, Pairs, [only(finished, "pairs", "train")])
    heldout = rows_of(finished, Pairs, [only(finished, "pairs", "heldout")])
    assert {row["cluster"].partition(".")[0] for row in train} == {"email", "unittest"}
    assert {row["cluster"].partition(".")[0] for row in heldout} == {"http"}
    assert not {row["chosen"] for row in train} & {row["chosen"] for row in heldout}
    sources = {row["text"] for row in functions if row["split"] != "train"}
    assert not {row["chosen"] for row in train} & sources


def test_both_sides_of_every_pair_are_in_normal_form_and_differ(finished: Workspace) -> None:
    pairs = rows_of(finished, Pairs, of_kind(finished, "pairs"))
    assert len(pairs) > 64
    for row in pairs:
        assert normalise(row["chosen"]) == row["chosen"]
        assert normalise(row["rejected"]) == row["rejected"]
        assert row["chosen"] != row["rejected"]


def test_nothing_is_left_after_all_that(finished: Workspace) -> None:
    """The shared workdir was only read."""
    assert not left(finished)
    for stage in everything(finished):
        finished.store.verify(record_of(finished.store, stage))

"""Plans: what is asked, what sharing leaves, in which order, and what a store leaves to do."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.pipeline.graph import Graph, Input, Stage, times_needed
from harness.pipeline.kinds import KINDS
from harness.pipeline.optimization import steps_of
from harness.pipeline.training_kinds import trunk_of
from harness.plan.analysis import analysis_stage, baseline_is_chosen, baseline_of
from harness.plan.plan import Plan, make_plan
from harness.plan.rows import POOL, Variant
from harness.plan.work import Work, work_left
from harness.recipe.blocks import Pretrain
from harness.recipe.fields import CODE
from harness.recipe.runtime import Runtime
from harness.store.store import Store
from tests.toys.graphs import any_stage

ROOT = Path(__file__).parents[2]
KEEP, RERUN = Runtime(), Runtime(stale_code="rerun")
MakePlan = Callable[..., Plan]
Finish = Callable[..., Any]


def needs(targets: Iterable[Stage]) -> set[str]:
    """Fingerprints of the targets and all they read."""
    found: set[str] = set()
    waiting = list(targets)
    while waiting:
        stage = waiting.pop()
        if stage.fingerprint not in found:
            found.add(stage.fingerprint)
            waiting.extend(item.stage for item in stage.inputs.values())
    return found


def ends(variant: Variant) -> tuple[Stage, ...]:
    return variant.targets


def kinds(stages: Iterable[Stage]) -> set[str]:
    return {stage.kind.name for stage in stages}


# ------------------------------------------------------------------------------------------- a plan as a whole


@pytest.fixture
def grid(recipe: dict[str, Any], planned: MakePlan) -> Plan:
    """Three arms, two counts, two PMP seeds, two fine-tuning seeds."""
    recipe["seeds"] = {"data": 7, "pretrain": 2, "finetune": 2}
    recipe["ablations"] = {
        "axes": {
            "loss": {"both": {}, "rm": {"pretrain.loss.lm": 0.0}, "lm": {"pretrain.loss.rm": 0.0}},
            "pairs.count": [80, 160],
        },
        "include": [{"name": "no-pmp", "set": {"pretrain": None}}],
    }  # fmt: skip
    return planned(recipe)


def test_a_plan_holds_what_its_targets_need_and_nothing_else(grid: Plan) -> None:
    assert {stage.fingerprint for stage in grid.stages} == needs(grid.targets)
    looks = {one.stage for one in grid.failures}
    assert set(grid.targets) - looks == {
        stage for variant in (*grid.variants, *grid.references) for stage in ends(variant)
    }
    assert len(looks) == len(grid.settings) * 2
    assert not looks & {item.stage for stage in grid.stages for item in stage.inputs.values()}
    assert len(grid.stages) == len({stage.fingerprint for stage in grid.stages})


def test_inputs_come_first(grid: Plan) -> None:
    place = {stage.fingerprint: index for index, stage in enumerate(grid.stages)}
    for stage in grid.stages:
        for before in [item.stage for item in stage.inputs.values()] + stage.after:
            assert place[before.fingerprint] < place[stage.fingerprint]


def test_asked_is_the_sum_of_variants_alone(grid: Plan) -> None:
    alone = [len(needs(ends(variant))) for variant in (*grid.variants, *grid.references)]
    assert grid.asked == sum(alone) + len(grid.failures)
    assert grid.asked > 3 * len(grid.stages)
    assert len(grid.variants) == 6 * 2 * 2 + 2


def test_one_variant_shares_with_its_references_only(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["evaluate"]["reference_scorers"] = []
    plan = planned(recipe)
    [variant] = plan.variants
    [pool] = plan.references
    looks = len(plan.failures)
    assert plan.asked == len(needs(ends(variant))) + len(needs(ends(pool))) + looks
    assert len(plan.stages) == len(needs(ends(variant)) | needs(ends(pool))) + looks


def test_the_same_recipe_is_the_same_plan(grid: Plan) -> None:
    again = make_plan(grid.loaded)
    assert [(stage.fingerprint, stage.label) for stage in again.stages] == [
        (stage.fingerprint, stage.label) for stage in grid.stages
    ]
    assert [setting.names for setting in again.settings] == [setting.names for setting in grid.settings]


def test_what_is_evaluated(grid: Plan) -> None:
    for variant in grid.variants:
        asked = {(outcome.task, outcome.metric) for outcome in variant.outcomes}
        tasks = {(task, metric) for task in ("sums", "logic") for metric in ("best_of_n", "pair_accuracy")}
        judged_on_code = variant.setting.startswith(("both", "rm"))  # a reward head that PMP trained
        assert asked == tasks | ({(CODE, "pair_accuracy")} if judged_on_code else set())
        for outcome in variant.outcomes:
            assert outcome.stage.kind.name == outcome.metric
            [scores] = [item.stage for name, item in outcome.stage.inputs.items() if name == "scores"]
            judged = variant.pretrained if outcome.task == CODE else variant.finetuned
            assert scores.inputs["checkpoint"].stage is judged
    scorers = [variant.setting for variant in grid.references]
    assert scorers == [POOL, "length", "length", "ngrams", "ngrams"]
    assert {outcome.metric for outcome in grid.references[0].outcomes} == {"pool_baselines"}
    assert {outcome.task for outcome in grid.references[1].outcomes} == {"sums", "logic", CODE}


def test_every_arm_is_judged_on_the_same_candidates(grid: Plan) -> None:
    for task in ("sums", "logic"):
        pools = {
            outcome.stage.inputs["candidates"].stage.fingerprint
            for variant in (*grid.variants, *grid.references)
            for outcome in variant.outcomes
            if outcome.task == task and outcome.metric in ("best_of_n", "pool_baselines")
        }
        assert len(pools) == 1


def test_parts_cover_what_is_asked(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["tasks"]["sums"]["problems"]["test"] = 13
    plan = planned(recipe)
    for stage in plan.stages:
        if stage.kind.name in ("pairs", "candidates"):
            parts = [item.stage.spec for name, item in sorted(stage.inputs.items()) if name.startswith("part-")]
            ranges = [(part.start, part.stop) for part in parts]
            assert ranges[0][0] == 0
            assert all(one[1] == other[0] for one, other in pairwise(ranges))
    spans = {stage.label: max(item.stage.spec.stop for item in stage.inputs.values()) for stage in plan.stages
             if stage.kind.name in ("pairs", "candidates")}  # fmt: skip
    assert spans == {"pairs train": 240, "pairs heldout": 80, "candidates sums": 13, "candidates logic": 12}


def test_planning_leaves_the_collector_as_it_was(grid: Plan) -> None:
    assert gc.isenabled()
    gc.disable()
    try:
        make_plan(grid.loaded)
        assert not gc.isenabled()
    finally:
        gc.enable()


HEAVY = (
    "torch",
    "transformers",
    "pyarrow",
    "pandas",
    "scipy",
    "sklearn",
    "reasoning_gym",
    "numpy",
    "tokenizers",
    "rensa",
)


def test_planning_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
    import sys
    from pathlib import Path
    from harness.plan.plan import make_plan
    from harness.plan.work import work_left
    from harness.plan.cost import estimate
    from harness.recipe.load import load_recipe
    from harness.store.store import Store
    loaded = load_recipe(Path("recipes/quickstart.yaml"))
    made = make_plan(loaded)
    store = Store(Path({str(tmp_path)!r}))
    work = work_left(made, store, loaded.recipe.runtime)
    estimate(work.to_run, made.stages, store, 2)
    assert len(work.to_run) == len(made.stages) > 50
    print(sorted({{name.split(".")[0] for name in sys.modules}} & set({HEAVY!r})))
    """
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


# ---------------------------------------------------------------------------------------------------- graphs


def test_equal_content_is_one_stage() -> None:
    graph = Graph()
    first = any_stage(graph, "corpus", {"a": 1, "b": [1, 2]}, label="first")
    assert any_stage(graph, "corpus", {"b": [1, 2], "a": 1}, label="second") is first
    assert first.label == "first"
    assert any_stage(graph, "corpus", {"a": 1.0, "b": [1, 2]}) is not first
    assert any_stage(graph, "problems", {"a": 1, "b": [1, 2]}) is not first
    user = any_stage(graph, "encode", {}, {"x": first})
    assert any_stage(graph, "encode", {}, {"x": Input(stage=first)}) is user
    assert any_stage(graph, "encode", {}, {"y": first}) is not user
    assert len(graph) == len(list(graph)) == 5
    assert graph[first.fingerprint] is first


def test_a_prefix_is_known_by_its_stream_and_rows() -> None:
    graph = Graph()
    short = any_stage(graph, "encode", {"limit": 10}, stream={"of": "x"})
    long = any_stage(graph, "encode", {"limit": 99}, stream={"of": "x"})
    other = any_stage(graph, "encode", {"limit": 99, "of": "y"}, stream={"of": "y"})
    assert short.stream == long.stream != other.stream
    read = any_stage(graph, "pretrain", {}, {"tokens": Input(stage=short, rows=10)})
    assert any_stage(graph, "pretrain", {}, {"tokens": Input(stage=long, rows=10)}) is read
    assert any_stage(graph, "pretrain", {}, {"tokens": Input(stage=long, rows=11)}) is not read
    assert any_stage(graph, "pretrain", {}, {"tokens": Input(stage=other, rows=10)}) is not read
    assert any_stage(graph, "pretrain", {}, {"tokens": short}) is not any_stage(graph, "pretrain", {}, {"tokens": long})


def test_the_code_version_is_identity() -> None:
    stage = any_stage(Graph(), "corpus", {})
    assert stage.identity["code_version"] == KINDS["corpus"].code_version
    version = KINDS["corpus"].code_version
    assert stage.identity == {"kind": "corpus", "code_version": version, "spec": {}, "inputs": {}}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Stage], list[list[Stage]]]:
    """Stages of a random acyclic graph, and groups of targets among them."""
    graph = Graph()
    stages: list[Stage] = []
    for index in range(draw(st.integers(1, 14))):
        below = draw(st.lists(st.integers(0, index - 1), max_size=4)) if index else []
        stages.append(
            any_stage(graph, "corpus", {"n": index}, {str(place): stages[i] for place, i in enumerate(below)})
        )
    groups = draw(st.lists(st.lists(st.sampled_from(stages), min_size=1, max_size=4), min_size=1, max_size=4))
    return stages, groups


@given(graphs())
def test_order_and_sizes_of_any_graph(drawn: tuple[list[Stage], list[list[Stage]]]) -> None:
    _, groups = drawn
    targets = [stage for group in groups for stage in group]
    order = Graph().in_order(targets)
    assert {stage.fingerprint for stage in order} == needs(targets)
    assert len(order) == len(set(order))
    place = {stage: index for index, stage in enumerate(order)}
    assert all(place[item.stage] < place[stage] for stage in order for item in stage.inputs.values())
    alone = [needs(group) for group in groups]
    times = {stage.fingerprint: many for stage, many in times_needed(order, groups)}
    assert times == {one.fingerprint: sum(one.fingerprint in each for each in alone) for one in order}


def test_order_keeps_what_should_come_after() -> None:
    graph = Graph()
    first, second, absent = (any_stage(graph, "corpus", {"n": n}) for n in range(3))
    first.after.append(second)
    first.after.append(absent)
    assert Graph().in_order([first, second]) == [second, first]
    assert Graph().in_order([first]) == [first]  # a stage nobody needs is not run for being cheaper


# ------------------------------------------------------------------------------------------------------ steps


def pretrain(**changes: Any) -> Pretrain:
    data = {"learning_rate": 0.1, "global_batch": 8, "schedule": {"kind": "wsd", "warmup_pairs": 0, "decay": 0.1}}
    return Pretrain.model_validate(data | changes)


@pytest.mark.parametrize(
    ("count", "decay", "warmup", "expected"),
    [
        (800, 0.1, 0, (100, 90, 0, 800)),
        (807, 0.1, 0, (100, 90, 0, 800)),
        (808, 0.1, 1, (101, 91, 1, 808)),
        (8, 0.1, 0, (1, 0, 0, 8)),
        (80, 0.01, 8, (10, 9, 1, 80)),
        (80, 1.0, 9, (10, 0, 2, 80)),
        (7, 0.1, 0, (0, -1, 0, 0)),
    ],
)
def test_counts_in_whole_steps(count: int, decay: float, warmup: int, expected: tuple[int, int, int, int]) -> None:
    steps = steps_of(pretrain(schedule={"kind": "wsd", "warmup_pairs": warmup, "decay": decay}), count)
    assert (steps.total, steps.decay_start, steps.warmup, steps.pairs) == expected


@given(st.integers(1, 10**9), st.integers(1, 4096), st.floats(0.001, 1.0), st.integers(0, 10**6))
def test_steps_are_whole_and_near(count: int, batch: int, decay: float, warmup: int) -> None:
    block = pretrain(global_batch=batch, schedule={"kind": "wsd", "warmup_pairs": warmup, "decay": decay})
    steps = steps_of(block, count)
    assert steps.pairs <= count < steps.pairs + batch
    assert steps.warmup * batch >= warmup > (steps.warmup - 1) * batch
    if steps.total:
        assert 0 <= steps.decay_start < steps.total
        assert abs(Fraction(steps.total - steps.decay_start) - Fraction(decay) * steps.total) <= 1


def test_other_schedules_have_no_trunk() -> None:
    steps = steps_of(pretrain(schedule={"kind": "cosine", "warmup": 0.25}), 160)
    assert (steps.total, steps.decay_start, steps.warmup) == (20, 0, 5)


def test_states_of_a_trunk_know_each_other(grid: Plan) -> None:
    states = [stage for stage in grid.stages if stage.kind.name == "trunk_state"]
    found: dict[str, list[int]] = {}
    for stage in states:
        found.setdefault(trunk_of(stage.identity), []).append(stage.identity["spec"]["step"])
    assert sorted(found.values()) == [[8, 16]] * 6  # three losses x two seeds


# ---------------------------------------------------------------------------------------------- what is left


@pytest.fixture
def plan(recipe: dict[str, Any], planned: MakePlan) -> Plan:
    recipe["ablations"] = {"axes": {"arm": {"pmp": {}, "no-pmp": {"pretrain": None}}}}
    return planned(recipe)


def left(plan: Plan, store: Store, runtime: Runtime = KEEP) -> Work:
    """What is left, after checking what must hold of any answer."""
    work = work_left(plan, store, runtime)
    running = {stage.fingerprint for stage in work.to_run}
    assert not running & work.done
    assert [stage for stage in plan.stages if stage.fingerprint in running] == list(work.to_run)  # inputs first
    for stage in work.to_run:
        for item in stage.inputs.values():  # whatever runs finds its inputs
            record = store.record(item.stage.kind.name, item.stage.fingerprint)
            assert item.stage.fingerprint in running or (record is not None and store.has_payload(record))
    for target in plan.targets:
        assert target.fingerprint in running | work.done or target.kind.name == "failures"  # not worth a training
    return work


def finish_all(plan: Plan, finish: Finish, *, but: Sequence[str] = ()) -> None:
    for stage in plan.stages:
        if stage.kind.name not in but:
            finish(stage)


def drop(plan: Plan, store: Store, kind: str) -> None:
    for stage in plan.stages:
        record = store.record(stage.kind.name, stage.fingerprint)
        if stage.kind.name == kind and record is not None:
            store.drop_payload(record)


def test_nothing_done(plan: Plan, store: Store) -> None:
    work = left(plan, store)
    assert work == Work(done=frozenset(), to_run=plan.stages, stale=())


def test_all_done(plan: Plan, store: Store, finish: Finish) -> None:
    finish_all(plan, finish)
    work = left(plan, store)
    assert work == Work(done=frozenset(stage.fingerprint for stage in plan.stages), to_run=(), stale=())


@pytest.mark.parametrize("steps", [1, 5, 20, 40])
def test_some_done(plan: Plan, store: Store, finish: Finish, steps: int) -> None:
    for stage in plan.stages[:steps]:
        finish(stage)
    work = left(plan, store)
    assert work.done == {stage.fingerprint for stage in plan.stages[:steps]}
    assert work.to_run == plan.stages[steps:]


def test_nothing_runs_for_payload_that_nobody_reads(plan: Plan, store: Store, finish: Finish) -> None:
    finish_all(plan, finish)
    targets = kinds(plan.targets)
    for kind in kinds(plan.stages) - targets:
        drop(plan, store, kind)
    assert left(plan, store).to_run == ()
    assert len(left(plan, store).done) == len(plan.stages)


def test_nothing_runs_for_records_that_nobody_needs(plan: Plan, store: Store, finish: Finish) -> None:
    for target in plan.targets:
        finish(target)
    work = left(plan, store)
    assert work.to_run == ()
    assert work.done == {target.fingerprint for target in plan.targets}


def test_a_missing_stage_runs_again_with_its_dropped_inputs(plan: Plan, store: Store, finish: Finish) -> None:
    finish_all(plan, finish, but=["pretrain"])
    finish_all(plan, finish, but=["best_of_n"])  # `pretrain` is there now, one evaluation is not
    drop(plan, store, "encode")
    for stage in plan.stages:
        if stage.kind.name == "best_of_n":
            record = store.record(stage.kind.name, stage.fingerprint)
            if record is not None:
                store.discard(record)
    work = left(plan, store)
    assert kinds(work.to_run) == {"best_of_n"}  # its inputs are scores, whose payload is there
    drop(plan, store, "score")
    work = left(plan, store)
    assert kinds(work.to_run) == {"best_of_n", "score", "encode"}
    drop(plan, store, "finetune")
    work = left(plan, store)
    assert kinds(work.to_run) == {"best_of_n", "score", "encode", "finetune"}
    drop(plan, store, "tokenizer")
    assert kinds(left(plan, store).to_run) == {"best_of_n", "score", "encode", "finetune", "tokenizer"}
    assert not {"corpus", "base", "pretrain", "trunk_state", "pairs_part"} & kinds(left(plan, store).to_run)


def test_no_model_runs_to_look_where_it_fails(plan: Plan, store: Store, finish: Finish) -> None:
    finish_all(plan, finish, but=["failures"])
    assert kinds(left(plan, store).to_run) == {"failures"}
    drop(plan, store, "score")
    assert left(plan, store).to_run == ()


def test_dev_candidates_are_scored_only_to_calibrate(recipe: dict[str, Any], planned: MakePlan) -> None:
    plain = planned(recipe)
    recipe["evaluate"]["failures"] = "calibrated"
    plan = planned(recipe)
    added = {stage.fingerprint: stage for stage in plan.stages}
    for stage in plain.stages:
        added.pop(stage.fingerprint, None)
    assert kinds(added.values()) == {"problems", "candidates_part", "candidates", "encode", "score", "failures"} - (
        {"problems"} & kinds(plain.stages)
    )
    assert all("dev" in stage.label for stage in added.values() if stage.kind.name != "failures")
    recipe["evaluate"]["failures"] = "none"
    assert planned(recipe).failures == ()


def test_on_dev_the_test_problems_are_left_alone_and_nothing_trains_anew(
    recipe: dict[str, Any], planned: MakePlan
) -> None:
    on_test = planned(recipe)
    recipe["evaluate"]["split"] = "dev"
    on_dev = planned(recipe)
    assert all(stage.spec.split != "test" for stage in on_dev.stages if hasattr(stage.spec, "split"))
    assert not [stage.label for stage in on_dev.stages if "problems-test" in stage.inputs]
    trained = [
        {one.finetuned.fingerprint for one in plan.variants if one.finetuned is not None} for plan in (on_test, on_dev)
    ]
    assert trained[0] == trained[1]
    (pairs,) = {
        one.stage.inputs["pairs"].stage
        for one in on_dev.variants[0].outcomes
        if one.task == "sums" and one.metric == "pair_accuracy"
    }
    assert (pairs.spec.split, pairs.spec.count) == ("dev", recipe["evaluate"]["pair_accuracy"]["samples"])


def test_code_pairs_are_dev_ones_only_where_the_recipe_has_some(recipe: dict[str, Any], planned: MakePlan) -> None:
    def judging() -> set[str]:
        outcomes = [one for variant in planned(recipe).everyone for one in variant.outcomes if one.task == CODE]
        parts = [next(iter(one.stage.inputs["pairs"].stage.inputs.values())).stage for one in outcomes]
        return {part.spec.split for part in parts}

    recipe["evaluate"]["split"] = "dev"
    assert judging() == {"heldout"}
    recipe["corpus"]["packages"].append("json")
    recipe["corpus"]["dev"] = ["json"]
    assert judging() == {"dev"}


def test_a_dropped_outcome_is_made_again(plan: Plan, store: Store, finish: Finish) -> None:
    finish_all(plan, finish)
    drop(plan, store, "pair_accuracy")
    assert kinds(left(plan, store).to_run) == {"pair_accuracy"}


def test_what_was_cut_short_is_made_again(plan: Plan, store: Store, finish: Finish) -> None:
    finish_all(plan, finish)
    [base] = [stage for stage in plan.stages if stage.kind.name == "base"]
    (store.directory("base", base.fingerprint) / "payload.json").write_text("")
    assert left(plan, store).to_run == ()
    drop(plan, store, "finetune")
    drop(plan, store, "score")
    drop(plan, store, "best_of_n")
    running = left(plan, store).to_run
    assert base in running  # the arm without PMP starts from it
    assert "pretrain" not in kinds(running)


def test_code_that_changed_is_told_and_kept(plan: Plan, store: Store, finish: Finish) -> None:
    for stage in plan.stages:
        finish(stage, digest="what the code was once" if stage.kind.name == "finetune" else None)
    work = left(plan, store, KEEP)
    assert work.to_run == ()
    assert [stage.kind.name for stage in work.stale] == ["finetune", "finetune"]
    assert len(work.done) == len(plan.stages)


def test_code_that_changed_is_run_again_with_all_that_was_made_from_it(
    plan: Plan, store: Store, finish: Finish
) -> None:
    for stage in plan.stages:
        finish(stage, digest="what the code was once" if stage.kind.name == "finetune" else None)
    work = left(plan, store, RERUN)
    made = [variant.finetuned for variant in plan.variants if variant.finetuned]
    expected = {stage.fingerprint for stage in plan.stages if needs([stage]) & {stage.fingerprint for stage in made}}
    assert {stage.fingerprint for stage in work.to_run} == expected
    assert kinds(work.to_run) == {"finetune", "score", "best_of_n", "pair_accuracy", "failures"}
    assert work.stale == ()
    assert work.done == {stage.fingerprint for stage in plan.stages} - expected
    for stage in work.to_run:  # as whoever runs them must do first
        record = store.record(stage.kind.name, stage.fingerprint)
        assert record is not None
        store.discard(record)
    for stage in work.to_run[: len(work.to_run) // 2]:
        finish(stage)
    assert left(plan, store, RERUN).to_run == work.to_run[len(work.to_run) // 2 :]  # interrupted, and gone on


def test_changed_code_upstream_of_finished_work_counts_too(plan: Plan, store: Store, finish: Finish) -> None:
    for stage in plan.stages:
        finish(stage, digest="what the code was once" if stage.kind.name == "tokenizer" else None)
    assert left(plan, store, KEEP).to_run == ()
    assert {"tokenizer", "encode", "base", "finetune", "best_of_n"} <= kinds(left(plan, store, RERUN).to_run)
    assert not {"corpus", "pairs_part", "candidates_part"} & kinds(left(plan, store, RERUN).to_run)


@settings(deadline=None)  # it plans and writes folders
@given(data=st.data())
def test_whatever_is_there_the_rest_can_run(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    plan, store, finish = _small_world(tmp_path_factory)
    for stage in plan:
        state = data.draw(st.sampled_from(["absent", "done", "dropped"]))
        if state != "absent":
            finish(stage, store)
        if state == "dropped":
            record = store.record(stage.kind.name, stage.fingerprint)
            assert record is not None
            store.drop_payload(record)
    made = _plan_of(plan, plan[-2:])
    work = left(made, store)
    for stage in reversed(work.to_run):  # no stage runs in vain
        users = [other for other in work.to_run if stage in {item.stage for item in other.inputs.values()}]
        assert users or stage in plan[-2:]


def _small_world(factory: pytest.TempPathFactory) -> tuple[list[Stage], Store, Callable[[Stage, Store], None]]:
    graph = Graph()
    a, b = any_stage(graph, "corpus", {"n": 1}), any_stage(graph, "tokenizer", {"n": 2})
    c, d = any_stage(graph, "encode", {"n": 3}, {"x": a, "y": b}), any_stage(graph, "encode", {"n": 4}, {"x": b})
    e, f = (
        any_stage(graph, "best_of_n", {"n": 5}, {"x": c, "y": d}),
        any_stage(graph, "pair_accuracy", {"n": 6}, {"x": d}),
    )
    store = Store(factory.mktemp("store"))
    store.create()

    def finish(stage: Stage, store: Store) -> None:
        with store.build(stage.kind.name, stage.fingerprint, resumable=False) as building:
            assert building is not None
            (building.directory / "payload").write_text("x")
            building.publish(kind=stage.kind.name, identity=stage.identity, result={}, environment={}, run={})

    return [a, b, c, d, e, f], store, finish


def _plan_of(stages: Sequence[Stage], targets: Sequence[Stage]) -> Plan:
    from harness.plan.rows import Outcome

    outcomes = tuple(Outcome(task="t", metric="m", stage=stage) for stage in targets)
    reference = Variant(setting="s", pretrain_seed=None, finetune_seed=None, outcomes=outcomes)
    return Plan(
        loaded=None,  # type: ignore[arg-type]
        graph=Graph(),
        settings=(),
        references=(reference,),
        targets=reference.targets,
        stages=tuple(stages),
        asked=0,
    )


# ------------------------------------------------------------------------------------------------- analysis


def finished(stages: Iterable[Stage]) -> frozenset[str]:
    return frozenset(stage.fingerprint for stage in stages)


def rows_of(stage: Stage | None) -> set[tuple[str, str, str]]:
    assert stage is not None
    return {(row["row"], row["task"], row["evaluation"]) for row in stage.identity["spec"]["rows"]}


def test_without_results_there_is_no_analysis(grid: Plan) -> None:
    assert analysis_stage(grid, frozenset()) is None
    references = [outcome.stage for variant in grid.references for outcome in variant.outcomes]
    assert analysis_stage(grid, finished(references)) is None  # nothing to compare them with
    assert analysis_stage(grid, finished(stage for stage in grid.stages if stage.kind.name != "best_of_n" and
                                         stage.kind.name != "pair_accuracy")) is None  # fmt: skip


def test_the_whole_analysis(grid: Plan) -> None:
    stage = analysis_stage(grid, finished(grid.stages))
    assert stage is not None
    assert stage.identity["spec"]["baseline"] == baseline_of(grid) == "no-pmp"
    assert stage.identity["spec"]["seed"] == 7
    rows = stage.identity["spec"]["rows"]
    assert {row["kind"] for row in rows} == {"setting", "shallow", "pool"}
    assert [row["input"] for row in rows] == list(stage.inputs)
    by_input = {row["input"]: row for row in rows}
    for name, item in stage.inputs.items():
        assert item.stage.kind.name == by_input[name]["evaluation"]
    judged = [row for row in rows if row["row"] == "both, count=80" and row["task"] == "sums"]
    assert sorted((row["evaluation"], row["pretrain_seed"], row["finetune_seed"]) for row in judged) == [
        (metric, p, f) for metric in ("best_of_n", "pair_accuracy") for p in (0, 1) for f in (0, 1)
    ]
    code = [row for row in rows if row["row"] == "both, count=80" and row["task"] == CODE]
    assert [(row["pretrain_seed"], row["finetune_seed"]) for row in code] == [(0, None), (1, None)]
    assert analysis_stage(grid, finished(grid.stages)) is stage


def test_a_setting_counts_with_all_its_seeds_only(grid: Plan) -> None:
    first, second = grid.settings[0], grid.settings[1]
    partly = {stage.fingerprint for stage in grid.stages}
    late = second.variants[3].outcomes[0]
    assert (late.task, late.metric) == ("sums", "best_of_n")
    partly.remove(late.stage.fingerprint)
    rows = rows_of(analysis_stage(grid, frozenset(partly)))
    assert (first.name, "sums", "best_of_n") in rows
    assert (second.name, "sums", "best_of_n") not in rows
    assert (second.name, "logic", "best_of_n") in rows
    whole = analysis_stage(grid, finished(grid.stages))
    part = analysis_stage(grid, frozenset(partly))
    assert whole is not None
    assert part is not None
    assert part.fingerprint != whole.fingerprint


def test_without_an_arm_without_pmp_the_first_is_the_baseline(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["ablations"] = {"axes": {"finetune.head": ["linear_probe", "carry"]}}
    assert baseline_of(planned(recipe)) == "head=linear_probe"


def test_the_recipe_chooses_the_baseline_and_no_training_depends_on_it(
    recipe: dict[str, Any], planned: MakePlan
) -> None:
    recipe["ablations"] = {"axes": {"loss": {"both": {}, "no-pmp": {"pretrain": None}}, "pairs.count": [40, 80]}}
    before = planned(recipe)
    after = planned(recipe | {"baseline": "both, count=80"})
    assert (baseline_of(before), baseline_is_chosen(before)) == ("no-pmp, count=40 = no-pmp, count=80", False)
    assert (baseline_of(after), baseline_is_chosen(after)) == ("both, count=80", True)
    merged = planned(recipe | {"baseline": "no-pmp, count=80"})
    assert baseline_of(merged) == baseline_of(before)
    assert [one.fingerprint for one in after.stages if one.kind.name != "failures"] == [
        one.fingerprint for one in before.stages if one.kind.name != "failures"
    ]

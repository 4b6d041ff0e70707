"""Cost estimates: better bases as records appear, wall time by scheduling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.pipeline.graph import Graph, Stage
from harness.pipeline.models import ASSUMED_SHARE
from harness.pipeline.optimization import steps_of
from harness.pipeline.tokens import ASSUMED_CHARACTERS_PER_TOKEN
from harness.pipeline.weights import parameters
from harness.plan.cost import (
    Estimate,
    StageCost,
    estimate,
    makespan,
)
from harness.plan.plan import Plan
from harness.plan.speed import ASSUMED_FLOPS_PER_SECOND
from harness.store.store import Store
from tests.toys.graphs import any_stage

MakePlan = Callable[..., Plan]
CODE_TOKENS, TASK_TOKENS = 128 / ASSUMED_SHARE, 256 / ASSUMED_SHARE  # of a prompt or response of the recipe, assumed
Finish = Callable[..., Any]


def only(plan: Plan, kind: str, label: str = "") -> Stage:
    [stage] = [stage for stage in plan.stages if stage.kind.name == kind and label in stage.label]
    return stage


def cost_of(plan: Plan, store: Store, stage: Stage) -> StageCost:
    [cost] = estimate([stage], plan.stages, store, 1).costs
    return cost


@pytest.fixture
def plan(recipe: dict[str, Any], planned: MakePlan) -> Plan:
    recipe["evaluate"]["best_of_n"]["tasks"] = ["sums"]
    recipe["evaluate"]["pair_accuracy"] = None
    return planned(recipe)


def test_tokens_rest_on_the_best_basis_there_is(plan: Plan, store: Store, finish: Finish) -> None:
    pretrain, trunk = only(plan, "pretrain"), only(plan, "trunk_state")
    groups = {pretrain.fingerprint: 32, trunk.fingerprint: 128}  # 160 pairs: the last fifth is the decay
    for stage in (pretrain, trunk):
        cost = cost_of(plan, store, stage)
        assert (cost.tokens, cost.basis) == (groups[stage.fingerprint] * 3 * CODE_TOKENS, "assumed")
    finish(only(plan, "pairs", "pairs train"), result={"groups": 200, "characters": 200 * 90})
    for stage in (pretrain, trunk):
        cost = cost_of(plan, store, stage)
        assert cost.basis == "from characters"
        assert cost.tokens == pytest.approx(groups[stage.fingerprint] * 90 / ASSUMED_CHARACTERS_PER_TOKEN)
    finish(only(plan, "encode", "pairs train"), result={"groups": 160, "tokens": 160 * 47})
    for stage in (pretrain, trunk):
        cost = cost_of(plan, store, stage)
        assert (cost.tokens, cost.basis) == (groups[stage.fingerprint] * 47, "measured")


def test_tokens_of_scoring_are_those_of_all_groups(plan: Plan, store: Store, finish: Finish) -> None:
    score = only(plan, "score", "sums candidates")
    assert cost_of(plan, store, score).tokens == 12 * (8 + 1) * TASK_TOKENS
    finish(only(plan, "encode", "candidates sums"), result={"groups": 11, "tokens": 5_000})
    assert cost_of(plan, store, score).tokens == pytest.approx(5_000)
    assert cost_of(plan, store, score).basis == "assumed"  # how many problems have right and wrong candidates
    finish(score, result={"groups": 6, "responses": 11 * 8 // 2})
    assert cost_of(plan, store, score).tokens == pytest.approx(2_500)
    assert cost_of(plan, store, score).basis == "measured"
    heldout = only(plan, "score", "held-out code")
    assert cost_of(plan, store, heldout).tokens == 40 * 3 * CODE_TOKENS


def test_the_least_certain_basis_is_told(plan: Plan, store: Store, finish: Finish) -> None:
    finetune = only(plan, "finetune")
    one, other = (only(plan, "encode", f"preferences {name} finetune") for name in ("sums", "logic"))
    finish(one, result={"groups": 32, "tokens": 3_200})
    cost = cost_of(plan, store, finetune)
    assert cost.basis == "assumed"
    assert cost.tokens == pytest.approx(48 * (100 + 3 * TASK_TOKENS) / 2)
    finish(other, result={"groups": 32, "tokens": 6_400})
    cost = cost_of(plan, store, finetune)
    assert (cost.tokens, cost.basis) == (48 * 150, "measured")


def test_flops_follow_weights_tokens_and_losses(plan: Plan, store: Store, recipe: dict[str, Any]) -> None:
    layers, vocabulary = parameters(recipe["model"])
    for kind, label in (("pretrain", ""), ("trunk_state", "")):  # both losses
        cost = cost_of(plan, store, only(plan, kind, label))
        assert cost.flops == pytest.approx(6 * (layers * cost.tokens + vocabulary * cost.tokens / 3))
    finetune = cost_of(plan, store, only(plan, "finetune"))  # rewards alone
    assert finetune.flops is not None
    assert finetune.flops == pytest.approx(6 * layers * finetune.tokens)
    base = cost_of(plan, store, only(plan, "base"))  # language alone, on every token
    assert base.flops == pytest.approx(6 * (layers + vocabulary) * base.tokens)
    score = cost_of(plan, store, only(plan, "score", "sums candidates"))  # forward alone
    assert score.flops == pytest.approx(2 * layers * score.tokens)


def test_language_models_read_no_rejected_side(
    recipe: dict[str, Any], planned: MakePlan, store: Store, finish: Finish
) -> None:
    recipe["ablations"] = {"axes": {"pretrain.loss.rm": [1.0, 0.0]}}
    plan = planned(recipe)
    both, alone = (stage for stage in plan.stages if stage.kind.name == "pretrain")
    result = {"groups": 160, "tokens": 160 * 100, "prompt_tokens": 160 * 20, "response_tokens": 160 * 80}
    finish(only(plan, "encode", "pairs train"), result=result)
    layers, vocabulary = parameters(recipe["model"])
    for stage, read in ((both, 100), (alone, 60)):
        cost = cost_of(plan, store, stage)
        assert cost.tokens == 32 * read
        assert cost.flops == pytest.approx(6 * 32 * (layers * read + vocabulary * 40))


def test_stages_without_a_model_cost_no_flops(plan: Plan, store: Store) -> None:
    for cost in estimate(plan.stages, plan.stages, store, 2).costs:
        assert cost.flops is not None
        assert (cost.flops > 0) == (cost.tokens > 0) == cost.stage.kind.accelerated
        assert cost.seconds > 0
        assert math.isfinite(cost.seconds)


def test_speed_is_measured_where_something_ran(plan: Plan, store: Store, finish: Finish) -> None:
    base, finetune = only(plan, "base"), only(plan, "finetune")
    before = estimate([finetune], plan.stages, store, 1)
    assert before.speed_basis == "assumed"
    assert before.seconds == pytest.approx(before.flops / ASSUMED_FLOPS_PER_SECOND)
    flops = cost_of(plan, store, base).flops
    assert flops
    finish(base, seconds=20.0)
    after = estimate([finetune], plan.stages, store, 1)
    assert after.speed_basis == "measured"
    assert after.seconds == pytest.approx(after.flops / (flops / 20.0))
    assert after.flops == before.flops


def test_times_of_other_kinds_are_means_of_what_ran(plan: Plan, store: Store, finish: Finish) -> None:
    parts = [stage for stage in plan.stages if stage.kind.name == "pairs_part"]
    for stage, seconds in zip(parts, (2.0, 6.0), strict=False):
        finish(stage, seconds=seconds)
    left = estimate(parts[2:], plan.stages, store, 1)
    assert len(parts) > 2
    assert left.seconds == pytest.approx(4.0 * len(parts[2:]))
    assert left.speed_basis == "measured"


def test_an_estimate_adds_up(plan: Plan, store: Store) -> None:
    whole = estimate(plan.stages, plan.stages, store, 1)
    assert whole.seconds == pytest.approx(sum(cost.seconds for cost in whole.costs))
    assert whole.tokens == pytest.approx(sum(cost_of(plan, store, stage).tokens for stage in plan.stages))
    assert whole.flops == pytest.approx(sum(cost_of(plan, store, stage).flops or 0.0 for stage in plan.stages))
    assert estimate([], plan.stages, store, 4) == Estimate(costs=(), seconds=0.0, speed_basis="assumed")


def test_pair_counts_share_their_trunk(recipe: dict[str, Any], planned: MakePlan, store: Store) -> None:
    """(1 - d) n_max + d sum(n) pairs are trained in all, not sum(n)."""
    counts = [80, 160, 400, 800]
    recipe["ablations"] = {"axes": {"pairs.count": counts}}
    plan = planned(recipe)
    stages = [stage for stage in plan.stages if stage.kind.name in ("trunk_state", "pretrain")]
    tokens = estimate(stages, plan.stages, store, 1).tokens
    assert tokens / (3 * CODE_TOKENS) == pytest.approx(0.8 * max(counts) + 0.2 * sum(counts))
    block = plan.loaded.recipe.pretrain
    assert block is not None
    assert [steps_of(block, count).pairs for count in counts] == counts


# ------------------------------------------------------------------------------------------------- wall time


def chain(graph: Graph, name: str, seconds: float, *needs: Stage) -> StageCost:
    stage = any_stage(graph, "corpus", {"name": name}, {f"input-{index}": need for index, need in enumerate(needs)})
    return StageCost(stage=stage, tokens=0.0, flops=0.0, seconds=seconds, basis="assumed")


def test_makespan_of_a_diamond() -> None:
    graph = Graph()
    top = chain(graph, "top", 3.0)
    left, right = chain(graph, "left", 2.0, top.stage), chain(graph, "right", 4.0, top.stage)
    bottom = chain(graph, "bottom", 1.0, left.stage, right.stage)
    costs = [top, left, right, bottom]
    assert makespan(costs, 1) == 10.0
    assert makespan(costs, 2) == makespan(costs, 9) == 8.0
    assert makespan(costs[1:], 2) == 5.0  # what is done is no wait


def test_makespan_waits_for_earlier_trunk_states() -> None:
    graph = Graph()
    first, second = chain(graph, "first", 3.0), chain(graph, "second", 2.0)
    assert makespan([first, second], 2) == 3.0
    second.stage.after.append(first.stage)
    assert makespan([first, second], 2) == 5.0


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=12), st.integers(1, 6))
def test_makespan_bounds_of_independent_stages(seconds: Sequence[float], slots: int) -> None:
    graph = Graph()
    costs = [chain(graph, str(index), each) for index, each in enumerate(seconds)]
    span = makespan(costs, slots)
    least = max(sum(seconds) / slots, max(seconds))
    assert least <= span * (1 + 1e-9)
    assert span <= sum(seconds) / slots + max(seconds) + 1e-9  # Graham's bound for list scheduling

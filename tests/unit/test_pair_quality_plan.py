"""Looking at pairs: once a pair set, without any change to what is trained, and in its way only if asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.pipeline.graph import Stage
from harness.plan.plan import Plan

MakePlan = Callable[..., Plan]
STOP = {"pairs.quality.on_fail": "stop"}


def of(plan: Plan, kind: str) -> list[Stage]:
    return [stage for stage in plan.stages if stage.kind.name == kind]


def with_quality(recipe: dict[str, Any], **quality: Any) -> dict[str, Any]:
    pairs = recipe["pairs"]
    return {**recipe, "pairs": {**pairs, "quality": {**pairs["quality"], **quality}}}


def trained(plan: Plan) -> dict[str, str]:
    kinds = ("trunk_state", "pretrain", "finetune", "score", "encode", "pairs")
    return {stage.fingerprint: stage.label for stage in plan.stages if stage.kind.name in kinds}


def test_settings_with_equal_pairs_share_one_look(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["seeds"] = {"pretrain": 2, "finetune": 2}
    recipe["ablations"] = {
        "axes": {
            "arm": {"a": {}, "b": {"pretrain.learning_rate": 0.01}, "no-pmp": {"pretrain": None}},
            "pairs.count": [80, 160],
        }
    }
    plan = planned(recipe)
    [quality] = of(plan, "pair_quality")
    [train] = [stage for stage in of(plan, "pairs") if stage.label == "pairs train"]
    assert quality.inputs["pairs"].stage is train
    assert quality in plan.targets
    assert not of(plan, "pair_gate")
    recipe["ablations"]["axes"]["pairs.rejected.kinds"] = [["arithmetic"], ["boolean"]]
    assert len(of(planned(recipe), "pair_quality")) == 2


def test_without_pmp_nothing_is_looked_at(recipe: dict[str, Any], planned: MakePlan) -> None:
    plan = planned({**recipe, "pretrain": None})
    assert not of(plan, "pair_quality")


def test_looking_changes_no_training(recipe: dict[str, Any], planned: MakePlan) -> None:
    before = trained(planned(recipe))
    for quality in ({"on_fail": "stop"}, {"min_consistency": 0.9}, {"most_pairs": 300}):
        assert trained(planned(with_quality(recipe, **quality))) == before
    assert all(
        item.stage.kind.name not in ("pair_quality", "pair_gate")
        for stage in planned(with_quality(recipe, on_fail="stop")).stages
        if stage.kind.name != "pair_gate"
        for item in stage.inputs.values()
    )


def test_what_is_asked_is_identity_and_what_follows_is_not(recipe: dict[str, Any], planned: MakePlan) -> None:
    [warns] = of(planned(recipe), "pair_quality")
    [stops] = of(planned(with_quality(recipe, on_fail="stop")), "pair_quality")
    assert warns.fingerprint == stops.fingerprint
    for quality in ({"min_consistency": 0.9}, {"most_pairs": 300}):
        [other] = of(planned(with_quality(recipe, **quality)), "pair_quality")
        assert other.fingerprint != warns.fingerprint


def test_the_gate_holds_back_what_trains_on_pairs_and_nothing_else(recipe: dict[str, Any], planned: MakePlan) -> None:
    plan = planned(with_quality(recipe, on_fail="stop"))
    [gate] = of(plan, "pair_gate")
    assert gate in plan.targets
    held = [stage for stage in plan.stages if gate in stage.gates]
    assert {stage.kind.name for stage in held} == {"trunk_state", "pretrain"}
    place = {stage: at for at, stage in enumerate(plan.stages)}
    assert all(place[gate] < place[stage] for stage in held)


def test_a_setting_that_stops_holds_back_what_it_shares(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["ablations"] = {"axes": {"arm": {"warns": {}, "stops": STOP}}}
    plan = planned(recipe)
    assert [setting.names for setting in plan.settings] == [("warns", "stops")]  # they train the same
    [gate] = of(plan, "pair_gate")
    assert all(stage.gates == [gate] for stage in of(plan, "pretrain"))

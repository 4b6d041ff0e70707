"""Constructions, judges and properties of pairs, as a recipe says them and as the plan makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.pipeline.graph import Stage
from harness.pipeline.imports import AssetSpec, Import
from harness.pipeline.order import OrderSpec
from harness.plan.plan import Plan, make_plan
from harness.recipe.pairs import CONSTRUCTIONS
from tests.toys.small_models import save_small_model

MakePlan = Callable[..., Plan]
IMPORTS = {
    ("checkpoint", "rm"): Import(
        what="checkpoint",
        name="rm",
        spec=AssetSpec(digest="0" * 64),
        fingerprint="1" * 64,
        result={"chat": False, "name": "rm"},
    )
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"source": "folder", "path": str(save_small_model(tmp_path_factory.mktemp("models") / "small"))}


@pytest.fixture
def named(recipe: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """A recipe whose pairs are one of the named constructions between a strong and a weak writer."""
    writer = {"model": model, "engine": "transformers", "precision": "fp32"}
    recipe["pairs"] |= {"strong": {**writer, "temperature": 0.2}, "weak": {**writer, "temperature": 1.2}}
    recipe["pairs"] |= {"construction": "strong-weak", "clip": 0.25, "chosen": None, "rejected": None}
    return recipe


def of(plan: Plan, kind: str, label: str = "") -> list[Stage]:
    return [stage for stage in plan.stages if stage.kind.name == kind and label in stage.label]


def refused(planned: MakePlan, recipe: dict[str, Any]) -> str:
    with pytest.raises(HarnessError) as caught:
        planned(recipe)
    return str(caught.value)


def explicit(recipe: dict[str, Any], chosen: dict[str, Any], rejected: dict[str, Any]) -> dict[str, Any]:
    pairs = {
        key: value for key, value in recipe["pairs"].items() if key not in ("construction", "strong", "weak", "clip")
    }
    return {**recipe, "pairs": {**pairs, "chosen": chosen, "rejected": rejected}}


def test_the_six_constructions_are_one_field(named: dict[str, Any], planned: MakePlan) -> None:
    """Each is what its two sides say, and all of them are one axis over shared writings."""
    named["evaluate"]["code_pairs"] = None
    strong, weak = ({"from": "model", **named["pairs"][who]} for who in ("strong", "weak"))
    sides = {
        "reference-weak": ({"from": "reference"}, weak),
        "reference-strong": ({"from": "reference"}, strong),
        "reference-weak-clipped": ({"from": "reference"}, {**weak, "description_share": 0.25}),
        "strong-weak": (strong, weak),
        "weak-weak-clipped": (weak, {**weak, "description_share": 0.25}),
        "strong-weak-clipped": (strong, {**weak, "description_share": 0.25}),
    }
    assert sides.keys() == CONSTRUCTIONS.keys()
    for name, (chosen, rejected) in sides.items():
        named["pairs"]["construction"] = name
        by_name = {stage.fingerprint for stage in planned(named).stages}
        assert by_name == {stage.fingerprint for stage in planned(explicit(named, chosen, rejected)).stages}, name
    named["ablations"] = {"axes": {"pairs.construction": list(CONSTRUCTIONS)}}
    plan = planned(named)
    assert len(plan.settings) == 6
    looked_in = {stage.inputs["written"].stage for stage in of(plan, "overlap")}  # problems, in what was written
    assert looked_in == set(of(plan, "pairs", "train"))
    [train] = {len(stage.inputs) for stage in of(plan, "pairs", "train")}
    assert len(of(plan, "writings_part")) == 3 * train  # strong, weak, weak on a clipped description


def test_a_construction_needs_its_writers_and_takes_the_sides_place(named: dict[str, Any], planned: MakePlan) -> None:
    pairs = named["pairs"]
    assert "needs `strong`, but it is missing" in refused(planned, {**named, "pairs": {**pairs, "strong": None}})
    told = refused(planned, {**named, "pairs": {**pairs, "chosen": {"from": "reference"}}})
    assert "`construction` replaces `chosen` and `rejected`" in told
    assert "`pairs.construction`" in refused(planned, {**named, "pairs": {**pairs, "construction": "weak-strong"}})
    planned({**named, "pairs": {**pairs, "construction": "reference-weak", "strong": None}})


def test_writers_of_one_model_share_its_worker(named: dict[str, Any], planned: MakePlan) -> None:
    plan = planned(named)
    assert len({stage.affinity for stage in of(plan, "writings_part")}) == 1
    named["pairs"]["weak"]["format"] = "raw"
    assert len({stage.affinity for stage in of(planned(named), "writings_part")}) == 2


def test_flips_and_the_filter_leave_held_out_pairs_alone(recipe: dict[str, Any], planned: MakePlan) -> None:
    def heldout(plan: Plan) -> set[str]:
        return {stage.fingerprint for stage in plan.stages if stage.label.startswith("pairs heldout")}

    before = planned(recipe)
    recipe["pairs"] |= {"flip_rate": 0.25, "filter": {"min_agreement": 0.75}}
    after = planned(recipe)
    assert heldout(before) == heldout(after)
    parts = of(before, "pairs_part", "train")
    assert len(of(after, "consistent_part")) == len(parts)
    assert not {stage.fingerprint for stage in parts} & {stage.fingerprint for stage in after.stages}
    [train] = of(after, "pairs", "train")
    assert {item.stage.kind.name for item in train.inputs.values()} == {"consistent_part"}


def test_model_judges_look_at_a_sample_and_a_filter_asks_about_every_pair(
    recipe: dict[str, Any], planned: MakePlan, model: dict[str, Any]
) -> None:
    recipe["pairs"]["judges"] = {"small": {"model": model, "engine": "transformers", "precision": "fp32"}}
    recipe["pairs"]["quality"] = {}
    plan = planned(recipe)
    [quality] = of(plan, "pair_quality")
    [judged] = of(plan, "judgements")
    assert quality.spec.static
    assert quality.inputs["judgements-small"].stage is judged
    assert judged.spec.most_pairs == 2_000
    assert judged.inputs["pairs"].stage is quality.inputs["pairs"].stage
    recipe["pairs"]["quality"] = {"judges": ["static"]}
    assert not of(planned(recipe), "judgements")
    recipe["pairs"]["filter"] = {"judges": ["small"]}
    plan = planned(recipe)
    parts = of(plan, "consistent_part")
    assert [stage.identity["spec"]["most_pairs"] for stage in of(plan, "judgements")] == [None] * len(parts)
    assert {part.identity["spec"]["static"] for part in parts} == {False}
    recipe["pairs"]["filter"] = {"judges": ["smal"]}
    assert "`filter.judges` must name judges, but 'smal' is not one of static, small" in refused(planned, recipe)
    recipe["pairs"] |= {"filter": None, "judges": {"static": recipe["pairs"]["judges"]["small"]}}
    assert "must not be called `static`" in refused(planned, recipe)


def test_pairs_are_read_in_order_of_difficulty(recipe: dict[str, Any], load: Any) -> None:
    """By the margin of an imported reward model, in the pair stream's own tokens; each count sorts its own pairs."""
    recipe["pairs"]["order"] = {"checkpoint": "rm", "first": "hardest"}
    recipe["ablations"] = {"axes": {"pairs.count": [80, 160]}}
    plan = make_plan(load(recipe), IMPORTS)
    trained = of(plan, "pretrain")
    assert [stage.identity["spec"]["order"]["first"] for stage in trained] == ["hardest"] * 2
    assert sorted(stage.identity["spec"]["order"]["rows"] for stage in trained) == [80, 160]
    assert len(of(plan, "trunk_state")) == 2
    scores = {stage.inputs["scores"].stage for stage in (*trained, *of(plan, "trunk_state"))}
    assert len(scores) == 1
    assert next(iter(scores)).inputs["checkpoint"].stage.kind.name == "imported_checkpoint"


def test_ends_share_everything_but_the_tokens(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["ablations"] = {"axes": {"pairs.end_token": ["none", "eos", "end_of_code"]}}
    plan = planned(recipe)
    assert len(of(plan, "pairs", "train")) == 1
    assert len(of(plan, "base")) == 1
    assert len(of(plan, "encode", "pairs train")) == 3
    assert len(of(plan, "encode", "pairs heldout")) == 3


def test_a_reference_has_no_drafts(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["pairs"] |= {"chosen": {"from": "mutation"}, "rejected": {"from": "reference"}, "match_length": {}}
    assert "`match_length` needs a rejected side with several drafts" in refused(planned, recipe)
    recipe["pairs"] |= {"rejected": {"from": "mutation", "edits": [2, 2]}, "train_rejected": {"from": "reference"}}
    assert "`match_length` needs a rejected side with several drafts" in refused(planned, recipe)


def test_a_missing_writer_is_said_whatever_else_is_asked(named: dict[str, Any], planned: MakePlan) -> None:
    named["pairs"] |= {"match_length": {}, "weak": None}
    assert "`construction: strong-weak` needs `weak`, but it is missing" in refused(planned, named)


def test_other_rejected_sides_are_trained_on_than_judge(
    recipe: dict[str, Any], model: dict[str, Any], planned: MakePlan
) -> None:
    """What was trained on the same pairs is the same model, whatever it is judged on."""
    written = {"from": "model", "model": model, "engine": "transformers", "precision": "fp32"}
    recipe["evaluate"]["code_pairs"] = {"count": 16}
    recipe["ablations"] = {
        "axes": {
            "trained": {"mutants": {"pairs.train_rejected": {"from": "mutation"}}, "written": {}},
            "judged": {"mutants": {"pairs.rejected": {"from": "mutation"}}, "written": {"pairs.rejected": written}},
        }
    }
    recipe["ablations"]["axes"]["trained"]["written"] = {"pairs.train_rejected": written}
    plan = planned(recipe)
    trained = {(one.values["trained"], one.values["judged"]): one.variants[0].pretrained for one in plan.settings}
    for side in ("mutants", "written"):
        assert trained[side, "mutants"] is trained[side, "written"]
    assert trained["mutants", "mutants"] is not trained["written", "mutants"]
    splits = sorted(stage.spec.split for stage in of(plan, "writings_part"))
    assert splits[0] == "heldout"
    assert splits[-1] == "train"


def test_training_needs_two_sides(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["pairs"]["train_rejected"] = {"from": "reference"}
    assert "`train_rejected` must differ from the chosen side" in refused(planned, recipe)
    recipe["pairs"]["train_rejected"] = {"from": "chosen"}
    assert "must be `reference`, `mutation`, `model`, `shuffled` or" in refused(planned, recipe)


def test_epochs_read_the_same_pairs_more_often(recipe: dict[str, Any], planned: MakePlan) -> None:
    """1 epoch over many pairs and several over few take as many steps; only the former share a trunk."""
    recipe["pretrain"]["schedule"]["allow_decay_inside_warmup"] = True
    arms = {
        "many": {"pairs.count": 320},
        "few": {"pairs.count": 80, "pretrain.epochs": 4},
        "fewest": {"pairs.count": 80},
    }
    recipe["ablations"] = {"axes": {"arm": arms}}
    recipe["seeds"] = {"pretrain": 1, "finetune": 1}
    plan = planned(recipe)
    by_name = {setting.name: setting.variants[0].pretrained for setting in plan.settings}
    many, few, fewest = (by_name[name] for name in ("many", "few", "fewest"))
    assert many is not None
    assert few is not None
    assert fewest is not None
    assert many.spec.stop_step == few.spec.stop_step == 4 * fewest.spec.stop_step
    assert few.inputs["tokens"].rows == fewest.inputs["tokens"].rows == 80
    assert few.spec.order == OrderSpec(seed=0, rows=80, epochs=4)
    assert few.inputs["trunk"].stage is not many.inputs["trunk"].stage

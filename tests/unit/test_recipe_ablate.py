"""From axes to settings: which combinations there are, what they are called, what overrides what."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecipeError
from harness.plan.plan import Plan
from harness.recipe.ablate import MOST_SETTINGS, Override, Point, apply, axes_of, merge, points
from harness.recipe.ablations import Ablations
from harness.recipe.axes import number_of, short
from harness.recipe.load import LoadedRecipe

Load = Callable[..., LoadedRecipe]
LOSSES = {"both": {}, "rm": {"pretrain.loss": {"lm": 0.0}}, "lm": {"pretrain.loss": {"rm": 0.0}}}


def points_of(**ablations: Any) -> list[Point]:
    return points(Ablations.model_validate(ablations))


def names_of(**ablations: Any) -> list[str]:
    return [point.name for point in points_of(**ablations)]


def made(point: Point, data: dict[str, Any]) -> dict[str, Any]:
    for override in point.overrides:
        data = apply(data, override)
    return data


# ------------------------------------------------------------------------------------------------------- modes


def test_no_axes_is_one_setting() -> None:
    assert points_of() == [Point(name="base", values={}, overrides=())]


def test_grid_is_the_product_in_order_of_axes() -> None:
    found = points_of(axes={"loss": LOSSES, "pairs.count": [10, 20]})
    assert [point.name for point in found] == [
        "both, count=10", "both, count=20", "rm, count=10", "rm, count=20", "lm, count=10", "lm, count=20",
    ]  # fmt: skip
    assert found[3].values == {"loss": "rm", "pairs.count": "count=20"}
    assert [(override.path, override.value) for override in found[3].overrides] == [
        ("pretrain.loss", {"lm": 0.0}),
        ("pairs.count", 20),
    ]
    assert found[3].overrides[0].origin == ("ablations", "axes", "loss", "rm")
    assert found[3].overrides[1].origin == ("ablations", "axes", "pairs.count", "1")


def test_counts_a_factor_apart() -> None:
    """The paper's curve: checkpoints a factor 2^(1/4) apart; the last is reached where it is a whole power away."""
    spaced = {"first": 100_000, "last": 1_600_000, "factor": 2**0.25}
    [*counts] = [point.overrides[0].value for point in points_of(axes={"pairs.count": spaced})]
    assert len(counts) == 17
    assert counts[::4] == [100_000, 200_000, 400_000, 800_000, 1_600_000]
    assert all(abs(more / fewer / 2**0.25 - 1) < 1e-4 for fewer, more in itertools.pairwise(counts))
    assert names_of(axes={"pairs.count": {"first": 1, "last": 5, "factor": 1.3}}) == [
        f"count={count}" for count in (1, 2, 3, 4, 5)
    ]  # small ones round together
    assert names_of(axes={"pairs.count": {"first": 10, "last": 25, "factor": 2.0}}) == ["count=10", "count=20"]
    with pytest.raises(ValueError, match="must not be below"):
        Ablations.model_validate({"axes": {"pairs.count": {"first": 10, "last": 5, "factor": 2.0}}})


def test_zip_goes_through_axes_together() -> None:
    axes = {"loss": LOSSES, "pairs.count": [10, 20, 30], "finetune.head": ["carry", "reinit", "linear_probe"]}
    assert names_of(mode="zip", axes=axes) == [
        "both, count=10, head=carry", "rm, count=20, head=reinit", "lm, count=30, head=linear_probe"
    ]  # fmt: skip
    with pytest.raises(RecipeError, match=r"equally long, but loss: 3, pairs.count: 2"):
        names_of(mode="zip", axes={"loss": LOSSES, "pairs.count": [10, 20]})


def test_one_at_a_time_changes_one_axis_of_the_first_values() -> None:
    axes = {"loss": LOSSES, "pairs.count": [10, 20], "pairs.spare": [0.1, 0.2]}
    assert names_of(mode="one_at_a_time", axes=axes) == [
        "both, count=10, spare=0.1",
        "rm, count=10, spare=0.1", "lm, count=10, spare=0.1",
        "both, count=20, spare=0.1",
        "both, count=10, spare=0.2",
    ]  # fmt: skip


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_numbers_of_settings(sizes: list[int]) -> None:
    axes: dict[str, Any] = {
        f"axis{index}": {f"v{index}-{value}": {} for value in range(size)} for index, size in enumerate(sizes)
    }
    grid, single = names_of(axes=axes), names_of(mode="one_at_a_time", axes=axes)
    product = 1
    for size in sizes:
        product *= size
    assert len(grid) == len(set(grid)) == product
    assert len(single) == 1 + sum(size - 1 for size in sizes)
    assert set(single) <= set(grid)


# ----------------------------------------------------------------------------------------- include and exclude


def test_inclusions_stand_beside_the_axes() -> None:
    include = [
        {"name": "no-pmp", "set": {"pretrain": None}},
        {"name": "big", "set": {"pairs.count": 99, "pairs.spare": 1.0}},
    ]
    found = points_of(axes={"pairs.count": [10, 20]}, include=include)
    assert [point.name for point in found] == ["count=10", "count=20", "no-pmp", "big"]
    assert found[3].values == {}
    assert [(override.path, override.value) for override in found[3].overrides] == [
        ("pairs.count", 99),
        ("pairs.spare", 1.0),
    ]
    assert {override.origin for override in found[3].overrides} == {("ablations", "include", "1")}
    assert names_of(include=include) == ["base", "no-pmp", "big"]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ([{"loss": "rm"}], ["both, count=10", "both, count=20", "lm, count=10", "lm, count=20"]),
        (
            [{"loss": "rm", "pairs.count": 20}],
            ["both, count=10", "both, count=20", "rm, count=10", "lm, count=10", "lm, count=20"],
        ),
        ([{"loss": "rm"}, {"pairs.count": "count=10"}], ["both, count=20", "lm, count=20"]),
        ([{"pairs.count": 10}], ["both, count=20", "rm, count=20", "lm, count=20"]),
    ],
)  # fmt: skip
def test_exclusions(exclude: list[dict[str, Any]], left: list[str]) -> None:
    assert names_of(axes={"loss": LOSSES, "pairs.count": [10, 20]}, exclude=exclude) == left


@pytest.mark.parametrize(
    ("ablations", "told"),
    [
        (
            {"axes": {"loss": LOSSES}, "exclude": [{"los": "rm"}]},
            "`exclude` must name axes, but 'los' is not one of loss",
        ),
        ({"axes": {"loss": LOSSES}, "exclude": [{"loss": "mr"}]}, "'mr' is not one of both, rm, lm"),
        ({"axes": {"loss": LOSSES}, "exclude": [{"loss": name} for name in LOSSES]}, "`exclude` leaves none"),
        ({"exclude": [{"loss": "rm"}]}, "is not one of no axes"),
        ({"axes": {"loss": {}}}, "axis `loss` must have values"),
        ({"axes": {"pairs.count": []}}, "axis `pairs.count` must have values"),
        ({"axes": {"pairs.count": [1, 2, 1]}}, "it repeats count=1"),
        ({"axes": {"loss": LOSSES}, "include": [{"name": "rm", "set": {}}]}, "'rm' occurs twice"),
        ({"include": [{"name": "base", "set": {}}]}, "'base' occurs twice"),
        ({"axes": {"pairs.count": list(range(MOST_SETTINGS + 1))}}, "a recipe may ask for 100,000 settings"),
        ({"axes": {f"axis{n}": list(range(100)) for n in range(8)}}, "a recipe may ask for 100,000 settings"),
    ],
)
def test_what_makes_no_sense_is_told(ablations: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        points_of(**ablations)


# -------------------------------------------------------------------------------------------------- as results show


def test_axes_are_numbers_where_one_field_is_set_to_numbers() -> None:
    weights = {"little": {"pretrain.loss": {"lm": 0.1}}, "much": {"pretrain": {"loss": {"lm": 1.0}}}}
    axes = {
        "loss": LOSSES, "weight": weights, "pairs.count": [320, 25_600_000], "head": {"a": {"x": 1}, "b": {"y": 2}},
        "finetune.count": [8, 16], "max": [None, 512], "packed": [True, False],
    }  # fmt: skip
    found = {axis.name: axis for axis in axes_of(Ablations.model_validate({"axes": axes}))}
    assert list(found) == list(axes)
    assert {name: (one.kind, one.scale) for name, one in found.items() if one.kind == "numeric"} == {
        "weight": ("numeric", "linear"), "pairs.count": ("numeric", "log"), "finetune.count": ("numeric", "linear")
    }  # fmt: skip
    assert [one.label for one in found.values()][2:5] == ["pairs.count", "head", "finetune.count"]  # two end in count
    assert [(one.name, one.label, one.number) for one in found["pairs.count"].values] == [
        ("count=320", "320", 320), ("count=25.6M", "25.6M", 25_600_000)
    ]  # fmt: skip
    assert found["weight"].plain({"weight": "little"}) == 0.1
    assert found["loss"].plain({"loss": "rm"}) == "rm"
    assert found["loss"].plain({}) is None


@pytest.mark.parametrize("written", [25_600_000, "25.6M", "25600000", "count=25.6M", "count=25600000", 2.56e7])
def test_a_value_is_named_in_any_form(written: Any) -> None:
    assert names_of(axes={"pairs.count": [25_600_000, 320]}, exclude=[{"pairs.count": written}]) == ["count=320"]


@given(st.integers(-(10**39), 10**39) | st.floats(allow_nan=False, allow_infinity=False))
def test_short_numbers_are_exact(number: float) -> None:
    assert number_of(short(number)) == number


# -------------------------------------------------------------------------------------------------- overriding


def test_mappings_merge_and_everything_else_replaces() -> None:
    old = {"a": 1, "b": {"c": 2, "d": [1, 2]}, "e": {"f": 1}}
    assert merge(old, {"b": {"c": 3, "d": [9]}, "e": None, "g": {"h": 1}}) == {
        "a": 1, "b": {"c": 3, "d": [9]}, "e": None, "g": {"h": 1}
    }  # fmt: skip
    assert merge(3, {"a": 1}) == {"a": 1}
    assert merge({"a": 1}, 3) == 3


@pytest.mark.parametrize("key", ["kind", "from", "source", "engine"])
def test_another_variant_replaces_its_block(key: str) -> None:
    assert merge({key: "one", "x": 1}, {key: "other", "y": 2}) == {key: "other", "y": 2}
    assert merge({key: "one", "x": 1}, {key: "one", "y": 2}) == {key: "one", "x": 1, "y": 2}
    assert merge({key: "one", "x": 1}, {"y": 2}) == {key: "one", "x": 1, "y": 2}
    assert merge({"b": {key: "one", "x": 1}, "c": 1}, {"b": {key: "two"}}) == {"b": {key: "two"}, "c": 1}


def test_a_writer_that_another_engine_runs_stays_the_same_writer() -> None:
    assert merge({"engine": "vllm", "x": 1}, {"engine": "transformers"}) == {"engine": "transformers", "x": 1}
    assert merge({"engine": "vllm", "x": 1}, {"engine": "simulated"}) == {"engine": "simulated"}


tree = st.recursive(
    st.integers() | st.none() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)


@given(tree, tree)
def test_merging_twice_is_merging_once(old: Any, new: Any) -> None:
    before = copy.deepcopy((old, new))
    once = merge(old, new)
    assert merge(once, new) == once
    assert merge({}, old) == old
    assert (old, new) == before


@given(st.dictionaries(st.sampled_from("abcd"), tree), st.lists(st.sampled_from("abcd"), min_size=1, max_size=3), tree)
def test_applying_changes_the_path_and_nothing_else(data: dict[str, Any], keys: list[str], value: Any) -> None:
    before = copy.deepcopy(data)
    override = Override(path=".".join(keys), value=value, origin=())
    blocked = any(
        not isinstance(at(data, keys[:depth]), dict) for depth in range(1, len(keys)) if has(data, keys[:depth])
    )
    if blocked:
        with pytest.raises(RecipeError, match="must lead through blocks"):
            apply(data, override)
    else:
        result = apply(data, override)
        assert at(result, keys) == merge(at(data, keys) if has(data, keys) else None, value)
        assert {key: item for key, item in result.items() if key != keys[0]} == {
            key: item for key, item in data.items() if key != keys[0]
        }
    assert data == before


def has(data: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True


def at(data: Any, keys: list[str]) -> Any:
    for key in keys:
        data = data[key]
    return data


def test_later_overrides_go_on_from_earlier_ones() -> None:
    [point] = points_of(axes={"a": {"x": {"p": {"kind": "one", "v": 1}}}, "b": {"y": {"p.v": 2, "p.w": 3}}})
    assert made(point, {"p": {"kind": "zero", "u": 0}}) == {"p": {"kind": "one", "v": 2, "w": 3}}


# ----------------------------------------------------------------------------------------------- seeds and names


@pytest.mark.parametrize(("pretrain", "finetune"), [(1, 1), (3, 1), (1, 4), (2, 3)])
def test_seeds_nest(recipe: dict[str, Any], planned: Callable[..., Plan], pretrain: int, finetune: int) -> None:
    recipe["seeds"] = {"pretrain": pretrain, "finetune": finetune}
    recipe["ablations"] = {"axes": {"arm": {"pmp": {}, "no-pmp": {"pretrain": None}}}}
    with_pmp, without = planned(recipe).settings
    found = [(variant.pretrain_seed, variant.finetune_seed) for variant in with_pmp.variants]
    assert found == list(itertools.product(range(pretrain), range(finetune)))
    assert [(variant.pretrain_seed, variant.finetune_seed) for variant in without.variants] == [
        (None, seed) for seed in range(finetune)
    ]
    checkpoints = {variant.pretrained.fingerprint for variant in with_pmp.variants if variant.pretrained}
    assert len(checkpoints) == pretrain
    assert (
        len({variant.finetuned.fingerprint for variant in with_pmp.variants if variant.finetuned})
        == pretrain * finetune
    )


COINCIDING: dict[str, dict[str, Any]] = {
    "the same values": {"axes": {"arm": {"a": {}, "b": {"pretrain.loss.lm": 1.0}, "c": {"pretrain.loss.lm": 0.5}}}},
    "counts that round to the same steps": {"axes": {"pairs.count": [160, 167, 168]}},
    "head of an arm that trained none": {
        "axes": {"pretrain.loss.rm": [0.0], "finetune.head": ["carry", "reinit", "linear_probe"]}
    },
    "margin of a loss without weight": {
        "axes": {"pretrain.loss.rm": [0.0], "pretrain.loss.lm": [1.0, 0.5], "pretrain.loss.margin": [0.0, 1.0]},
        "exclude": [{"pretrain.loss.margin": 1.0, "pretrain.loss.lm": 0.5}],
    },
    "warm-ups that round to the same steps": {"axes": {"pretrain.schedule.warmup_pairs": [16, 15, 17]}},
    "decays that round to the same steps": {"axes": {"pretrain.schedule.decay": [0.2, 0.21, 0.3]}},
    "a permission not needed": {
        "axes": {"pretrain.schedule.allow_decay_inside_warmup": [False, True], "pairs.count": [160, 80]},
        "mode": "one_at_a_time",
    },
}


@pytest.mark.parametrize("ablations", COINCIDING.values(), ids=COINCIDING)
def test_coinciding_settings_are_one_with_several_names(
    recipe: dict[str, Any], planned: Callable[..., Plan], ablations: dict[str, Any]
) -> None:
    recipe["ablations"] = ablations
    plan = planned(recipe)
    asked = [setting.name for setting in plan.loaded.settings]
    assert len(asked) == 3
    assert [setting.names for setting in plan.settings] == [(asked[0], asked[1]), (asked[2],)]
    assert plan.settings[0].name == f"{asked[0]} = {asked[1]}"
    # counted and trained once
    recipe["ablations"] = {
        **ablations,
        "include": [],
        "exclude": [*ablations.get("exclude", []), exclusion(plan, asked[1])],
    }
    assert planned(recipe).asked == plan.asked
    assert {stage.fingerprint for stage in planned(recipe).stages} == {stage.fingerprint for stage in plan.stages}


def exclusion(plan: Plan, name: str) -> dict[str, str]:
    return next(dict(setting.values) for setting in plan.loaded.settings if setting.name == name)


def test_a_head_that_pmp_trained_is_carried(recipe: dict[str, Any], planned: Callable[..., Plan]) -> None:
    recipe["ablations"] = {"axes": {"finetune.head": ["carry", "reinit", "linear_probe"]}}
    assert len(planned(recipe).settings) == 3
    recipe["pretrain"] = None
    assert [setting.names for setting in planned(recipe).settings] == [
        ("head=carry", "head=reinit"),
        ("head=linear_probe",),
    ]

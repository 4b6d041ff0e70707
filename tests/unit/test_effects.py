"""Contrasts and curves of the effects stage, and how the report shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli.workspace import open_workspace
from harness.evaluation.seeds import SeededValues, contrast
from harness.pipeline.comparing import ContrastSpec, CurveSpec, PairSpec
from harness.pipeline.evaluations import headline
from harness.plan.effects import _curves, axis_key, curve_key, interaction_key, parts_of
from harness.recipe.axes import make_axes
from harness.report.axis_figures import axis_figures
from harness.report.effects import effect_tables
from harness.stages.effects import _contrast, _curve
from harness.stages.outcome_tables import Key, Table

TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"
PROBLEMS = tuple(f"p{number}" for number in range(200))
METRIC = headline("pair_accuracy")
SIZES = (10, 20, 40, 80, 160, 320)


def table(mean: float, seed: int, *, seeds: int = 3, data: str = "same") -> Table:
    """Right answers with this probability, and a shift that a PMP seed shares."""
    rng = np.random.default_rng(seed)
    shift = np.random.default_rng(9).normal(0, 0.01, (seeds, 1, 1)) if seeds else np.zeros((1, 1, 1))
    values = (rng.random((max(1, seeds), 1, len(PROBLEMS))) < mean + shift).astype(float)
    row = SeededValues(values=values, seeds=(tuple(range(seeds)), (0,)))
    return Table(data=data, values={METRIC: row}, problems={METRIC: PROBLEMS}, clusters={METRIC: PROBLEMS})


def key(row: str) -> Key:
    return ("logic", "pair_accuracy", "setting", row)


def spec(*pairs: PairSpec, times: int = 1, about: str = "a") -> ContrastSpec:
    return ContrastSpec(key=about, task="logic", evaluation="pair_accuracy", pairs=pairs, times=times)


def pair(more: str, less: str) -> PairSpec:
    return PairSpec(more=(more,), less=(less,))


TABLES = {
    key(name): table(mean, at) for at, (name, mean) in enumerate([("a", 0.8), ("b", 0.7), ("c", 0.6), ("d", 0.4)])
}


def mean(name: str) -> float:
    return float(TABLES[key(name)].mean(METRIC).mean())


def test_a_contrast_is_the_mean_of_paired_differences() -> None:
    found = _contrast(spec(pair("a", "b"), pair("c", "d")), TABLES, {}, seed=0)
    assert [one["estimate"] for one in found["pairs"]] == pytest.approx([mean("a") - mean("b"), mean("c") - mean("d")])
    assert found["mean"]["estimate"] == pytest.approx((mean("a") - mean("b") + mean("c") - mean("d")) / 2)
    assert found["mean"]["low"] < found["mean"]["low_90"] < found["mean"]["high_90"] < found["mean"]["high"]
    assert (found["problems"], found["seeds"], found["lacking"]) == (200, [3, 1], "")
    crossed = _contrast(spec(PairSpec(more=("a", "d"), less=("b", "c")), times=2), TABLES, {}, seed=0)
    assert crossed["mean"]["estimate"] == pytest.approx(mean("a") + mean("d") - mean("b") - mean("c"))


def test_two_settings_are_compared_as_in_the_analysis() -> None:
    alone = {name: TABLES[key(name)] for name in "ab"}
    found = _contrast(spec(pair("a", "b")), {key(name): one for name, one in alone.items()}, {}, seed=0)
    sides = [one.values[METRIC] for one in alone.values()]
    expected = contrast(*sides).interval(np.array(PROBLEMS), seed=0)
    assert (found["mean"]["low"], found["mean"]["high"]) == pytest.approx((expected.low, expected.high))


def test_a_contrast_may_be_of_a_metric_that_is_no_headline() -> None:
    """It is computed and pooled by itself, and missing where a row lacks it."""
    both = {}
    for name in "ab":
        one = TABLES[key(name)]
        balanced = {"source_balanced": replace(one.values[METRIC], values=one.values[METRIC].values / 2)}
        same = {"source_balanced": PROBLEMS, METRIC: PROBLEMS}
        both[key(name)] = replace(one, values={**one.values, **balanced}, problems=same, clusters=same)
    asked = spec(pair("a", "b"))
    of_metric, pools = asked.model_copy(update={"metric": "source_balanced"}), {}
    headline_found, found = (_contrast(one, both, pools, seed=0) for one in (asked, of_metric))
    assert (found["metric"], headline_found["metric"]) == ("source_balanced", METRIC)
    for bound in ("estimate", "low", "high"):
        assert found["mean"][bound] == pytest.approx(headline_found["mean"][bound] / 2)
    assert _contrast(of_metric, TABLES, {}, seed=0)["why"] == "a has no value"


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ({key("a"): TABLES[key("a")]}, "b has no value"),
        ({**TABLES, key("b"): table(0.7, 1, data="other")}, "the settings are judged on different data"),
    ],
)
def test_what_cannot_be_compared_says_why(tables: dict[Key, Table], why: str) -> None:
    assert _contrast(spec(pair("a", "b")), tables, {}, seed=0)["why"] == why


def curves() -> list[dict[str, Any]]:
    tables = {key(f"pmp-{x}"): table(0.55 + 0.05 * at, at) for at, x in enumerate(SIZES)}
    tables |= {key(f"bare-{x}"): table(0.5 + 0.03 * at, 10 + at, seeds=0) for at, x in enumerate(SIZES)}
    lines = {arm: tuple((float(x), f"{arm}-{x}") for x in SIZES) for arm in ("pmp", "bare")}
    return [
        _curve(
            CurveSpec(
                key=curve_key("finetune.samples", arm, "logic", "pair_accuracy"),
                task="logic",
                evaluation="pair_accuracy",
                points=line,
                baseline=lines["bare"] if arm == "pmp" else (),
            ),
            tables,
            seed=0,
        )
        for arm, line in lines.items()
    ]


def test_a_curve_has_its_points_its_law_and_the_samples_it_saves() -> None:
    pmp, bare = json.loads(json.dumps(curves()))
    assert [point["x"] for point in pmp["points"]] == list(SIZES)
    assert pmp["law"]["points_per_doubling"]["low"] > 0 < pmp["law"]["slope"]["estimate"]
    assert [x for x, _ in pmp["line"]] == list(SIZES)
    assert {ratio["share"] for ratio in pmp["efficiency"]["ratios"]} == {0.25, 0.5, 0.75}
    assert bare["efficiency"] is None


def test_samples_that_pmp_saves_are_counted_against_settings_that_differ_in_pmp_alone(tmp_path: Path) -> None:
    text = """extends: {tiny}
ablations:
  axes:
    loss: {{rm: {{pretrain.loss: {{rm: 1.0, lm: 0.0}}}}}}
    pairs.count: [32, 64]
    finetune.samples: [8, 16]
    rate: {{low: {{}}, high: {{finetune.learning_rate: 0.02}}}}
"""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text.format(tiny=TINY))
    plan = open_workspace(recipe, [], tmp_path / "workdir").plan
    every = {("logic", "best_of_n"): {one.name: (one.name,) for one in plan.settings}}
    curves = {
        parts_of(one.key)[2]: one.baseline for one in _curves(plan, every) if parts_of(one.key)[1] == "finetune.samples"
    }
    assert len(curves) == 10
    for arm, baseline in curves.items():
        rate = arm.split(", ")[-1]
        expected = [(x, f"no-pmp, count=32, samples={x}, {rate}") for x in (8, 16)] if "no-pmp" not in arm else []
        assert [(x, name.split(" = ")[0]) for x, name in baseline] == expected, arm


def test_the_report_shows_curves_effects_and_the_saving() -> None:
    axes = make_axes(
        {
            "finetune.samples": [(f"samples={x}", str(x), x) for x in SIZES],
            "loss": [("rm", "rm", None), ("lm", "lm", None)],
        }
    )
    contrasts = [
        _contrast(spec(*pairs, about=about), TABLES, {}, seed=0)
        for about, pairs in (
            (axis_key("loss", "lm", "logic", "pair_accuracy"), [pair("a", "b"), pair("c", "d")]),
            (
                interaction_key(("loss", "finetune.samples"), ("lm", "samples=20"), "logic", "pair_accuracy"),
                [pair("a", "b")],
            ),
        )
    ]
    effects = json.loads(json.dumps({"contrasts": contrasts, "curves": curves()}))
    tables = {one.title: one for one in effect_tables(effects, axes)}
    one_by_one = tables.pop("Effects of the axes, pair by pair").rows
    assert [row[:3] for row in one_by_one] == [("a", "b", "logic, pair accuracy"), ("c", "d", "logic, pair accuracy")]
    assert one_by_one[1][3].startswith(f"+{mean('c') - mean('d'):.3f} ")
    assert list(tables) == ["Effects of the axes", "Interactions of two axes", "Sample efficiency"]
    assert tables["Effects of the axes"].rows[0][:3] == ("loss", "lm", "logic, pair accuracy")
    assert tables["Interactions of two axes"].rows[0][:2] == ("loss and samples", "lm, 20")
    assert [row[3] for row in tables["Sample efficiency"].rows] == ["25 %", "50 %", "75 %"]
    (figure,) = axis_figures(effects, axes)
    assert figure.plot["layout"]["xaxis"]["type"] == "log"
    assert [entry.label for entry in figure.legend] == ["pmp", "bare"]
    assert "pmp: +" in figure.caption
    assert figure.numbers is not None
    assert figure.numbers.columns == ("", *map(str, SIZES))

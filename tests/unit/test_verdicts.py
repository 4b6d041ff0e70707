"""Verdicts on claims, and the contrasts behind them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.errors import DataError
from harness.evaluation.seeds import SeededValues, contrast, mean_of
from harness.plan.claims import ClaimPower
from harness.plan.effects import _against, _crossed, claim_key
from harness.recipe.claims import Comparison, Rule
from harness.report.answer import claims_in_words
from harness.report.verdicts import Contrast, Word, findings, word_of
from harness.report.words import listing


def difference(low: float, high: float, p_value: float = 0.5) -> Contrast:
    """Symmetric, its 90 % interval at 84 % of the width, as of a normal distribution."""
    middle, half = (low + high) / 2, (high - low) / 2 * 0.84
    return Contrast(estimate=middle, low=low, high=high, low_90=middle - half, high_90=middle + half, p_value=p_value)


@pytest.mark.parametrize(
    ("low", "high", "rule", "word"),
    [
        (0.01, 0.05, "superiority", "supported"),
        (0.001, 0.009, "superiority", "supported, small"),
        (-0.05, -0.01, "superiority", "contradicted"),
        (-0.005, 0.005, "superiority", "no meaningful effect"),
        (-0.02, 0.06, "superiority", "inconclusive"),
        (0.02, 0.02, "superiority", "inconclusive"),  # no spread
        (-0.009, 0.03, "non_inferiority", "supported"),
        (-0.05, -0.02, "non_inferiority", "contradicted"),
        (-0.03, 0.02, "non_inferiority", "inconclusive"),
        (-0.011, 0.011, "equivalence", "supported"),  # by the 90 % interval
        (0.02, 0.05, "equivalence", "contradicted"),
        (-0.02, 0.02, "equivalence", "inconclusive"),
    ],
)
def test_the_verdict_follows_the_interval_and_the_margin(low: float, high: float, rule: Rule, word: Word) -> None:
    assert word_of(difference(low, high), rule, margin=0.01) == word


POWER = ClaimPower(
    metric="area",
    claim="pmp",
    says="PMP helps",
    rule="superiority",
    each=False,
    evaluation="best_of_n",
    task="a",
    comparisons=(Comparison(better=("x",), than=("y",)),),
    margin=0.01,
    problems=100,
    seeds={"pretrain": 3, "finetune": 3},
    effect=0.02,
)


def entry(task: str, *pairs: Contrast, lacking: str = "", why: str = "") -> dict[str, object]:
    told = [{"more": ["x"], "less": ["y"], **vars(one)} for one in pairs]
    key = claim_key("pmp", task, "best_of_n")
    return {"key": key, "why": why, "lacking": lacking, "problems": 100, "pairs": told, "mean": told[0] if told else {}}


def test_a_claim_on_several_tasks_counts_those_that_hold_after_correction() -> None:
    powers = [replace(POWER, task=task) for task in "abcd"]
    contrasts = [
        entry("a", difference(0.02, 0.06, 0.001)),
        entry("b", difference(0.001, 0.06, 0.04)),  # alone above 0, not after Holm over three
        entry("c", difference(-0.06, -0.001, 0.045)),
        entry("d", difference(0.01, 0.02), lacking="1 PMP seed"),
    ]
    (found,) = findings(powers, {"contrasts": contrasts})
    assert [one.word for one in found.results] == ["supported", "supported", "contradicted", "not tested"]
    assert [one.holds for one in found.results] == [True, False, False, False]
    assert found.words == "supported on 1 of 4 tasks, contradicted on 1 of 4"
    assert found.results[3].why == "1 PMP seed: too few"
    assert found.mark == "open"
    (same,) = findings(powers[:2], {"contrasts": contrasts})
    assert (same.words, same.mark) == ("supported", "supported")


def test_a_claim_that_each_comparison_must_show_is_as_good_as_its_weakest() -> None:
    contrasts = [entry("a", difference(0.02, 0.06), difference(-0.02, 0.06))]
    assert findings([POWER], {"contrasts": contrasts})[0].words == "supported"
    assert findings([replace(POWER, each=True)], {"contrasts": contrasts})[0].words == "inconclusive"


def test_a_task_counts_where_each_comparison_holds_and_not_their_mean_alone() -> None:
    powers = [replace(POWER, task=task, each=True) for task in "abc"]
    good, bad, flat = difference(0.04, 0.06, 1e-6), difference(-0.03, -0.01, 0.004), difference(-0.02, 0.02, 1.0)
    mean = {"mean": vars(difference(0.01, 0.03, 1e-4))}
    contrasts = [entry("a", good, good) | mean, entry("b", good, bad) | mean, entry("c", good, flat) | mean]
    (found,) = findings(powers, {"contrasts": contrasts})
    assert [one.word for one in found.results] == ["supported", "contradicted", "inconclusive"]
    assert [one.holds for one in found.results] == [True, False, False]
    assert found.words == "supported on 1 of 3 tasks, contradicted on 1 of 3"


def test_what_is_not_finished_is_not_tested() -> None:
    (found,) = findings([POWER], None)
    assert (found.words, found.results[0].why) == ("not tested", "its evaluations are not finished")
    (found,) = findings([replace(POWER, lacking="x and y are the same models")], {})
    assert found.results[0].why == "x and y are the same models"


def test_claims_that_say_the_same_of_the_same_settings_are_one() -> None:
    sizes = ("samples=40", "samples=80", "samples=160")
    compared = tuple(Comparison(better=(f"rm, {size}",), than=(f"no-pmp, {size}",)) for size in sizes)
    powers = [
        replace(POWER, comparisons=compared),
        replace(POWER, comparisons=compared, claim="pmp-pairs", evaluation="pair_accuracy"),
        replace(POWER, comparisons=compared[:1], claim="first"),
        replace(POWER, comparisons=(Comparison(better=("rm, a", "lm, b"), than=("x",)),), claim="other"),
    ]
    several, first, other = findings(powers, None)
    assert [one.power.claim for one in several.results] == ["pmp", "pmp-pairs"]
    assert (several.better, several.than) == ("rm", "no-pmp, each with samples=40, samples=80 and samples=160")
    assert (first.better, first.than) == ("rm, samples=40", "no-pmp, samples=40")
    assert (other.better, other.than) == ("rm, a and lm, b", "x")
    many = tuple(Comparison(better=(f"rm, {size}",), than=(f"no-pmp, {size}",)) for size in "abcde")
    (found,) = findings([replace(POWER, comparisons=many)], None)
    assert (found.better, found.than) == ("rm", "no-pmp, in 5 otherwise equal settings")
    lines = claims_in_words([*findings([POWER], {"contrasts": [entry("a", difference(0.02, 0.06))]}), first, other])
    assert lines[0].startswith("Supported: PMP helps (a, BoN area +0.040")
    assert lines[1:] == ("Not tested: " + "; ".join(["PMP helps (its evaluations are not finished)"] * 2) + ".",)


def test_names_with_commas_are_listed_with_semicolons() -> None:
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["rm, x=1", "lm, x=2"]) == "rm, x=1 and lm, x=2"
    assert listing(["rm, x=1", "lm, x=1", "lm, x=2"]) == "rm, x=1; lm, x=1; and lm, x=2"


def test_the_mean_of_rows_is_taken_seed_by_seed() -> None:
    rng = np.random.default_rng(0)
    rows = [SeededValues(values=rng.random((3, 2, 40)), seeds=((1, 2, 3), (7, 8))) for _ in range(2)]
    bare = SeededValues(values=rng.random((1, 2, 40)), seeds=((), (7, 8)))
    found = mean_of([*rows, bare])
    assert found.seeds == ((1, 2, 3), (7, 8))
    expected = (rows[0].values + rows[1].values + bare.values) / 3
    assert np.allclose(found.values, expected)
    one = contrast(mean_of(rows), bare)
    assert np.isclose(one.paired.mean.mean(), (rows[0].values + rows[1].values).mean() / 2 - bare.values.mean())
    with pytest.raises(DataError, match="must share their seeds"):
        mean_of([rows[0], replace(rows[1], seeds=((4, 5, 6), (7, 8)))])


def test_effects_of_an_axis_pair_settings_that_are_equal_on_the_others() -> None:
    grid = {(("loss", loss), ("count", count)): f"{loss}-{count}" for loss in ("rm", "lm") for count in ("1", "2", "4")}
    found = _against(grid, {"count": "4"}, {"count": "1"})
    assert [(one.more, one.less) for one in found] == [(("rm-4",), ("rm-1",)), (("lm-4",), ("lm-1",))]
    (crossed,) = _crossed(grid, ("loss", "count"), ("lm", "4"), ("rm", "1"))
    assert (set(crossed.more), set(crossed.less)) == ({"lm-4", "rm-1"}, {"rm-4", "lm-1"})
    del grid[(("loss", "rm"), ("count", "1"))]
    assert len(_against(grid, {"count": "4"}, {"count": "1"})) == 1
    assert not _crossed(grid, ("loss", "count"), ("lm", "4"), ("rm", "1"))

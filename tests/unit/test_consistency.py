"""Agreement of judges with labels: planted agreement is found, coins are coins, and the interval decides."""

from __future__ import annotations

import numpy as np
import pytest

from harness.evaluation.consistency import FEWEST_PREFERRING, consistency, estimate, overall, shuffled, verdict


def agreeing(share: float, pairs: int, seed: int, ties: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = (generator.random(pairs) < share).astype(float)
    return np.where(generator.random(pairs) < ties, 0.5, values)


def test_planted_agreement_is_found_and_decided() -> None:
    clusters = np.arange(2_000) % 400
    good = consistency(agreeing(0.85, 2_000, 0), clusters, minimum=0.7, seed=0)
    assert good["agreement"]["low"] < 0.85 < good["agreement"]["high"]
    assert good["verdict"] == "passes"
    poor = consistency(agreeing(0.55, 2_000, 0), clusters, minimum=0.7, seed=0)
    assert poor["verdict"] == "fails"
    between = consistency(agreeing(0.7, 2_000, 0), clusters, minimum=0.7, seed=0)
    assert between["of_preferring"]["low"] < 0.7 < between["of_preferring"]["high"]
    assert between["verdict"] == "undecided"


def test_a_tie_is_half_an_agreement_and_no_evidence() -> None:
    values = agreeing(0.9, 4_000, 1, ties=0.8)
    found = consistency(values, np.arange(4_000), minimum=0.7, seed=0)
    assert found["judged"] == 4_000
    assert found["preferring"] == (values != 0.5).sum()
    assert found["agreement"]["estimate"] == pytest.approx(values.mean())
    assert found["agreement"]["high"] < 0.7  # for want of opinions, not of agreement
    assert found["of_preferring"]["low"] > 0.85
    assert found["verdict"] == "passes"


def test_what_a_judge_has_no_say_on_is_left_out() -> None:
    values = agreeing(0.8, 600, 2)
    values[:100] = np.nan
    found = consistency(values, np.arange(600), minimum=0.7, seed=0)
    assert found["judged"] == 500
    assert found["agreement"]["estimate"] == pytest.approx(values[100:].mean())
    nothing = consistency(np.full(5, np.nan), np.arange(5), minimum=0.7, seed=0)
    assert nothing["agreement"] == {"estimate": None, "low": None, "high": None}
    assert nothing["verdict"] == "undecided"


def test_few_opinions_decide_nothing() -> None:
    few = consistency(np.ones(FEWEST_PREFERRING - 1), np.arange(FEWEST_PREFERRING - 1), minimum=0.7, seed=0)
    enough = consistency(np.ones(FEWEST_PREFERRING), np.arange(FEWEST_PREFERRING), minimum=0.7, seed=0)
    assert (few["verdict"], enough["verdict"]) == ("undecided", "passes")


def test_shuffled_labels_are_a_coin_within_the_interval() -> None:
    """Over many sets: the control's interval holds 0.5 about as often as it says, even in clusters."""
    held = 0
    sets = 200
    for seed in range(sets):
        values = np.repeat(agreeing(0.9, 60, seed), 5)  # five pairs a file, all alike
        found = estimate(shuffled(values, seed), np.repeat(np.arange(60), 5), seed=seed)
        held += found["low"] <= 0.5 <= found["high"]
    assert 0.89 * sets <= held <= 0.995 * sets


def test_intervals_cover_the_truth_by_cluster() -> None:
    held = naive = 0
    sets = 100
    for seed in range(sets):
        values = np.repeat(agreeing(0.75, 60, seed), 5)
        found = estimate(values, np.repeat(np.arange(60), 5), seed=seed)
        held += found["low"] <= 0.75 <= found["high"]
        alone = estimate(values, np.arange(300), seed=seed)
        naive += alone["low"] <= 0.75 <= alone["high"]
    assert 0.89 * sets <= held
    assert naive < 0.8 * sets  # what taking alike pairs for independent ones would do


def test_one_cluster_has_an_estimate_and_no_interval() -> None:
    assert estimate([1.0, 0.0], ["a", "a"], seed=0) == {"estimate": 0.5, "low": None, "high": None}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.7, 0.9, "passes"), (0.5, 0.69, "fails"), (0.69, 0.71, "undecided"), (0.5, 0.7, "undecided"),
     (None, None, "undecided")],
)  # fmt: skip
def test_the_bound_decides(low: float | None, high: float | None, expected: str) -> None:
    assert verdict(low, high, 0.7) == expected


def test_one_failing_judge_fails_the_pairs() -> None:
    assert overall(["passes", "undecided"]) == "passes"
    assert overall(["passes", "fails"]) == "fails"
    assert overall(["undecided"]) == overall([]) == "undecided"

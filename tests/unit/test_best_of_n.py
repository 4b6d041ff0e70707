"""Best-of-N, pass@N, votes and pair accuracy against brute force over all subsets, and against their invariances."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.evaluation.best_of_n import (
    area_sizes,
    best_of_n,
    best_of_n_area,
    best_of_n_pools,
    fitting_sizes,
    majority_vote,
    majority_vote_sampled,
    pass_at_n,
)
from harness.evaluation.pair_accuracy import (
    Couples,
    length_bins,
    margin_mean,
    pair_values,
    pool_couples,
    right_over_wrong_pools,
    source_balanced,
)
from harness.evaluation.ratios import ratio_values
from harness.evaluation.shallow import fit_ngrams

POOL = Path(__file__).parents[3] / "shared" / "data" / "pools" / "gsm8k_zeroeval.jsonl.gz"
pools = st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=8)
votes = st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=1, max_size=8)
quick = settings(max_examples=60, deadline=None)


def over_subsets(length: int, size: int, value: Callable[[tuple[int, ...]], Fraction]) -> float:
    subsets = list(combinations(range(length), size))
    return float(sum((value(subset) for subset in subsets), Fraction(0)) / len(subsets))


def brute_best(scores: Sequence[float], correct: Sequence[bool], size: int) -> float:
    def value(subset: tuple[int, ...]) -> Fraction:
        top = max(scores[i] for i in subset)
        tied = [correct[i] for i in subset if scores[i] == top]
        return Fraction(sum(tied), len(tied))

    return over_subsets(len(scores), size, value)


def brute_vote(answers: Sequence[str | None], right: set[str], size: int) -> float:
    def value(subset: tuple[int, ...]) -> Fraction:
        counts = Counter(answers[i] for i in subset if answers[i] is not None)
        leaders = [answer for answer, count in counts.items() if count == max(counts.values())]
        return Fraction(sum(answer in right for answer in leaders), max(len(leaders), 1))

    return over_subsets(len(answers), size, value)


def all_sizes(items: Sequence[object]) -> list[int]:
    return list(range(1, len(items) + 1))


@quick
@given(pools)
def test_best_of_n_is_the_mean_over_all_subsets(pool: list[tuple[int, bool]]) -> None:
    scores, correct = [float(score) for score, _ in pool], [label for _, label in pool]
    expected = [brute_best(scores, correct, size) for size in all_sizes(pool)]
    np.testing.assert_allclose(best_of_n(scores, correct, all_sizes(pool)), expected, atol=1e-12)


@quick
@given(pools, st.randoms(use_true_random=False))
def test_best_of_n_ignores_order_and_monotone_transforms(pool: list[tuple[int, bool]], random: object) -> None:
    scores, correct = np.array([s for s, _ in pool], dtype=float), np.array([c for _, c in pool])
    expected = best_of_n(scores, correct, all_sizes(pool))
    order = sorted(range(len(pool)), key=lambda _: random.random())  # type: ignore[attr-defined]
    np.testing.assert_allclose(best_of_n(scores[order], correct[order], all_sizes(pool)), expected, atol=1e-14)
    np.testing.assert_array_equal(best_of_n(np.exp(3 * scores) - 7, correct, all_sizes(pool)), expected)


@quick
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_oracle_reaches_pass_at_n_and_a_constant_scorer_the_mean(correct: list[bool]) -> None:
    sizes = all_sizes(correct)
    np.testing.assert_allclose(best_of_n(correct, correct, sizes), pass_at_n(correct, sizes), atol=1e-12)
    np.testing.assert_allclose(best_of_n([0.3] * len(correct), correct, sizes), np.mean(correct), atol=1e-12)
    worst = best_of_n(~np.array(correct), correct, sizes)
    np.testing.assert_allclose(worst, 1 - pass_at_n(~np.array(correct), sizes), atol=1e-12)


def test_pass_at_n_is_the_closed_form() -> None:
    correct = [True] * 3 + [False] * 7
    expected = [1 - comb(7, size) / comb(10, size) for size in range(1, 11)]
    np.testing.assert_allclose(pass_at_n(correct, range(1, 11)), expected, atol=1e-14)


def test_large_pools_stay_exact() -> None:
    length, sizes = 4096, [1, 2, 64, 1024, 4095, 4096]
    generator = np.random.default_rng(0)
    correct = generator.random(length) < 0.01
    scores = generator.normal(size=length)
    ranked = correct[np.argsort(scores)]
    expected = [
        float(sum(Fraction(comb(rank, n - 1), comb(length, n)) for rank in np.flatnonzero(ranked).tolist()))
        for n in sizes
    ]
    np.testing.assert_allclose(best_of_n(scores, correct, sizes), expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(best_of_n(scores, np.ones(length), sizes), 1.0, atol=1e-14)


def test_infinite_scores_rank_and_tie() -> None:
    assert best_of_n([np.inf, np.inf, -np.inf], [True, False, False], [3])[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("scores", "correct", "sizes", "words"),
    [
        ([1.0, np.nan], [True, False], [1], "NaN"),
        ([1.0, 2.0], [True, False], [3], "best of 3 of 2"),
        ([1.0, 2.0], [True, False], [0], "positive"),
        ([1.0, 2.0], [True, False], [], "positive"),
        ([1.0], [True, False], [1], "one score"),
        ([], [], [1], "at least one"),
        ([1.0, 2.0], [0.5, 1.0], [1], "true or false"),
    ],
)
def test_bad_pools_are_refused(scores: list[float], correct: list[float], sizes: list[int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        best_of_n(scores, correct, sizes)


def test_unequal_pools_keep_their_rows_and_name_the_problem_that_is_too_small() -> None:
    scores, correct = [[1.0, 2.0, 3.0], [5.0, 4.0]], [[False, True, False], [True, False]]
    curves = best_of_n_pools(scores, correct, [1, 2])
    for row, (values, labels) in enumerate(zip(scores, correct, strict=True)):
        np.testing.assert_array_equal(curves[row], best_of_n(values, labels, [1, 2]))
    with pytest.raises(DataError, match=r"problem 1: .* best of 3 of 2") as caught:
        best_of_n_pools(scores, correct, [3])
    assert caught.value.remedy
    with pytest.raises(ValueError, match="shorter"):
        best_of_n_pools(scores, correct[:1], [1])


def test_area_is_a_mean_over_one_grid_within_a_quarter_of_the_pool_whatever_is_listed() -> None:
    assert area_sizes(7) == ()
    assert area_sizes(8) == (2,)
    assert area_sizes(31) == (2, 4)
    assert area_sizes(256) == area_sizes(10_000) == (2, 4, 8, 16, 32, 64)
    for sizes, curves in (
        ([1, 2, 4, 8], [[0.0, 0.1, 0.3, 0.9], [1.0, 0.0, 0.0, 1.0]]),
        ([2, 3, 4], [[0.1, 0.7, 0.3], [0, 1, 0]]),
    ):
        area = best_of_n_area(curves, sizes, 16)
        assert area is not None
        np.testing.assert_allclose(area, [0.2, 0.0])
    assert best_of_n_area([[0.5, 0.5]], [1, 2], 7) is None


def test_a_curve_leaves_out_what_its_pools_do_not_hold() -> None:
    assert fitting_sizes([1, 3, 64], 16) == (1, 2, 3, 4)
    assert fitting_sizes([1, 2, 4, 7], 7) == (1, 2, 4, 7)
    assert fitting_sizes([8], 4) == (1,)


@quick
@given(votes, st.sets(st.sampled_from(["a", "b", "c"])))
def test_majority_vote_is_the_mean_over_all_subsets(answers: list[str | None], right: set[str]) -> None:
    correct = [answer in right for answer in answers]
    expected = [brute_vote(answers, right, size) for size in all_sizes(answers)]
    np.testing.assert_allclose(majority_vote(answers, correct, all_sizes(answers)), expected, atol=1e-12)


@quick
@given(votes, st.sets(st.sampled_from(["a", "b", "c"])))
def test_majority_vote_starts_at_the_mean_and_ignores_order(answers: list[str | None], right: set[str]) -> None:
    correct = [answer in right for answer in answers]
    curve = majority_vote(answers, correct, all_sizes(answers))
    assert curve[0] == pytest.approx(np.mean(correct))
    np.testing.assert_allclose(majority_vote(answers[::-1], correct[::-1], all_sizes(answers)), curve, atol=1e-13)


def test_sampled_votes_agree_with_exact_ones_within_their_error() -> None:
    answers = ["a"] * 30 + ["b"] * 25 + ["c"] * 20 + ["d"] * 15 + [None] * 10
    correct = [answer in ("b", "d") for answer in answers]
    sizes = [1, 2, 3, 8, 32, 99]
    exact = majority_vote(answers, correct, sizes)
    sampled = majority_vote_sampled(answers, correct, sizes, subsets=20_000, seed=3)
    assert (np.abs(sampled.accuracy - exact) <= 4 * sampled.standard_error + 1e-9).all()
    assert (sampled.standard_error[:-1] < 0.004).all()
    again = majority_vote_sampled(answers, correct, sizes, subsets=20_000, seed=3)
    np.testing.assert_array_equal(again.accuracy, sampled.accuracy)


def test_votes_in_pools_too_large_to_count_are_sampled_instead() -> None:
    answers = ["a"] * 900 + ["b"] * 600
    correct = [answer == "a" for answer in answers]
    with pytest.raises(DataError, match="majority_vote_sampled"):
        majority_vote(answers, correct, [750])
    assert majority_vote(answers, correct, [1])[0] == pytest.approx(0.6)
    sampled = majority_vote_sampled(answers, correct, [750], subsets=100, seed=0)
    assert sampled.accuracy[0] == pytest.approx(1.0)


def test_an_answer_counts_as_its_right_share_where_its_labels_differ() -> None:
    answers, correct = ["a", "a", "a", "b", "b"], [True, True, False, False, True]
    assert majority_vote(answers, correct, [1])[0] == pytest.approx(0.6)
    assert majority_vote(answers, correct, [5])[0] == pytest.approx(2 / 3)  # a leads
    shares = {"a": 2 / 3, "b": 1 / 2}
    expected = np.mean([np.mean([shares[answers[one]] for one in pair]) for pair in combinations(range(5), 2)])
    assert majority_vote(answers, correct, [2])[0] == pytest.approx(expected)
    sampled = majority_vote_sampled(answers, correct, [2], subsets=20_000, seed=1)
    assert abs(sampled.accuracy[0] - expected) < 4 * sampled.standard_error[0]


def test_votes_without_sense_are_refused() -> None:
    with pytest.raises(DataError, match="None is labelled correct"):
        majority_vote([None, "a"], [True, True], [1])
    with pytest.raises(DataError, match="2 answers and 1 labels"):
        majority_vote(["a", "b"], [True], [1])
    with pytest.raises(DataError, match="two subsets"):
        majority_vote_sampled(["a"], [True], [1], subsets=1, seed=0)
    assert majority_vote([None, None], [False, False], [2])[0] == 0.0


@quick
@given(pools)
def test_right_over_wrong_counts_pairs_with_ties_half(pool: list[tuple[int, bool]]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a, right in pool if right for b, other in pool if not other]
    scores, correct = [float(score) for score, _ in pool], [label for _, label in pool]
    result = right_over_wrong_pools([scores], [correct])
    assert result.pairs[0] == len(pairs)
    assert np.isnan(result.accuracy[0]) if not pairs else result.accuracy[0] == pytest.approx(np.mean(pairs))


def test_right_over_wrong_tells_seen_from_unseen_errors() -> None:
    scores, correct = [[2.0, 1.0, 3.0, 2.0], [1.0, 0.0]], [[True, False, False, False], [True, True]]
    seen, unseen = [[False, True, False, False], [False] * 2], [[False, False, True, True], [False] * 2]
    seen_result = right_over_wrong_pools(scores, correct, [np.array(mask) for mask in seen])
    unseen_result = right_over_wrong_pools(scores, correct, [np.array(mask) for mask in unseen])
    assert seen_result.accuracy[0] == 1.0
    assert unseen_result.accuracy[0] == 0.25
    assert unseen_result.pairs.tolist() == [2, 0]
    with pytest.raises(DataError, match="wrong candidates only"):
        right_over_wrong_pools([[1.0]], [[True]], [np.array([True])])
    with pytest.raises(DataError, match="one bool"):
        right_over_wrong_pools([[1.0]], [[False]], [np.array([1])])


def test_pair_accuracy_counts_ties_half() -> None:
    np.testing.assert_array_equal(pair_values([1.0, 2.0, 0.0], [0.0, 2.0, 1.0]), [1.0, 0.5, 0.0])
    assert margin_mean([1.0, 2.0], [0.0, 4.0]) == -0.5
    with pytest.raises(DataError, match="1 of 2 pairs hold a NaN"):
        pair_values([1.0, np.nan], [0.0, 0.0])
    with pytest.raises(DataError, match="one chosen and one rejected"):
        pair_values([1.0], [0.0, 0.0])


# ------------------------------------------------------------------------------------------------ mixed pools

mixed = st.lists(
    st.lists(st.tuples(st.integers(-1, 1), st.booleans(), st.integers(-1, 2)), min_size=1, max_size=6),
    min_size=1,
    max_size=6,
)


def brute_balance(pools: Sequence[Sequence[tuple[float, bool, int]]]) -> float | None:
    """The definition: both directions of every two sources with equal weight, by the harmonic mean of their counts."""
    won: dict[tuple[int, int], list[float]] = {}
    for pool in pools:
        for score, right, source in pool:
            for other_score, other_right, other in pool:
                if right and not other_right and source != other and min(source, other) >= 0:
                    won.setdefault((source, other), []).append(
                        float(score > other_score) + 0.5 * float(score == other_score)
                    )
    total = weights = 0.0
    for first, second in ((0, 1), (0, 2), (1, 2)):
        there, back = won.get((first, second), []), won.get((second, first), [])
        if there and back:
            weight = 2 / (1 / len(there) + 1 / len(back))
            total += weight * (np.mean(there) + np.mean(back)) / 2
            weights += weight
    return total / weights if weights else None


def balance(pools: Sequence[Sequence[tuple[float, bool, int]]]) -> np.ndarray | None:
    scores, correct, sources = ([[one[part] for one in pool] for pool in pools] for part in range(3))
    return source_balanced(pool_couples(scores, correct, sources), len(pools))


@quick
@given(mixed)
def test_source_balance_is_its_definition(pools: list[list[tuple[float, bool, int]]]) -> None:
    found, expected = balance(pools), brute_balance(pools)
    assert (found is None) == (expected is None)
    if found is not None:
        assert np.nanmean(found) == pytest.approx(expected)


def test_who_wrote_it_is_worth_nothing_when_sources_are_balanced() -> None:
    generator = np.random.default_rng(0)
    pools = [
        [(float(source), bool(generator.random() < 0.3 + 0.2 * source), source) for source in (0, 1, 2, 1)]
        for _ in range(200)
    ]
    plain = right_over_wrong_pools(*([[one[part] for one in pool] for pool in pools] for part in range(2)))
    assert np.nanmean(plain.accuracy) > 0.6
    assert np.nanmean(balance(pools)) == pytest.approx(0.5, abs=1e-12)
    oracle = [[(float(right), right, source) for _, right, source in pool] for pool in pools]
    assert np.nanmean(balance(oracle)) == pytest.approx(1.0)


def test_pairs_balance_as_pools_of_two_do() -> None:
    pools = [[(1.0, True, 0), (0.0, False, 1)], [(0.0, True, 1), (2.0, False, 0)], [(1.0, True, 1), (0.5, False, 0)]]
    couples = Couples(
        unit=np.arange(3),
        right=np.array([0, 1, 1]),
        wrong=np.array([1, 0, 0]),
        count=np.ones(3),
        wins=np.array([1, 0, 1]),
    )
    np.testing.assert_allclose(source_balanced(couples, 3), balance(pools))
    assert source_balanced(couples, 3).mean() == pytest.approx(0.75)


def test_a_ratio_has_the_spread_that_resampling_gives_it() -> None:
    generator = np.random.default_rng(1)
    below = generator.integers(0, 6, 400).astype(float)
    above = generator.binomial(below.astype(int), 0.7).astype(float)
    values = ratio_values(above, below)
    counted = values[below > 0]
    assert np.isnan(values[below == 0]).all()
    assert counted.mean() == pytest.approx(above.sum() / below.sum())
    drawn = generator.integers(0, 400, (4_000, 400))
    resampled = above[drawn].sum(axis=1) / below[drawn].sum(axis=1)
    assert counted.std() / np.sqrt(len(counted)) == pytest.approx(resampled.std(), rel=0.06)
    assert ratio_values([0.0, 1.0], [0.0, 0.0]) is None


def test_length_bins_are_cut_at_a_tenth() -> None:
    bins = length_bins([111, 110, 100, 100, 100], [100, 100, 100, 110, 111])
    assert {name: mask.tolist() for name, mask in bins.items()} == {
        "longer": [True, False, False, False, False],
        "equal": [False, True, True, True, False],
        "shorter": [False, False, False, False, True],
    }


@pytest.mark.published
@pytest.mark.skipif(not POOL.exists(), reason="the published pool is not here")
def test_on_a_published_mixed_pool_the_writer_is_all_that_style_finds() -> None:
    """Eleven weaker models on GSM8K: n-grams lose most of their lead over a coin, the writers all of theirs."""
    with gzip.open(POOL, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    skill = {name: [] for name in (one["model"] for one in rows[0]["candidates"])}
    for row in rows:
        for one in row["candidates"]:
            skill.setdefault(one["model"], []).append(one["correct"])
    weak = sorted(skill, key=lambda name: float(np.mean(skill[name])))[:11]
    pools = [[one for one in row["candidates"] if one["model"] in weak] for row in rows]
    train, test = pools[:600], pools[600:]
    right, wrong = [], []
    for pool in train:
        sides = {label: [one["text"] for one in pool if one["correct"] is label] for label in (True, False)}
        if all(sides.values()) and len(right) < 512:
            right.append(sides[True][len(right) % len(sides[True])])
            wrong.append(sides[False][len(right) % len(sides[False])])
    ngrams = fit_ngrams(right, wrong, seed=0)
    known = [one for pool in train for one in pool]
    prior = {name: float(np.mean([one["correct"] for one in known if one["model"] == name])) for name in weak}
    correct = [[one["correct"] for one in pool] for pool in test]
    sources = [[weak.index(one["model"]) for one in pool] for pool in test]
    found = {}
    for name, scores in (
        ("ngrams", [ngrams.score([one["text"] for one in pool]) for pool in test]),
        ("prior", [[prior[one["model"]] for one in pool] for pool in test]),
    ):
        plain = right_over_wrong_pools(scores, correct)
        pooled = float(np.nansum(plain.accuracy * plain.pairs) / plain.pairs.sum())
        found[name] = pooled, float(np.nanmean(source_balanced(pool_couples(scores, correct, sources), len(test))))
    assert found["prior"] == (pytest.approx(0.74, abs=0.03), pytest.approx(0.5, abs=1e-9))
    assert found["ngrams"] == (pytest.approx(0.735, abs=0.03), pytest.approx(0.633, abs=0.03))

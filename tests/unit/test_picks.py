"""Picks other than the highest reward, against brute force over all subsets of small pools."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.evaluation.best_of_n import best_of_n, majority_vote
from harness.evaluation.picks import residual_on_length, weighted_vote

quick = settings(max_examples=60, deadline=None)
votes = st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), st.integers(-3, 3)), min_size=1, max_size=7)


def brute(answers: list[str | None], scores: list[float], right: str, size: int) -> float:
    found = []
    for subset in combinations(range(len(answers)), size):
        sums: dict[str, float] = {}
        for at in subset:
            if (answer := answers[at]) is not None:
                sums[answer] = sums.get(answer, 0.0) + float(np.exp(scores[at]))
        leaders = [answer for answer, total in sums.items() if total > max(sums.values()) - 1e-9]
        found.append(sum(answer == right for answer in leaders) / len(leaders) if leaders else 0.0)
    return float(np.mean(found))


@quick
@given(votes)
def test_a_weighted_vote_is_the_mean_over_all_subsets(pool: list[tuple[str | None, int]]) -> None:
    answers, scores = [answer for answer, _ in pool], [float(score) for _, score in pool]
    sizes = list(range(1, len(pool) + 1))
    correct = [answer == "a" for answer in answers]
    found = weighted_vote(answers, scores, correct, sizes, subsets=200, seed=0)
    np.testing.assert_allclose(found.accuracy, [brute(answers, scores, "a", size) for size in sizes], atol=1e-9)
    assert not found.standard_error.any()
    moved = weighted_vote(answers, np.array(scores) + 700.0, correct, sizes, subsets=200, seed=0)
    np.testing.assert_allclose(moved.accuracy, found.accuracy, atol=1e-9)


def test_a_sampled_weighted_vote_is_within_its_error_of_the_exact_one() -> None:
    generator = np.random.default_rng(0)
    answers = generator.choice(list("abcd"), 30).tolist()
    correct, sizes = [answer == "a" for answer in answers], [2, 8, 20]
    same = weighted_vote(answers, np.zeros(30), correct, sizes, subsets=2_000, seed=1)
    assert (same.standard_error[1:] > 0).all()
    error = np.maximum(same.standard_error, 1e-9)
    assert (np.abs(same.accuracy - majority_vote(answers, correct, sizes)) < 4 * error).all()
    strong = weighted_vote(answers, np.arange(30) * 50.0, correct, sizes, subsets=2_000, seed=1)
    best = best_of_n(np.arange(30), correct, sizes)
    assert (np.abs(strong.accuracy - best) < 4 * np.maximum(strong.standard_error, 1e-9)).all()


def test_infinite_rewards_vote_alone_or_not_at_all() -> None:
    correct = [True, False, False]
    up = weighted_vote(["a", "b", "b"], [np.inf, 1.0, 1.0], correct, [3], subsets=10, seed=0)
    down = weighted_vote(["a", "b", "b"], [-np.inf, 1.0, 1.0], correct, [1, 3], subsets=10, seed=0)
    assert up.accuracy.tolist() == [1.0]
    assert down.accuracy.tolist() == [pytest.approx(1 / 3), 0.0]
    with pytest.raises(DataError, match="NaN"):
        weighted_vote(["a"], [np.nan], [True], [1], subsets=10, seed=0)


def test_residuals_are_those_of_least_squares_and_forget_length() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(10, 500, 12)
    scores = generator.normal(size=12) + 0.01 * lengths
    line = np.polynomial.Polynomial.fit(lengths, scores, 1)
    expected = (scores - line(lengths)) / np.abs(scores - scores.mean()).max()
    np.testing.assert_allclose(residual_on_length(scores, lengths), expected, atol=1e-8)
    for reward in (0.37 * lengths - 11.1, -lengths / 7.0, np.full(12, 2.5)):
        assert not residual_on_length(reward, lengths).any()
    with_infinity = residual_on_length([*scores, np.inf, -np.inf], [*lengths, 1, 2])
    np.testing.assert_allclose(with_infinity[:12], expected, atol=1e-8)
    assert with_infinity[12:].tolist() == [np.inf, -np.inf]
    np.testing.assert_allclose(residual_on_length([1.0, 2.0, 4.0], [5, 5, 5]), [-4 / 5, -1 / 5, 1.0], atol=1e-9)

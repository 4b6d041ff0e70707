"""Shallow scorers learn what is planted, see no digit, and find nothing where nothing is."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.optimize import minimize

from harness.errors import DataError
from harness.evaluation.pair_accuracy import pair_values
from harness.evaluation.shallow import (
    INVERSE_PENALTY,
    OVERLAP_FEATURES,
    fit_length,
    fit_ngrams,
    fit_overlap,
    mask_digits,
    numbers_in,
    overlap_features,
)

WORDS = ["we", "add", "the", "two", "terms", "and", "so", "get", "=", "+", "12", "7", "apples", "cost", "total"]


def sentences(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, size=int(generator.integers(8, 16)))) for _ in range(count)]


def planted(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Chosen texts say "therefore" somewhere, rejected ones "maybe"."""
    return [f"{text} therefore done" for text in sentences(count, seed)], [
        f"{text} maybe done" for text in sentences(count, seed + 1)
    ]


def test_ngrams_learn_a_planted_word() -> None:
    scorer = fit_ngrams(*planted(60, 0), seed=0)
    chosen, rejected = planted(100, 10)
    assert pair_values(scorer.score(chosen), scorer.score(rejected)).mean() > 0.98


def test_ngrams_learn_word_order() -> None:
    chosen = [f"{text} first then" for text in sentences(60, 3)]
    rejected = [f"{text} then first" for text in sentences(60, 3)]
    scorer = fit_ngrams(chosen, rejected, seed=0)
    assert scorer.score(["first then"])[0] > scorer.score(["then first"])[0]


def test_digits_are_invisible() -> None:
    chosen, rejected = planted(40, 1)
    scorer = fit_ngrams(chosen, rejected, seed=0)
    scores = scorer.score(["so 7 apples cost 12.50 therefore", "so 8431 apples cost 9.1 therefore", "x1 x2", "x88 x9"])
    assert scores[0] == scores[1] != 0
    assert scores[2] == scores[3]
    assert mask_digits("a1b22 ٣") == "a0b0 0"
    digits_only = [text.replace("12", "99") for text in chosen]
    np.testing.assert_array_equal(scorer.score(digits_only), scorer.score(chosen))


def test_pairs_that_differ_in_digits_only_teach_nothing() -> None:
    scorer = fit_ngrams([f"the total = {i}" for i in range(20)], [f"the total = {i + 1}" for i in range(20)], seed=0)
    assert not scorer.coefficients.any()


def test_fits_are_reproducible_and_independent_of_the_flips() -> None:
    chosen, rejected = planted(40, 2)
    first, second = fit_ngrams(chosen, rejected, seed=5), fit_ngrams(chosen, rejected, seed=5)
    np.testing.assert_array_equal(first.coefficients, second.coefficients)
    other = fit_ngrams(chosen, rejected, seed=6)
    np.testing.assert_allclose(other.score(chosen), first.score(chosen), atol=0.02)
    swapped = fit_ngrams(rejected, chosen, seed=5)
    np.testing.assert_allclose(swapped.score(chosen), -first.score(chosen), atol=0.02)


def test_empty_texts_score_zero() -> None:
    assert fit_ngrams(*planted(10, 4), seed=0).score(["", "  "]).tolist() == [0.0, 0.0]


def test_length_takes_the_direction_of_the_training_pairs() -> None:
    longer = fit_length(["aaaa", "bbb", "c"], ["a", "b", "cc"])
    shorter = fit_length(["a", "b", "cc"], ["aaaa", "bbb", "c"])
    assert longer.score(["xx", "xxxx"]).tolist() == [2.0, 4.0]
    assert shorter.score(["xx", "xxxx"]).tolist() == [-2.0, -4.0]
    assert fit_length(["aa"], ["bb"]).direction == 1


def arithmetic(count: int, seed: int) -> tuple[list[str], list[str], list[str]]:
    """Rejected solutions copy one number of the question wrongly; sums are right either way."""
    found = []
    for a, b, c, slip in np.random.default_rng(seed).integers([20, 20, 20, 1], [90, 90, 90, 9], (count, 4)).tolist():
        wrong = a + slip
        texts = (f"{one} + {b} = {one + b}\n{one + b} - {c} = {one + b - c}\nSo {one + b - c}." for one in (a, wrong))
        found.append((f"Ann has {a} and {b} pens and loses {c}.", *texts))
    prompts, chosen, rejected = (list(column) for column in zip(*found, strict=True))
    return prompts, chosen, rejected


def test_overlap_finds_what_no_scorer_without_the_question_can() -> None:
    prompts, chosen, rejected = arithmetic(200, 0)
    held, right, wrong = arithmetic(200, 1)
    overlap = fit_overlap(prompts, chosen, rejected, seed=0)
    ngrams = fit_ngrams(chosen, rejected, seed=0)
    assert pair_values(overlap.score(held, right), overlap.score(held, wrong)).mean() > 0.95
    assert pair_values(ngrams.score(right), ngrams.score(wrong)).mean() == 0.5


def test_overlap_features_are_what_they_are_called() -> None:
    prompts = ["Has 1,000 and 07 of 2.50", "Has 1,000 and 07 of 2.50", ""]
    texts = ["7 * 2.5 = 17.5\n1000 + 17.5 = 1017.5\nSo 7.", "nothing", "9" * 400]
    first, second, third = (dict(zip(OVERLAP_FEATURES, row, strict=True)) for row in overlap_features(prompts, texts))
    counts = {"characters": 41, "lines": 2, "words": 12, "numbers": 7, "different numbers": 5}
    counts |= {"numbers of the prompt": 3, "new numbers": 2}
    assert {name: round(float(np.expm1(first[name])), 9) for name in counts} == counts
    assert first["share of the prompt's numbers"] == first["last number is of the prompt"] == 1
    assert first["last number came before"] == 1
    assert first["last number against the prompt's largest"] == pytest.approx(np.log(8 / 1001))
    assert not any(value for name, value in second.items() if name not in ("characters", "words"))
    assert np.isfinite(list(third.values())).all()
    assert numbers_in("0.50 1,234,567.0 1,23 007 0 a12b") == ["0.5", "1234567", "1", "23", "7", "0", "12"]


def test_overlap_is_a_penalised_regression_on_scaled_differences() -> None:
    prompts, chosen, rejected = arithmetic(80, 2)
    for side in (chosen, rejected):
        side[:20] = [re.sub(r"So .*", "Hence.", text) for text in side[:20]]
    chosen[::3], rejected[::3] = rejected[::3], chosen[::3]
    difference = overlap_features(prompts, chosen) - overlap_features(prompts, rejected)
    used = difference.any(axis=0)
    spread = np.sqrt((difference[:, used] ** 2).mean(axis=0))

    def loss(weights: np.ndarray) -> float:
        margins = difference[:, used] / spread @ weights
        return float(weights @ weights / 2 + INVERSE_PENALTY * np.logaddexp(0, -margins).sum())

    best = minimize(loss, np.zeros(used.sum()), method="BFGS", options={"gtol": 1e-7}).x / spread
    scorer = fit_overlap(prompts, chosen, rejected, seed=3)
    np.testing.assert_allclose(
        scorer.score(prompts, chosen), overlap_features(prompts, chosen)[:, used] @ best, atol=0.05
    )
    assert not scorer.coefficients[~used].any()
    np.testing.assert_array_equal(scorer.coefficients, fit_overlap(prompts, chosen, rejected, seed=3).coefficients)


def test_bad_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="2 pairs or more"):
        fit_ngrams(["a"], ["b"], seed=0)
    with pytest.raises(DataError, match="rejected one"):
        fit_length(["a", "b"], ["b"])
    with pytest.raises(DataError, match="1 pairs or more"):
        fit_length([], [])

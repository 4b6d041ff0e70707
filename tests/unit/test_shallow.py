"""Shallow scorers learn what is planted, see no digit, and find nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import DataError
from harness.evaluation.pair_accuracy import pair_values
from harness.evaluation.shallow import fit_length, fit_ngrams, mask_digits

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


def test_bad_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="2 pairs or more"):
        fit_ngrams(["a"], ["b"], seed=0)
    with pytest.raises(DataError, match="rejected one"):
        fit_length(["a", "b"], ["b"])
    with pytest.raises(DataError, match="1 pairs or more"):
        fit_length([], [])

"""Shallow reference scorers: what length and word habits alone achieve, from the same training pairs.

A reward model that does not beat them has learned style. `separability` asks the same of a pair set. Neither scorer
ever sees the prompt. Nothing here is saved; both fit in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from harness.errors import DataError
from harness.evaluation import Floats
from harness.evaluation.pair_accuracy import pair_values

DIGITS = re.compile(r"\d+")
MASK = "0"
TOKENS = r"\w+|[^\w\s]"
"""Words and single punctuation marks, so that code and formulas count as words do."""
LONGEST_NGRAM = 3
FEATURES = 2**18
"""Hash buckets: frequent n-grams, which carry the weight, hardly ever collide; rare ones may."""
INVERSE_PENALTY = 10.0
"""Rows have unit length, so their differences are small and scikit-learn's default of 1 would underfit few pairs."""
ITERATIONS = 1_000


def mask_digits(text: str) -> str:
    """Replaces each run of digits by one mark, so that no scorer can read a result off a number."""
    return DIGITS.sub(MASK, text)


@dataclass(frozen=True, kw_only=True)
class LengthScorer:
    """Scores a text by its length in characters, times `direction` (1: longer is better, -1: shorter)."""

    direction: int

    def score(self, texts: Sequence[str]) -> Floats:
        """(n,) float64 in characters."""
        return self.direction * lengths(texts)


def fit_length(chosen: Sequence[str], rejected: Sequence[str]) -> LengthScorer:
    """Decides whether longer or shorter is better by the majority of training pairs; an even split takes longer.

    Raises:
        DataError: no pairs, or lists of unequal length.
    """
    check_pairs(chosen, rejected, fewest=1)
    longer_wins = pair_values(lengths(chosen), lengths(rejected)).mean()
    return LengthScorer(direction=1 if longer_wins >= 0.5 else -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class NgramScorer:
    """A linear score of hashed, digit-masked word 1-3-grams.

    Attributes:
        coefficients: (FEATURES,) float64.
    """

    coefficients: Floats

    def score(self, texts: Sequence[str]) -> Floats:
        """(n,) float64 log-odds units; texts that differ in digits only score the same."""
        return np.asarray(ngram_features(texts) @ self.coefficients, dtype=np.float64)


def fit_ngrams(chosen: Sequence[str], rejected: Sequence[str], *, seed: int) -> NgramScorer:
    """Bradley-Terry logistic regression on the difference of n-gram vectors, chosen minus rejected, no intercept.

    Counts are scaled to unit length a text, so length itself is not a feature. Hashing needs no vocabulary, and the
    penalised problem is convex: the result depends on the pairs only, up to the solver's tolerance. `seed` decides
    which pairs are shown the other way round (label 0), which without an intercept leaves the objective as it is.

    Raises:
        DataError: fewer than two pairs, or lists of unequal length.
    """
    check_pairs(chosen, rejected, fewest=2)
    return NgramScorer(coefficients=fit_differences(ngram_features(chosen), ngram_features(rejected), seed))


def fit_differences(chosen: Any, rejected: Any, seed: int) -> Floats:
    """(features,) coefficients of `fit_ngrams` from (pairs, features) sparse rows of either side."""
    pairs = chosen.shape[0]
    labels = np.random.default_rng(seed).permutation(np.arange(pairs) % 2)
    signs = np.where(labels == 1, 1.0, -1.0)
    difference = (chosen - rejected).multiply(signs[:, None]).tocsr()
    model = LogisticRegression(C=INVERSE_PENALTY, fit_intercept=False, max_iter=ITERATIONS)
    model.fit(difference, labels)
    return np.asarray(model.coef_[0], dtype=np.float64)


def ngram_features(texts: Sequence[str], longest: int = LONGEST_NGRAM) -> Any:
    """(n, FEATURES) sparse float64 rows of unit length, or zero for a text without words; n-grams of 1 to `longest`."""
    vectorizer = HashingVectorizer(
        preprocessor=mask_digits,
        token_pattern=TOKENS,
        ngram_range=(1, longest),
        n_features=FEATURES,
        norm="l2",
        alternate_sign=False,
    )
    return vectorizer.transform(list(texts))


def lengths(texts: Sequence[str]) -> Floats:
    """(n,) characters."""
    return np.array([len(text) for text in texts], dtype=np.float64)


def check_pairs(chosen: Sequence[str], rejected: Sequence[str], *, fewest: int) -> None:
    """Refuse lists that do not pair up, or too few of them."""
    if len(chosen) != len(rejected):
        raise DataError(
            "every chosen text needs its rejected one", f"there are {len(chosen)} and {len(rejected)}", "pair them"
        )
    if len(chosen) < fewest:
        raise DataError(f"fitting needs {fewest} pairs or more", f"there are {len(chosen)}", "add training pairs")

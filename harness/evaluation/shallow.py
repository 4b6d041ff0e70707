"""Shallow reference scorers: what length and word habits alone achieve, from the same training pairs.

A reward model that does not beat them has learned style. The same scorers measure the separability of a pair set: where
they tell chosen from rejected almost always, pretraining on it would teach stylometry. Neither scorer ever sees the
prompt. Nothing here is saved; both fit in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from harness.errors import DataError
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

Floats = NDArray[np.float64]


def mask_digits(text: str) -> str:
    """Replaces each run of digits by one mark, so that no scorer can read a result off a number."""
    return DIGITS.sub(MASK, text)


@dataclass(frozen=True, kw_only=True)
class LengthScorer:
    """Scores a text by its length in characters, times `direction` (1: longer is better, -1: shorter)."""

    direction: int

    def score(self, texts: Sequence[str]) -> Floats:
        """(n,) float64 in characters."""
        return self.direction * _lengths(texts)


def fit_length(chosen: Sequence[str], rejected: Sequence[str]) -> LengthScorer:
    """Decides whether longer or shorter is better by the majority of training pairs; an even split takes longer.

    Raises:
        DataError: no pairs, or lists of unequal length.
    """
    _check_pairs(chosen, rejected, fewest=1)
    longer_wins = pair_values(_lengths(chosen), _lengths(rejected)).mean()
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
        return np.asarray(_ngram_features(texts) @ self.coefficients, dtype=np.float64)


def fit_ngrams(chosen: Sequence[str], rejected: Sequence[str], *, seed: int) -> NgramScorer:
    """Bradley-Terry logistic regression on the difference of n-gram vectors, chosen minus rejected, no intercept.

    Counts are scaled to unit length a text, so length itself is not a feature. Hashing needs no vocabulary, and the
    penalised problem is convex: the result depends on the pairs only, up to the solver's tolerance. `seed` decides
    which pairs are shown the other way round (label 0), which without an intercept leaves the objective as it is.

    Raises:
        DataError: fewer than two pairs, or lists of unequal length.
    """
    _check_pairs(chosen, rejected, fewest=2)
    return _fit_features(_ngram_features(chosen), _ngram_features(rejected), seed)


@dataclass(frozen=True, kw_only=True, eq=False)
class Separability:
    """Held-out pair values of the shallow scorers on chosen against rejected, each pair scored by a fit without it.

    Attributes:
        ngram_values, length_values: (pairs,) float64 of 1, 0.5 or 0; their intervals are made like any pair accuracy's.
        folds: how many fits.
    """

    ngram_values: Floats
    length_values: Floats
    folds: int

    @property
    def ngrams(self) -> float:
        """Held-out accuracy of the n-gram scorer; 0.5 is inseparable."""
        return float(self.ngram_values.mean())

    @property
    def length(self) -> float:
        """Held-out accuracy of the length scorer."""
        return float(self.length_values.mean())


def separability(
    chosen: Sequence[str], rejected: Sequence[str], *, folds: int, seed: int, clusters: ArrayLike | None = None
) -> Separability:
    """Cross-validated accuracy of the shallow scorers on a pair set.

    Args:
        chosen, rejected: the pairs' texts.
        folds: parts held out in turn, at least two.
        seed: of the assignment to folds.
        clusters: (pairs,) labels kept in one fold together, e.g. the prompt or source file; each pair its own if None.

    Raises:
        DataError: fewer clusters than folds, a training part of fewer than two pairs, or labels that do not fit.
    """
    _check_pairs(chosen, rejected, fewest=2)
    fold = _fold_of_pairs(len(chosen), folds, seed, clusters)
    chosen_features, rejected_features = _ngram_features(chosen), _ngram_features(rejected)
    chosen_lengths, rejected_lengths = _lengths(chosen), _lengths(rejected)
    longer_wins = pair_values(chosen_lengths, rejected_lengths)
    ngram_values, length_values = np.empty(len(chosen)), np.empty(len(chosen))
    for part in range(folds):
        train, held = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        if len(train) < 2:
            raise DataError("each fit needs two pairs", f"fold {part} leaves {len(train)}", "add pairs or clusters")
        scorer = _fit_features(chosen_features[train], rejected_features[train], seed)
        ngram_values[held] = pair_values(
            chosen_features[held] @ scorer.coefficients, rejected_features[held] @ scorer.coefficients
        )
        length_values[held] = longer_wins[held] if longer_wins[train].mean() >= 0.5 else 1 - longer_wins[held]
    return Separability(ngram_values=ngram_values, length_values=length_values, folds=folds)


def _fit_features(chosen: Any, rejected: Any, seed: int) -> NgramScorer:
    pairs = chosen.shape[0]
    labels = np.random.default_rng(seed).permutation(np.arange(pairs) % 2)
    signs = np.where(labels == 1, 1.0, -1.0)
    difference = (chosen - rejected).multiply(signs[:, None]).tocsr()
    model = LogisticRegression(C=INVERSE_PENALTY, fit_intercept=False, max_iter=ITERATIONS)
    model.fit(difference, labels)
    return NgramScorer(coefficients=np.asarray(model.coef_[0], dtype=np.float64))


def _ngram_features(texts: Sequence[str]) -> Any:
    """(n, FEATURES) sparse float64 rows of unit length, or zero for a text without words."""
    vectorizer = HashingVectorizer(
        preprocessor=mask_digits,
        token_pattern=TOKENS,
        ngram_range=(1, LONGEST_NGRAM),
        n_features=FEATURES,
        norm="l2",
        alternate_sign=False,
    )
    return vectorizer.transform(list(texts))


def _lengths(texts: Sequence[str]) -> Floats:
    return np.array([len(text) for text in texts], dtype=np.float64)


def _fold_of_pairs(pairs: int, folds: int, seed: int, clusters: ArrayLike | None) -> NDArray[np.int64]:
    """(pairs,) fold numbers; a cluster's pairs share one, and folds hold nearly equal numbers of clusters."""
    labels = np.arange(pairs) if clusters is None else np.asarray(clusters)
    if labels.shape != (pairs,):
        raise DataError("every pair needs a cluster label", f"{pairs} pairs have labels of shape {labels.shape}", "")
    found, index = np.unique(labels, return_inverse=True)
    if folds < 2 or len(found) < folds:
        raise DataError(
            "cross-validation needs two folds or more and a cluster for each",
            f"there are {folds} folds for {len(found)} clusters",
            "lower `folds` or add pairs",
        )
    return np.asarray(np.random.default_rng(seed).permutation(np.arange(len(found)) % folds)[index])


def _check_pairs(chosen: Sequence[str], rejected: Sequence[str], *, fewest: int) -> None:
    if len(chosen) != len(rejected):
        raise DataError(
            "every chosen text needs its rejected one", f"there are {len(chosen)} and {len(rejected)}", "pair them"
        )
    if len(chosen) < fewest:
        raise DataError(f"fitting needs {fewest} pairs or more", f"there are {len(chosen)}", "add training pairs")

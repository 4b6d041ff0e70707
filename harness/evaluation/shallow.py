"""Shallow reference scorers: what length and word habits alone achieve, from the same training pairs.

A reward model that does not beat them has learned style. `separability` asks the same of a pair set. Length and n-grams
never see the prompt; the overlap scorer compares numbers with it, and the source prior reads no text at all. Nothing
here is saved; all fit in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
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

NUMBER = re.compile(r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")
LONGEST_NUMBER = 300
"""Digits of a number that its size is read from: a float holds 308."""
OVERLAP_FEATURES = (
    *("characters", "lines", "words", "numbers", "different numbers"),
    *("numbers of the prompt", "share of the prompt's numbers", "new numbers", "last number is of the prompt"),
    *("last number came before", "last number against the prompt's largest"),
)
"""What `overlap_features` holds. Counts enter as log(1 + count): what matters is how many times as many there are."""


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


@dataclass(frozen=True, kw_only=True, eq=False)
class OverlapScorer:
    """A linear score of a response's shape and of the numbers that it shares with its prompt.

    Attributes:
        coefficients: (features,) float64, as `OVERLAP_FEATURES`.
    """

    coefficients: Floats

    def score(self, prompts: Sequence[str], texts: Sequence[str]) -> Floats:
        """(n,) float64 log-odds units."""
        return np.asarray(overlap_features(prompts, texts) @ self.coefficients, dtype=np.float64)


def fit_overlap(prompts: Sequence[str], chosen: Sequence[str], rejected: Sequence[str], *, seed: int) -> OverlapScorer:
    """`fit_ngrams` on `overlap_features`, each divided by the spread of its differences.

    Raises:
        DataError: as `fit_ngrams`.
    """
    check_pairs(chosen, rejected, fewest=2)
    right, wrong = overlap_features(prompts, chosen), overlap_features(prompts, rejected)
    spread = np.sqrt(((right - wrong) ** 2).mean(axis=0))
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    scaled = fit_differences(sparse.csr_matrix(right * scale), sparse.csr_matrix(wrong * scale), seed)
    return OverlapScorer(coefficients=scaled * scale)


def overlap_features(prompts: Sequence[str], texts: Sequence[str]) -> Floats:
    """(n, features) float64 of each text with its prompt, in the order of `OVERLAP_FEATURES`."""
    known: dict[str, tuple[frozenset[str], float]] = {}
    rows = np.zeros((len(texts), len(OVERLAP_FEATURES)))
    for row, prompt, text in zip(rows, prompts, texts, strict=True):
        if prompt not in known:
            found = numbers_in(prompt)
            known[prompt] = frozenset(found), max(map(_size, found), default=0.0)
        (asked, largest), stated = known[prompt], numbers_in(text)
        different = set(stated)
        counts = (len(text), text.count("\n"), len(text.split()), len(stated), len(different))
        row[:5] = np.log1p(counts)
        row[5] = np.log1p(len(different & asked))
        row[6] = len(different & asked) / len(asked) if asked else 0.0
        row[7] = np.log1p(len(different - asked))
        if stated:
            row[8:] = stated[-1] in asked, stated[-1] in stated[:-1], _size(stated[-1]) - largest
    return rows


def _size(number: str) -> float:
    """log(1 + number), of as many digits as a float holds."""
    return float(np.log1p(float(number[:LONGEST_NUMBER])))


def numbers_in(text: str) -> list[str]:
    """The numbers of a text in order, spelled alike: 1,000.50 is 1000.5 and 007 is 7."""
    found = []
    for match in NUMBER.findall(text):
        whole, point, part = match.replace(",", "").partition(".")
        part = part.rstrip("0")
        found.append((whole.lstrip("0") or "0") + (point + part if part else ""))
    return found


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

"""Other ways to pick among N candidates with a reward: freed of length, or by a vote that rewards weigh.

`best_of_n.py` has the pick of the highest reward, which this file feeds; it makes no interval either.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.evaluation import Floats
from harness.evaluation.best_of_n import SampledVote, checked_pool, checked_sizes

SAME_RESIDUAL = 9
"""Decimals of a residual, as a share of the largest distance from the mean reward: what is less is rounding, a tie."""

SAME_WEIGHT = 1e-9
"""Share of the leading answer's weight within which another ties with it: sums of equal weights differ in rounding."""


def residual_on_length(scores: ArrayLike, lengths: ArrayLike, where: str = "") -> Floats:
    """(n,) scores of one problem without what a straight line through length explains (least squares).

    Residuals are in units of the largest distance from the mean score and rounded, so that a score that is a line of
    length ties everywhere. Infinite scores stay as they are and do not enter the fit.

    Raises:
        DataError: a NaN score or unequal lengths.
    """
    values, _ = checked_pool(scores, np.zeros(len(np.asarray(scores))), where)
    sizes, finite = np.asarray(lengths, dtype=np.float64), np.isfinite(values)
    if not finite.any():
        return values
    centred = values[finite] - values[finite].mean()
    spread = sizes[finite] - sizes[finite].mean()
    scale, denominator = np.abs(centred).max(), spread @ spread
    if not scale:
        return np.where(finite, 0.0, values)
    centred = centred / scale
    slope = centred @ spread / denominator if denominator else 0.0
    found = values.copy()
    found[finite] = np.round(centred - slope * spread, SAME_RESIDUAL) + 0.0  # no negative zero
    return found


def weighted_vote(
    answers: Sequence[Hashable | None],
    scores: ArrayLike,
    correct: ArrayLike,
    sizes: Sequence[int],
    *,
    subsets: int,
    seed: int,
) -> SampledVote:
    """Expected accuracy of the answer with the largest sum of exp(reward) in a random N-subset, ties shared fairly.

    exp(reward) is what a Bradley-Terry reward says of a response's odds; adding a number to all rewards of a problem
    changes nothing, and equal rewards give the majority vote. Where a pool has at most `subsets` N-subsets all are
    counted and the error is 0; otherwise `subsets` random ones are, the first N of the same permutations for every N.

    Args:
        answers: (n,) None abstains, as in `majority_vote`; an answer counts as its right share.
        scores: (n,) rewards; in a subset with infinite ones, the largest alone count, with equal weights.
        subsets: at least two.
        seed: of the permutations, which so are the same for every scorer of a pool.

    Raises:
        DataError: as `best_of_n`.
    """
    values, labels = checked_pool(scores, correct)
    checked = checked_sizes(sizes, len(values))
    known: dict[Hashable, int] = {}
    numbers = np.array([-1 if one is None else known.setdefault(one, len(known)) for one in answers])
    stated = numbers >= 0
    right = np.bincount(numbers[stated], labels[stated], minlength=len(known))
    shares = right / np.bincount(numbers[stated], minlength=len(known))
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(len(values)), (subsets, 1)), axis=1)
    accuracy, error = np.zeros(len(checked)), np.zeros(len(checked))
    for at, size in enumerate(checked.tolist()):
        exact = math.comb(len(values), size) <= subsets
        drawn = np.array(list(combinations(range(len(values)), size))) if exact else orders[:, :size]
        found = _right_share(drawn, numbers, values, shares)
        accuracy[at] = found.mean()
        error[at] = 0.0 if exact else found.std(ddof=1) / math.sqrt(subsets)
    return SampledVote(accuracy=accuracy, standard_error=error)


def _right_share(drawn: NDArray[np.int64], numbers: NDArray[np.int64], scores: Floats, shares: Floats) -> Floats:
    """(subsets,) right share of the leading answers of each subset; 0 where none states an answer."""
    subsets, answers = len(drawn), len(shares)
    if not answers:
        return np.zeros(subsets)
    votes = np.where(numbers[drawn] >= 0, scores[drawn], -np.inf)
    top = votes.max(axis=1, keepdims=True)  # of each subset, so that no leader underflows
    with np.errstate(invalid="ignore"):
        weights = np.where(votes == top, 1.0, np.exp(votes - top))
    cells = np.where(numbers[drawn] >= 0, numbers[drawn] + answers * np.arange(subsets)[:, None], subsets * answers)
    cut = subsets * answers + 1
    totals = np.bincount(cells.ravel(), weights.ravel(), minlength=cut)[:-1].reshape(subsets, answers)
    stated = np.bincount(cells.ravel(), minlength=cut)[:-1].reshape(subsets, answers) > 0
    leads = stated & (totals >= totals.max(axis=1, keepdims=True) * (1 - SAME_WEIGHT))
    return np.asarray(leads @ shares / np.maximum(leads.sum(axis=1), 1), dtype=np.float64)

"""Best-of-N, pass@N and majority voting over a pool of candidates, as exact expectations over all N-subsets.

A pool holds the n candidate solutions of one problem. "Best of N" is what a policy sampled N times would get, so
every curve point is the mean over all C(n, N) subsets drawn without replacement: no random draw, and no candidate
counts more for standing first. Ties are broken fairly, uniformly among the tied. Selecting by another quantity is the
same function: the shortest solution is `best_of_n(-lengths, ...)`, the oracle `best_of_n(correct, ...)`.

This file scores nothing and knows no task; `statistics.py` makes intervals over problems.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import toeplitz

from harness.errors import DataError
from harness.evaluation import Floats
from harness.pipeline.evaluations.best_of_n import AREA_GRID, AREA_POOL_SHARE


def best_of_n(scores: ArrayLike, correct: ArrayLike, sizes: Sequence[int], where: str = "") -> Floats:
    """Expected accuracy of the top-scored candidate of a random N-subset.

    The candidate of ascending rank j is the best of a subset with probability C(j-1, N-1) / C(n, N); tied candidates
    share their group's mean correctness, which is what a uniform choice among the tied maxima gives. Costs
    O(n log n + n * sizes).

    Args:
        scores: (n,) higher is better; infinities are allowed, NaN is not.
        correct: (n,) true or 1 where the candidate solves the problem.
        sizes: the values of N, each between 1 and n.
        where: what errors call the pool.

    Returns:
        (len(sizes),) float64.

    Raises:
        DataError: a NaN score, unequal lengths, an empty pool, or an N larger than the pool.
    """
    values, labels = checked_pool(scores, correct, where)
    return _selection_weights(len(values), checked_sizes(sizes, len(values), where)) @ _tie_means(values, labels)


def best_of_n_pools(
    scores_by_problem: Sequence[ArrayLike], correct_by_problem: Sequence[ArrayLike], sizes: Sequence[int]
) -> Floats:
    """`best_of_n` of every problem; pools may differ in length.

    Returns:
        (problems, len(sizes)) float64, one row a problem, none left out.

    Raises:
        DataError: as `best_of_n`, naming the problem by its position.
    """
    pools = zip(scores_by_problem, correct_by_problem, strict=True)
    curves = [best_of_n(scores, correct, sizes, f"problem {at}") for at, (scores, correct) in enumerate(pools)]
    return np.array(curves).reshape(-1, len(sizes))


def pass_at_n(correct: ArrayLike, sizes: Sequence[int]) -> Floats:
    """Probability that a random N-subset holds a correct candidate: 1 - C(n-c, N) / C(n, N).

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374, eq. 1), as a running product.

    Returns:
        (len(sizes),) float64.
    """
    labels = _checked_labels(correct)
    length = len(labels)
    checked = checked_sizes(sizes, length)
    drawn = np.arange(checked.max())
    wrong_left = np.maximum(length - labels.sum() - drawn, 0.0)
    return 1.0 - np.cumprod(wrong_left / (length - drawn))[checked - 1]


def area_sizes(smallest_pool: int) -> tuple[int, ...]:
    """The N of the area for pools of this many candidates at least; () below 8, where there is no area."""
    return tuple(size for size in AREA_GRID if size * AREA_POOL_SHARE <= smallest_pool)


def fitting_sizes(listed: Sequence[int], smallest_pool: int) -> tuple[int, ...]:
    """The N of a curve, ascending: those of `listed` that every pool holds, and the area's. 1 if there is none."""
    fitting = {size for size in listed if size <= smallest_pool} | set(area_sizes(smallest_pool))
    return tuple(sorted(fitting or {1}))


def best_of_n_area(curves: ArrayLike, sizes: Sequence[int], smallest_pool: int) -> Floats | None:
    """Mean of Best-of-N over `area_sizes`; None for pools that are too small for one.

    Args:
        curves: (..., len(sizes)) accuracies, e.g. of `best_of_n_pools`.
        sizes: the N of each column, with all of `area_sizes` among them.
        smallest_pool: candidates in the smallest pool behind the curves.

    Returns:
        (...,) float64.
    """
    columns = [list(sizes).index(size) for size in area_sizes(smallest_pool)]
    return np.asarray(np.asarray(curves, dtype=np.float64)[..., columns].mean(axis=-1)) if columns else None


def majority_vote(answers: Sequence[Hashable | None], correct: ArrayLike, sizes: Sequence[int]) -> Floats:
    """Expected accuracy of the most frequent answer of a random N-subset, exact, ties shared fairly.

    For each winning count t the subsets are counted by a generating polynomial: an answer given m times contributes
    sum_{s<t} C(m, s) x^s, and C(m, t) x^t where it ties for the lead; the state is (votes drawn, answers in the lead,
    the leaders' right shares added up), and a state with j leaders counts that sum over j. Answers given fewer than t
    times can never lead and enter together as one binomial: at most n products of (2 leaders, N) by (N, N) matrices,
    N = max(sizes): measured 6 ms at n = 64, 15-80 ms at n = 256. All terms are positive, so nothing cancels.

    Args:
        answers: (n,) the answer of each candidate; None abstains: it takes a place in the subset and never leads, and
            a subset of abstentions only is wrong.
        correct: (n,) false for None. Where the labels of equal answers differ, an answer counts as its right share:
            whoever votes sees no label, so labels must not decide which answers are one.
        sizes: the values of N, each between 1 and n.

    Returns:
        (len(sizes),) float64.

    Raises:
        DataError: None labelled correct, N above the pool, or more subsets than float64 can count (about
            n = 1,029 at N = n/2; `majority_vote_sampled` has no such bound).
    """
    votes_of, shares, abstained = _answer_counts(answers, correct)
    length = len(answers)
    checked = checked_sizes(sizes, length)
    largest = int(checked.max())
    if math.comb(length, min(largest, length // 2)) > sys.float_info.max:
        raise DataError(
            "an exact majority vote needs a subset count within float64",
            f"C({length}, {largest}) is larger",
            "use majority_vote_sampled, or a smaller N",
        )
    winning = np.zeros(largest + 1)
    for votes in range(1, min(largest, max(votes_of[shares > 0].tolist(), default=0)) + 1):
        winning += _correct_leads(votes, votes_of, shares, abstained, largest)
    return np.array([winning[size] / math.comb(length, size) for size in checked.tolist()])


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledVote:
    """A majority-vote curve from sampled subsets: (sizes,) accuracy and its Monte-Carlo standard error."""

    accuracy: Floats
    standard_error: Floats


def majority_vote_sampled(
    answers: Sequence[Hashable | None], correct: ArrayLike, sizes: Sequence[int], *, subsets: int, seed: int
) -> SampledVote:
    """`majority_vote` over `subsets` random N-subsets (multivariate hypergeometric vote counts), for very large pools.

    Ties still share exactly, so the only error is the sampling of subsets, returned as a standard error.

    Raises:
        DataError: as `majority_vote` (without its bound), or fewer than two subsets.
    """
    if subsets < 2:
        raise DataError("a Monte-Carlo error needs two subsets or more", f"`subsets` is {subsets}", "raise it")
    votes_of, right_shares, abstained = _answer_counts(answers, correct)
    generator = np.random.default_rng(seed)
    shares = np.zeros((len(sizes), subsets))
    for row, size in enumerate(checked_sizes(sizes, len(answers)).tolist()):
        votes = generator.multivariate_hypergeometric([*votes_of, abstained], size, subsets, method="marginals")
        votes = votes[:, :-1]
        leads = (votes == votes.max(axis=1, keepdims=True, initial=0)) & (votes > 0)
        shares[row] = leads @ right_shares / np.maximum(leads.sum(axis=1), 1)
    return SampledVote(
        accuracy=shares.mean(axis=1), standard_error=shares.std(axis=1, ddof=1) / np.sqrt(float(subsets))
    )


def checked_errors(errors: ArrayLike, labels: Floats, where: str = "") -> NDArray[np.bool_]:
    """(n,) bool mask of wrong candidates of one error class; raises DataError if it does not fit the (n,) labels."""
    mask = np.asarray(errors)
    if mask.dtype != np.bool_ or mask.shape != labels.shape:
        raise DataError(
            "an error mask needs one bool for each candidate",
            f"it is {mask.dtype} of shape {mask.shape} for {len(labels)} candidates",
            "pass a boolean array in candidate order",
            where,
        )
    if (mask & (labels > 0)).any():
        raise DataError(
            "an error mask may mark wrong candidates only",
            f"it marks {int((mask & (labels > 0)).sum())} correct ones",
            "give error types to wrong candidates only",
            where,
        )
    return mask


def _selection_weights(length: int, sizes: NDArray[np.int64]) -> Floats:
    """(sizes, n) probability that the candidate of ascending rank j is the best of an N-subset.

    Runs from the top rank, N / n, downwards by the ratio (j - N) / (j - 1): all factors are positive, so neither
    overflow nor cancellation occurs, and the tail underflows to the zero it is.
    """
    ranks = np.arange(length, 1, -1)
    ratios = np.maximum(ranks - sizes[:, None], 0) / (ranks - 1)
    descending = np.cumprod(np.concatenate([(sizes / length)[:, None], ratios], axis=1), axis=1)
    weights = descending[:, ::-1]
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _tie_means(scores: Floats, labels: Floats) -> Floats:
    """(n,) labels in ascending score order, each replaced by the mean of its group of equal scores."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(starts, len(ordered)))
    return np.repeat(np.add.reduceat(labels[order], starts) / lengths, lengths)


def _correct_leads(votes: int, counts: NDArray[np.int64], shares: Floats, abstained: int, largest: int) -> Floats:
    """(largest + 1,) by size: subsets led with exactly `votes` votes, weighted by the correct share of leaders."""
    contending = counts >= votes
    contenders = list(zip(counts[contending].tolist(), shares[contending].tolist(), strict=True))
    also_ran = abstained + int(counts[~contending].sum())
    leaders = min(len(contenders), largest // votes)
    state = np.zeros((2, leaders + 1, largest + 1))
    state[0, 0] = [math.comb(also_ran, drawn) for drawn in range(largest + 1)]
    kept = largest + 1 - votes
    for count, share in contenders:
        below = np.zeros(largest + 1)
        below[:votes] = [math.comb(count, drawn) for drawn in range(votes)]
        first_column = np.zeros(largest + 1)
        first_column[0] = below[0]
        extended = state @ toeplitz(first_column, below)
        ways = float(math.comb(count, votes))
        extended[:, 1:, votes:] += ways * state[:, :-1, :kept]
        if share:
            extended[1, 1:, votes:] += share * ways * state[0, :-1, :kept]
        state = extended
    return np.asarray((state[1, 1:] / np.arange(1, leaders + 1)[:, None]).sum(axis=0))


def _answer_counts(answers: Sequence[Hashable | None], correct: ArrayLike) -> tuple[NDArray[np.int64], Floats, int]:
    """How often each answer occurs, in order of first appearance; the right share of each; and how often None does."""
    labels = _checked_labels(correct)
    if len(labels) != len(answers):
        raise DataError(
            "every answer needs a label", f"there are {len(answers)} answers and {len(labels)} labels", "pass both"
        )
    counts = Counter(answers)
    right = Counter(answer for answer, label in zip(answers, labels.tolist(), strict=True) if label)
    if right[None]:
        raise DataError("no answer (None) is wrong", "None is labelled correct", "grade answers before voting")
    abstained = counts.pop(None, 0)
    shares = [right[answer] / count for answer, count in counts.items()]
    return np.array(list(counts.values()), dtype=np.int64), np.array(shares, dtype=np.float64), abstained


def _checked_labels(correct: ArrayLike, where: str = "") -> Floats:
    labels = np.asarray(correct, dtype=np.float64)
    if labels.ndim != 1 or not len(labels):
        raise DataError("a pool needs at least one candidate", f"its labels have shape {labels.shape}", "", where)
    if not np.isin(labels, (0.0, 1.0)).all():
        raise DataError("labels must be true or false", "others were found", "grade every candidate", where)
    return labels


def checked_pool(scores: ArrayLike, correct: ArrayLike, where: str = "") -> tuple[Floats, Floats]:
    """(n,) scores and 0/1 labels of one pool as float64; raises DataError on NaN, other labels or unequal lengths."""
    labels = _checked_labels(correct, where)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != labels.shape:
        raise DataError(
            "every candidate needs one score and one label",
            f"scores have shape {values.shape} and labels {labels.shape}",
            "score the whole pool",
            where,
        )
    if np.isnan(values).any():
        raise DataError(
            "scores must be numbers",
            f"{int(np.isnan(values).sum())} of {len(values)} are NaN",
            "look at the checkpoint that produced them",
            where,
        )
    return values, labels


def checked_sizes(sizes: Sequence[int], length: int, where: str = "") -> NDArray[np.int64]:
    """(sizes,) the values of N; raises DataError where one is no number between 1 and the pool's length."""
    wanted = np.asarray(sizes)
    if wanted.ndim != 1 or not len(wanted) or not np.issubdtype(wanted.dtype, np.integer) or wanted.min() < 1:
        raise DataError("N must be positive whole numbers", f"it is {sizes!r}", "list at least one", where)
    if wanted.max() > length:
        raise DataError(
            "N must not exceed the candidate pool",
            f"asked for the best of {wanted.max()} of {length} candidates",
            "sample more candidates or lower N",
            where,
        )
    return wanted.astype(np.int64)

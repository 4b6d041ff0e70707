"""How often a scorer ranks the right response above the wrong one; a tie counts half.

Covers preference pairs (chosen, rejected) and the pairs inside candidate pools. Makes no interval: the per-pair and
per-problem values go to `statistics.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import DataError
from harness.evaluation.best_of_n import checked_errors, checked_pool

Floats = NDArray[np.float64]


def pair_values(chosen: ArrayLike, rejected: ArrayLike) -> Floats:
    """(pairs,) float64: 1 where the chosen response scores higher, 0.5 on a tie, 0 otherwise.

    Raises:
        DataError: no pairs, unequal lengths or NaN scores.
    """
    better, worse = _checked_pairs(chosen, rejected)
    return np.asarray((better > worse) + 0.5 * (better == worse), dtype=np.float64)


def pair_accuracy(chosen: ArrayLike, rejected: ArrayLike) -> float:
    """Mean of `pair_values`."""
    return float(pair_values(chosen, rejected).mean())


def margin_mean(chosen: ArrayLike, rejected: ArrayLike) -> float:
    """Mean of chosen minus rejected reward, in the scorer's own units."""
    better, worse = _checked_pairs(chosen, rejected)
    return float((better - worse).mean())


@dataclass(frozen=True, kw_only=True, eq=False)
class RightOverWrong:
    """P(score of a right candidate > score of a wrong one) inside each problem.

    Attributes:
        accuracy: (problems,) float64, NaN where a problem has no such pair.
        pairs: (problems,) int64, right times wrong candidates; the accuracy's denominator.
    """

    accuracy: Floats
    pairs: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean over the problems that have pairs, each problem counting once."""
        if not self.pairs.any():
            raise DataError("a mean needs a problem with right and wrong candidates", "none has both", "add problems")
        return float(self.accuracy[self.pairs > 0].mean())


def right_over_wrong_pools(
    scores_by_problem: Sequence[ArrayLike],
    correct_by_problem: Sequence[ArrayLike],
    errors_by_problem: Sequence[ArrayLike] | None = None,
) -> RightOverWrong:
    """Pairwise accuracy inside each candidate pool, ties half (the Mann-Whitney statistic of right against wrong).

    Args:
        scores_by_problem, correct_by_problem: (n,) a problem; lengths may differ between problems.
        errors_by_problem: (n,) bool a problem; if given, only the wrong candidates it marks are compared, so that seen
            and unseen error types are reported apart. It does not depend on how many of either the pool holds.

    Raises:
        DataError: NaN scores, unequal lengths, or a mask that marks a correct candidate.
    """
    problems = len(scores_by_problem)
    accuracy = np.full(problems, np.nan)
    pairs = np.zeros(problems, dtype=np.int64)
    for problem, (scores, correct) in enumerate(zip(scores_by_problem, correct_by_problem, strict=True)):
        values, labels = checked_pool(scores, correct, f"problem {problem}")
        compared = labels == 0
        if errors_by_problem is not None:
            compared = checked_errors(errors_by_problem[problem], labels, f"problem {problem}")
        right, wrong = values[labels > 0], np.sort(values[compared])
        pairs[problem] = len(right) * len(wrong)
        if pairs[problem]:
            below = np.searchsorted(wrong, right, side="left").sum()
            not_above = np.searchsorted(wrong, right, side="right").sum()
            accuracy[problem] = (below + not_above) / (2 * pairs[problem])
    return RightOverWrong(accuracy=accuracy, pairs=pairs)


def source_balanced_accuracy(
    scores_by_problem: Sequence[ArrayLike],
    correct_by_problem: Sequence[ArrayLike],
    sources_by_problem: Sequence[Sequence[str]],
) -> float:
    """Pairwise accuracy in mixed pools, balanced so that knowing only who wrote a candidate gives exactly 0.5.

    For every two sources a and b, P(s_a > s_b | a right, b wrong) and P(s_b > s_a | b right, a wrong) are averaged with
    equal weight, pairs taken inside problems and pooled over them; the source pairs are then averaged with the harmonic
    mean of their two pair counts as weight. Pairs of one source with itself are left out.

    Raises:
        DataError: as `right_over_wrong_pools`, or no two sources err on each other's solved problems.
    """
    wins: defaultdict[tuple[str, str], float] = defaultdict(float)
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    pools = zip(scores_by_problem, correct_by_problem, sources_by_problem, strict=True)
    for problem, (scores, correct, sources) in enumerate(pools):
        values, labels = checked_pool(scores, correct, f"problem {problem}")
        if len(sources) != len(values):
            raise DataError("every candidate needs a source", f"{len(sources)} name one of {len(values)}", "name all")
        for right in np.flatnonzero(labels).tolist():
            for wrong in np.flatnonzero(labels == 0).tolist():
                couple = (sources[right], sources[wrong])
                wins[couple] += float(values[right] > values[wrong]) + 0.5 * float(values[right] == values[wrong])
                counts[couple] += 1
    total = weight_sum = 0.0
    for first, second in sorted(counts):
        there, back = counts[first, second], counts.get((second, first), 0)
        if first < second and back:
            weight = 2 * there * back / (there + back)
            total += weight * (wins[first, second] / there + wins[second, first] / back) / 2
            weight_sum += weight
    if not weight_sum:
        raise DataError(
            "source balance needs two sources that are each right where the other is wrong",
            "no two are",
            "use pools with more sources or more problems",
        )
    return total / weight_sum


def _checked_pairs(chosen: ArrayLike, rejected: ArrayLike) -> tuple[Floats, Floats]:
    better, worse = np.asarray(chosen, dtype=np.float64), np.asarray(rejected, dtype=np.float64)
    if better.ndim != 1 or better.shape != worse.shape or not len(better):
        raise DataError(
            "pair accuracy needs one chosen and one rejected score for each pair",
            f"their shapes are {better.shape} and {worse.shape}",
            "score every pair",
        )
    if np.isnan(better).any() or np.isnan(worse).any():
        bad = int((np.isnan(better) | np.isnan(worse)).sum())
        raise DataError("scores must be numbers", f"{bad} of {len(better)} pairs hold a NaN", "look at the checkpoint")
    return better, worse

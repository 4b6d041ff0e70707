"""How often a scorer ranks the right response above the wrong one; a tie counts half.

Covers preference pairs (chosen, rejected) and the pairs inside candidate pools. Makes no interval: the per-pair and
per-problem values go to `statistics.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import DataError
from harness.evaluation import Floats
from harness.evaluation.best_of_n import checked_errors, checked_pool


def pair_values(chosen: ArrayLike, rejected: ArrayLike) -> Floats:
    """(pairs,) float64: 1 where the chosen response scores higher, 0.5 on a tie, 0 otherwise.

    Raises:
        DataError: no pairs, unequal lengths or NaN scores.
    """
    better, worse = _checked_pairs(chosen, rejected)
    return np.asarray((better > worse) + 0.5 * (better == worse), dtype=np.float64)


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

"""How often a scorer ranks the right response above the wrong one; a tie counts half.

Covers preference pairs (chosen, rejected) and the pairs inside candidate pools, also balanced over who wrote them and
apart by length. Makes no interval: the per-pair and per-problem values go to `statistics.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import DataError
from harness.evaluation import Floats
from harness.evaluation.best_of_n import checked_errors, checked_pool
from harness.evaluation.ratios import ratio_values
from harness.pipeline.evaluations.pair_accuracy import ABOUT_EQUAL


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
        right, wrong = values[labels > 0], values[compared]
        pairs[problem] = len(right) * len(wrong)
        if pairs[problem]:
            accuracy[problem] = _beaten(right, wrong).sum() / pairs[problem]
    return RightOverWrong(accuracy=accuracy, pairs=pairs)


def length_bins(chosen: ArrayLike, rejected: ArrayLike) -> dict[str, NDArray[np.bool_]]:
    """{"longer", "equal", "shorter"}: (pairs,) masks of what the chosen side is, by characters.

    Equal: the longer side has at most `ABOUT_EQUAL` times the characters of the shorter one.
    """
    ours, theirs = np.asarray(chosen, dtype=np.float64), np.asarray(rejected, dtype=np.float64)
    longer, shorter = ours > ABOUT_EQUAL * theirs, theirs > ABOUT_EQUAL * ours
    return {"longer": longer, "equal": ~longer & ~shorter, "shorter": shorter}


@dataclass(frozen=True, kw_only=True, eq=False)
class Couples:
    """Comparisons of a right with a wrong response, gathered by unit and by who wrote them. All are (couples,).

    Attributes:
        unit: the problem or pair that the comparisons are of, from 0.
        right, wrong: who wrote the right and the wrong response, as numbers from 0; -1 is unknown.
        count: how many comparisons.
        wins: those that the right response wins, ties half.
    """

    unit: NDArray[np.int64]
    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    count: Floats
    wins: Floats


def pool_couples(
    scores_by_problem: Sequence[ArrayLike],
    correct_by_problem: Sequence[ArrayLike],
    sources_by_problem: Sequence[ArrayLike],
) -> Couples:
    """Every right against every wrong candidate of a problem.

    Raises:
        DataError: as `right_over_wrong_pools`.
    """
    rows: list[tuple[float, ...]] = []
    pools = zip(scores_by_problem, correct_by_problem, sources_by_problem, strict=True)
    for problem, (scores, correct, sources) in enumerate(pools):
        values, labels = checked_pool(scores, correct, f"problem {problem}")
        names, right = np.asarray(sources, dtype=np.int64), labels > 0
        writers, at = np.unique(names[right], return_inverse=True)
        for other in np.unique(names[~right]).tolist() if len(writers) else ():
            beaten = _beaten(values[right], values[~right & (names == other)])
            counts = np.bincount(at) * int((~right & (names == other)).sum())
            wins = np.bincount(at, beaten)
            couples = zip(writers.tolist(), counts.tolist(), wins.tolist(), strict=True)
            rows += [(problem, writer, other, count, won) for writer, count, won in couples]
    unit, writer, other, count, won = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return Couples(
        unit=unit.astype(np.int64), right=writer.astype(np.int64), wrong=other.astype(np.int64), count=count, wins=won
    )


def _beaten(right: Floats, wrong: Floats) -> Floats:
    """(right,) how many of the wrong scores lie below each, ties half."""
    ordered = np.sort(wrong)
    below, not_above = (np.searchsorted(ordered, right, side=side) for side in ("left", "right"))
    return np.asarray((below + not_above) / 2, dtype=np.float64)


def source_balanced(couples: Couples, units: int) -> Floats | None:
    """Accuracy balanced so that knowing only who wrote a response gives exactly 0.5, as one value a unit.

    For every two sources a and b, P(s_a > s_b | a right, b wrong) and P(s_b > s_a | b right, a wrong) are averaged with
    equal weight, and the couples of sources with the harmonic mean of their two counts as weight. One comparison of a
    right a with a wrong b so weighs n_ba / (n_ab + n_ba). Comparisons of a source with itself, with an unknown one, or
    with one that never errs where the other is right, weigh nothing.

    Returns:
        (units,) float64 as `ratio_values`, NaN where a unit has no comparison that weighs; None where none has.
    """
    known = (couples.right >= 0) & (couples.wrong >= 0) & (couples.right != couples.wrong)
    sources = int(max(couples.right.max(initial=-1), couples.wrong.max(initial=-1))) + 1
    there = np.zeros((sources, sources))
    np.add.at(there, (couples.right[known], couples.wrong[known]), couples.count[known])
    share = np.divide(there.T, there + there.T, out=np.zeros_like(there), where=there > 0)
    weight = np.where(known, share[couples.right, couples.wrong], 0.0) if sources else np.zeros(len(known))
    return ratio_values(
        np.bincount(couples.unit, weight * couples.wins, minlength=units),
        np.bincount(couples.unit, weight * couples.count, minlength=units),
    )


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

"""Where a reward model fails on candidate pools: arrays of rewards in, one value a problem out.

Rewards of a problem are (n,) finite numbers, in the model's own units: only what a model prefers within a problem means
anything, so everything here is of one problem, and seeds are put on one scale by `spread`. `stages/failures.py` makes
intervals of the values; nothing here decides what a report prints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from harness.evaluation import Floats

MOST_COUPLES = 4_000_000
"""Of right and wrong candidates over all problems whose margins are held at once: 32 MB a copy."""

FEWEST_COUPLES = 64
"""Kept of a problem, however many problems there are."""

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Limits of the bins of a reliability table: how sure a model is of the candidate that it prefers of two."""

DIFFICULTIES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Limits of the bins of problems by the share of their candidates that is right, upper limits included."""

LARGEST_SCALE = 1e3
"""A temperature lies between the rewards' own scale divided and multiplied by this."""

_MARKUP = re.compile(r"(?m)^[ \t]{0,8}(?:#{1,6} |[-*+] |\d{1,3}[.)] |> |\||```)")

FEATURES = ("characters", "lines", "digits", "markdown")
"""Of a text: its length, lines, the share of its characters that are digits, and of its lines that begin as a heading,
list item, quote, table row or fence."""


def features(texts: Sequence[str]) -> Floats:
    """(`FEATURES`, n) of texts."""
    lines = [text.count("\n") + 1 for text in texts]
    digits = [sum(map(str.isdigit, text)) / max(1, len(text)) for text in texts]
    marked = [len(_MARKUP.findall(text)) / number for text, number in zip(texts, lines, strict=True)]
    return np.array([[len(text) for text in texts], lines, digits, marked], dtype=np.float64)


def rank_correlations(rewards: Floats, described: Floats) -> Floats:
    """Spearman's correlation of (runs, n) rewards with (features, n) of the same candidates, ties at their mean rank.

    Returns:
        (runs, features): 0 where the rewards are all equal, NaN where the feature is.
    """
    ours, theirs = (stats.rankdata(one, axis=1) for one in (rewards, described))
    ours, theirs = (one - one.mean(axis=1, keepdims=True) for one in (ours, theirs))
    scale = np.sqrt((ours**2).sum(axis=1))[:, None] * np.sqrt((theirs**2).sum(axis=1))
    found = np.divide(ours @ theirs.T, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(theirs.any(axis=1), found, np.nan)


def spread(pools: Sequence[Floats]) -> float:
    """The standard deviation of rewards within problems, every problem alike; 1 where all are equal."""
    return float(np.sqrt(np.mean([pool.var() for pool in pools]))) or 1.0


def picked(rewards: Floats) -> Floats:
    """(n,) how much of the pick each candidate is: 1 for the top one, shared where several have the highest reward."""
    top = rewards == rewards.max()
    return np.asarray(top / top.sum(), dtype=np.float64)


def margins(rewards: Floats, correct: NDArray[np.bool_], most: int) -> Floats:
    """Rewards of right candidates minus rewards of wrong ones, every right against every wrong one.

    Where there are more than `most`, both sides are thinned to evenly spaced order statistics.
    """
    right, wrong = np.sort(rewards[correct]), np.sort(rewards[~correct])
    if len(right) * len(wrong) > most:
        fewer = min(len(right), len(wrong))
        kept = max(1, min(fewer, int(np.sqrt(most))))
        right, wrong = (_thinned(one, kept if len(one) == fewer else most // kept) for one in (right, wrong))
    return np.asarray((right[:, None] - wrong[None, :]).ravel(), dtype=np.float64)


def _thinned(ordered: Floats, most: int) -> Floats:
    if len(ordered) <= most:
        return ordered
    places = (np.arange(most) + 0.5) * len(ordered) / most
    return ordered[places.astype(np.int64)]


def couples_a_problem(problems: int) -> int:
    """How many margins of each problem are held."""
    return max(FEWEST_COUPLES, MOST_COUPLES // max(1, problems))


def quantiles(margins_by_problem: Sequence[Floats], at: Sequence[float]) -> Floats:
    """(at,) quantiles of margins, every problem with the same weight: the smallest value that reaches the share."""
    flat = np.concatenate(margins_by_problem)
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in margins_by_problem])
    order = np.argsort(flat, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    return np.asarray(flat[order][np.minimum(np.searchsorted(reached, np.array(at) - 1e-12), len(flat) - 1)])


# -------------------------------------------------------------------------------------------------- calibration


def temperature(margins_by_problem: Sequence[Floats]) -> float:
    """The T that maximises the likelihood of sigmoid(margin / T), every problem with the same weight.

    The mean of log(1 + exp(-b margin)) is convex in b = 1 / T, so its slope has one root or none; without one, the
    limit of `LARGEST_SCALE` is returned: the margins say nothing of the labels, or are never wrong.
    """
    flat = np.concatenate(margins_by_problem)
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in margins_by_problem])
    scale = float(np.average(np.abs(flat), weights=weights)) or 1.0

    def slope(log_b: float) -> float:
        b = np.exp(log_b) / scale
        return -float(np.average(flat / scale * special.expit(-b * flat), weights=weights))

    low, high = -np.log(LARGEST_SCALE), np.log(LARGEST_SCALE)
    if slope(low) >= 0:
        return scale * LARGEST_SCALE
    if slope(high) <= 0:
        return scale / LARGEST_SCALE
    return float(scale / np.exp(optimize.brentq(slope, low, high, xtol=1e-10)))


def reliability(margins_by_problem: Sequence[Floats], scale: float) -> tuple[Floats, Floats, Floats]:
    """Of the preferences of two candidates, by how sure the model is: sigmoid(|margin| / scale).

    Returns:
        (bins, problems) each: the share of a problem's couples, their summed confidence and how many are preferred
        rightly (a tie is half), all divided by the problem's couples.
    """
    shape = (len(CONFIDENCES) - 1, len(margins_by_problem))
    weight, sure, right = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for at, margin in enumerate(margins_by_problem):
        confidence = special.expit(np.abs(margin) / scale)
        of_bin = np.clip(np.searchsorted(CONFIDENCES, confidence, side="right") - 1, 0, shape[0] - 1)
        for table, values in (
            (weight, np.ones(len(margin))),
            (sure, confidence),
            (right, np.sign(margin) / 2 + 0.5),
        ):
            table[:, at] = np.bincount(of_bin, weights=values, minlength=shape[0]) / len(margin)
    return weight, sure, right


# ----------------------------------------------------------------------------------------------------- failures


def difficulty(correct: NDArray[np.bool_]) -> int | None:
    """The bin of a problem by the share of its candidates that is right; None where all or none are."""
    share = float(correct.mean())
    return None if share in (0.0, 1.0) else int(np.searchsorted(DIFFICULTIES[1:], share))


FREQUENCIES = ("most frequent", "repeated", "unique", "none stated")


def frequency(classes: Sequence[int | None]) -> NDArray[np.int64]:
    """(n,) how frequent each candidate's final answer is in its pool, as a place in `FREQUENCIES`.

    An answer that leads alone or together with others is the most frequent one, unless no answer occurs twice.
    """
    numbers = np.array([-1 if one is None else one for one in classes])
    counts = np.bincount(numbers[numbers >= 0], minlength=1)
    of_each = np.where(numbers >= 0, counts[numbers], 0)
    kinds = np.where(of_each == 1, 2, np.where(of_each == counts.max(), 0, 1))
    return np.asarray(np.where(numbers < 0, 3, kinds), dtype=np.int64)


def disagreement(first: Floats, second: Floats) -> Floats:
    """The chance that one of two picks is right and the other wrong, of (problems,) chances that each is right."""
    return first * (1 - second) + second * (1 - first)


# ------------------------------------------------------------------------------------------------------- alarms


def drop_from_peak(curves: Floats, clusters: Sequence[str], seed: int) -> Floats | None:
    """Best-of-N at the largest N minus at the N of the peak, which is looked for on other problems.

    The highest of several noisy points lies too high, so a peak found and tested on the same problems seems to be
    followed by a drop in 15 % of cases at a nominal 5 %. Half of the clusters choose for the other half, both ways.

    Args:
        curves: (runs, problems, sizes), by rising N.

    Returns:
        (runs, problems); None with fewer than four clusters.
    """
    labels, index = np.unique(np.asarray(clusters), return_inverse=True)
    if len(labels) < 4:
        return None
    half = np.random.default_rng(seed).permutation(len(labels)) < len(labels) // 2
    values = np.empty(curves.shape[:2])
    for side in (half[index], ~half[index]):
        peak = int(np.round(curves[:, ~side].mean(axis=(0, 1)), 12).argmax())  # of a flat curve the first
        values[:, side] = curves[:, side, -1] - curves[:, side, peak]
    return values

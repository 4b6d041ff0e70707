"""How far a judge agrees with the labels of preference pairs, with intervals, a control and a decision.

A judge's value on a pair is 1 where it agrees with the label, 0.5 on a tie and 0 where it does not. Two means are
reported: of all judged pairs with ties as half, and of those on which the judge has a preference. The decision rests on
the latter: a judge that cannot tell two sides apart says nothing against their label, and where it can hardly ever
tell, the interval is wide and nothing is decided.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.evaluation.statistics import cluster_bootstrap_mean

Verdict = Literal["passes", "fails", "undecided"]

CONTROL = 1
"""Draws the control's coins from a stream of their own: labels may have been turned with the same seed before."""

FEWEST_PREFERRING = 100
"""Pairs with a preference below which nothing is decided: so few may all agree by luck, and show no spread."""


def estimate(values: ArrayLike, clusters: ArrayLike, *, seed: int) -> dict[str, Any]:
    """The mean over pairs with its cluster-bootstrap interval, as JSON data. NaN values are left out.

    Returns:
        `estimate`, `low` and `high`: None for all without pairs, for the limits with fewer than two clusters.
    """
    column, labels = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    known = ~np.isnan(column)
    if not known.any():
        return {"estimate": None, "low": None, "high": None}
    if len(np.unique(labels[known])) < 2:
        return {"estimate": float(np.nanmean(column)), "low": None, "high": None}
    interval = cluster_bootstrap_mean(column[known], labels[known], seed=seed, covers="pairs, by cluster")
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def verdict(low: float | None, high: float | None, minimum: float) -> Verdict:
    """`passes` if the whole interval is at or above the minimum, `fails` if it is below, else `undecided`."""
    if low is None or high is None:
        return "undecided"
    if low >= minimum:
        return "passes"
    return "fails" if high < minimum else "undecided"


def consistency(agreement: ArrayLike, clusters: ArrayLike, *, minimum: float, seed: int) -> dict[str, Any]:
    """A judge's agreement with the labels, as JSON data.

    Args:
        agreement: (pairs,) 1, 0.5 or 0; NaN where the judge gave no answer.
        clusters: (pairs,) what resampling keeps together.
        minimum: the agreement required.
        seed: of the resampling and of the shuffled labels.

    Returns:
        `judged` and `preferring` pairs, `agreement` (ties half), `of_preferring`, `shuffled` (the same judge on labels
        turned round by a coin, preferring pairs only: 0.5 within its interval unless something here is wrong) and the
        `verdict`.
    """
    values = np.asarray(agreement, dtype=np.float64)
    prefers = np.where(values == 0.5, np.nan, values)
    of_preferring = estimate(prefers, clusters, seed=seed)
    preferring = int((~np.isnan(prefers)).sum())
    enough = preferring >= FEWEST_PREFERRING
    return {
        "judged": int((~np.isnan(values)).sum()),
        "preferring": preferring,
        "agreement": estimate(values, clusters, seed=seed),
        "of_preferring": of_preferring,
        "shuffled": estimate(shuffled(prefers, seed), clusters, seed=seed),
        "verdict": verdict(of_preferring["low"], of_preferring["high"], minimum) if enough else "undecided",
    }


def shuffled(agreement: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Agreement with labels that a coin turned round."""
    turned = np.random.default_rng([seed, CONTROL]).random(len(agreement)) < 0.5
    return np.where(turned, 1 - agreement, agreement)


def overall(verdicts: list[Verdict]) -> Verdict:
    """`fails` if a judge's does, `passes` if one does and none fails, else `undecided`."""
    if "fails" in verdicts:
        return "fails"
    return "passes" if "passes" in verdicts else "undecided"

"""pool_baselines: what a pool gives without any scorer: a random pick, the majority vote,
the shortest and the longest response, and the oracle (pass@N)."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.best_of_n import (
    area_sizes,
    best_of_n_area,
    best_of_n_pools,
    fitting_sizes,
    majority_vote,
    majority_vote_sampled,
    pass_at_n,
)
from harness.pipeline.evaluations.best_of_n import POOL_BASELINES
from harness.stages.context import StageContext
from harness.stages.pools import Pool, Values, left_out, read_pools
from harness.store.artifacts import Candidates, ProblemValues
from harness.tasks.grading import answer_classes, compared_as_text
from harness.tasks.task import stream

BASELINES = ("mean", "majority", "shortest", "longest", "oracle")

SUBSETS = 10_000
"""Sampled for the majority vote of a pool with too many subsets: a standard error of .005 a problem at most."""


def run(context: StageContext) -> dict[str, Any]:
    """Each baseline at every N, as metrics `<baseline>/bon@N` and `<baseline>/area`."""
    spec = POOL_BASELINES.read(context.spec)
    pools = read_pools(context.input("candidates", Candidates))
    problems, clusters = [pool.problem for pool in pools], [pool.cluster for pool in pools]
    smallest = min(len(pool.correct) for pool in pools)
    sizes = fitting_sizes(spec.n, smallest)
    contradictions = unread = 0
    correct = [pool.correct for pool in pools]
    curves = {
        "mean": np.array([[pool.correct.mean()] * len(sizes) for pool in pools]),
        "shortest": best_of_n_pools([[-len(text) for text in pool.texts] for pool in pools], correct, sizes),
        "longest": best_of_n_pools([[len(text) for text in pool.texts] for pool in pools], correct, sizes),
        "oracle": np.array([pass_at_n(pool.correct, sizes) for pool in pools]),
    }
    if any(answer is not None for pool in pools for answer in pool.answers):
        classes = [answer_classes(pool.answers) for pool in pools]
        curves["majority"] = np.array(
            [_vote(pool, of_pool, sizes) for pool, of_pool in zip(pools, classes, strict=True)]
        )
        unread = sum(compared_as_text(pool.answers) for pool in pools)
        contradictions = sum(_contradicts(pool, of_pool) for pool, of_pool in zip(pools, classes, strict=True))
    else:
        context.warn("no candidate of the pool states an answer, so there is no majority vote")
    values = Values(context)
    for name in (name for name in BASELINES if name in curves):
        for column, size in enumerate(sizes):
            values.add(f"{name}/bon@{size}", problems, clusters, curves[name][:, column])
        area = best_of_n_area(curves[name], sizes, smallest)
        if area is not None:
            values.add(f"{name}/area", problems, clusters, area)
    values.write(ProblemValues(context.directory))
    missing = left_out(spec.n, smallest)
    if missing:
        context.warn(
            f"one problem has {smallest:,} candidates: N = {', '.join(map(str, missing))} left out for this task"
        )
    if not area_sizes(smallest):
        context.warn(f"one problem has {smallest:,} candidates and the BoN area needs 8: there is none for this task")
    if contradictions:
        context.warn(f"in {contradictions:,} of {len(pools):,} problems equal answers are labelled right and wrong")
    return {
        "problems": len(pools),
        "trained_on": values.left_out,
        "clusters": len(set(clusters)),
        "smallest_pool": smallest,
        "area_sizes": list(area_sizes(smallest)),
        "left_out": missing,
        "without_answer": sum(answer is None for pool in pools for answer in pool.answers),
        "compared_as_text": unread,
        "contradictory_answers": contradictions,
        "means": values.means(),
    }


def _vote(pool: Pool, classes: list[int | None], sizes: Sequence[int]) -> NDArray[np.float64]:
    """The majority vote's curve: exact, or from sampled subsets where there are more of them than float64 can count."""
    length, largest = len(classes), max(sizes)
    if math.comb(length, min(largest, length // 2)) > sys.float_info.max:
        seed = stream("majority vote", pool.problem).getrandbits(32)
        return majority_vote_sampled(classes, pool.correct, sizes, subsets=SUBSETS, seed=seed).accuracy
    return majority_vote(classes, pool.correct, sizes)


def _contradicts(pool: Pool, classes: list[int | None]) -> bool:
    """Whether answers of one class are labelled both ways."""
    right = {one for one, is_right in zip(classes, pool.correct, strict=True) if is_right}
    return any(one in right for one, is_right in zip(classes, pool.correct, strict=True) if not is_right)

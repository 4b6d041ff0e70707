"""best_of_n: exact Best-of-N of one scorer on one candidate pool, problem by problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.evaluation import Floats
from harness.evaluation.best_of_n import (
    SampledVote,
    area_sizes,
    best_of_n_area,
    best_of_n_pools,
    fitting_sizes,
    pass_at_n,
)
from harness.evaluation.pair_accuracy import pool_couples, right_over_wrong_pools, source_balanced
from harness.evaluation.picks import residual_on_length, weighted_vote
from harness.evaluation.ratios import ratio_values
from harness.pipeline.evaluations.best_of_n import BEST_OF_N, VOTE_SUBSETS, area_of, point
from harness.stages.context import StageContext
from harness.stages.pools import Pool, Values, left_out, numbered, read_pool_scores, read_pools
from harness.store.artifacts import Candidates, ProblemValues, Scores
from harness.tasks.grading import answer_classes
from harness.tasks.task import stream

ROUNDING = 1e-9
"""Between a random pick and the oracle: where there is no more, all candidates are right, all are wrong, or N is 1."""


def run(context: StageContext) -> dict[str, Any]:
    """BoN@N, its area, P(right over wrong) for seen and unseen error types apart; and further numbers.

    These are BoN freed of length, a vote weighed by rewards, the share of headroom, and right over wrong balanced over
    who wrote the candidates. `vote_error` is the Monte-Carlo standard error of the vote's mean by N.

    N beyond the task's smallest pool are left out; the area's own N are added. Pools below 8 candidates have no area.
    """
    spec = BEST_OF_N.read(context.spec)
    pools = read_pools(context.input("candidates", Candidates))
    scores = read_pool_scores(context.input("scores", Scores), pools)
    smallest = min(len(pool.correct) for pool in pools)
    sizes = fitting_sizes(spec.n, smallest)
    correct = [pool.correct for pool in pools]
    problems, clusters = [pool.problem for pool in pools], [pool.cluster for pool in pools]
    values = Values(context)
    curves = {"": best_of_n_pools(scores, correct, sizes)}
    freed = [
        residual_on_length(rewards, [len(text) for text in pool.texts], f"problem {pool.problem}")
        for pool, rewards in zip(pools, scores, strict=True)
    ]
    curves["length_controlled"] = best_of_n_pools(freed, correct, sizes)
    error: dict[str, float] = {}
    if any(answer is not None for pool in pools for answer in pool.answers):
        votes = [_vote(pool, rewards, sizes) for pool, rewards in zip(pools, scores, strict=True)]
        curves["weighted_vote"] = np.array([vote.accuracy for vote in votes])
        squares = np.array([vote.standard_error for vote in votes]) ** 2
        errors = np.sqrt(squares.sum(axis=0)) / len(pools)
        error = {str(size): round(float(one), 6) for size, one in zip(sizes, errors, strict=True)}
    kept = [at for at, name in enumerate(problems) if values.keeps(name)]
    curves["headroom"] = _headroom(curves[""], pools, sizes, kept)
    for name, curve in curves.items():
        for column, size in enumerate(sizes):
            values.add(point(name, size), problems, clusters, curve[:, column])
    area = best_of_n_area(curves[""], sizes, smallest)
    areas = {name: best_of_n_area(curve, sizes, smallest) for name, curve in curves.items() if name != "headroom"}
    mean = np.array([pool.correct.mean() for pool in pools])
    oracle = best_of_n_area([pass_at_n(pool.correct, sizes) for pool in pools], sizes, smallest)
    if oracle is not None and area is not None:
        areas["headroom"] = _share(area, mean, oracle, kept)
    for name, of_problem in areas.items():
        if of_problem is not None:
            values.add(area_of(name), problems, clusters, of_problem)
    for name, masks in (
        ("right_over_wrong", None),
        ("right_over_wrong_seen", [pool.seen_errors for pool in pools]),
        ("right_over_wrong_unseen", [pool.unseen_errors for pool in pools]),
    ):
        values.add(name, problems, clusters, right_over_wrong_pools(scores, correct, masks).accuracy)
    balanced = _source_balanced([pools[at] for at in kept], [scores[at] for at in kept])
    if balanced is not None:
        values.add("right_over_wrong_balanced", [problems[at] for at in kept], [clusters[at] for at in kept], balanced)
    values.write(ProblemValues(context.directory))
    return {
        "problems": len(pools),
        "trained_on": values.left_out,
        "smallest_pool": smallest,
        "area_sizes": list(area_sizes(smallest)),
        "left_out": left_out(spec.n, smallest),
        "vote_error": error,
        "means": values.means(),
    }


def _vote(pool: Pool, rewards: Floats, sizes: Sequence[int]) -> SampledVote:
    """The same subsets for every scorer, so that scorers differ by what they choose and not by what was drawn."""
    seed = stream("weighted vote", pool.problem).getrandbits(32)
    return weighted_vote(answer_classes(pool.answers), rewards, pool.correct, sizes, subsets=VOTE_SUBSETS, seed=seed)


def _headroom(curve: Floats, pools: list[Pool], sizes: Sequence[int], kept: list[int]) -> Floats:
    """(problems, sizes) values whose means are the shares of headroom at each N, NaN where there is none."""
    mean, oracle = (
        np.array([one.correct.mean() for one in pools]),
        np.array([pass_at_n(one.correct, sizes) for one in pools]),
    )
    columns = [_share(curve[:, at], mean, oracle[:, at], kept) for at in range(len(sizes))]
    return np.stack([np.full(len(pools), np.nan) if one is None else one for one in columns], axis=1)


def _share(best: Floats, mean: Floats, oracle: Floats, kept: list[int]) -> Floats | None:
    """(problems,) of the way from a random pick to the oracle, how much the scorer goes; of the problems that count."""
    room = oracle - mean
    found = ratio_values((best - mean)[kept], np.where(room > ROUNDING, room, 0.0)[kept])
    if found is None:
        return None
    values = np.full(len(best), np.nan)
    values[kept] = found
    return values


def _source_balanced(pools: list[Pool], scores: list[Floats]) -> Floats | None:
    """None where no two writers of candidates are known."""
    known: dict[str, int] = {}
    sources = [numbered(pool.sources, known) for pool in pools]
    if len(known) < 2:
        return None
    return source_balanced(pool_couples(scores, [pool.correct for pool in pools], sources), len(pools))

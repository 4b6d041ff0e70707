"""choices: of a problem's responses, whether the one with the highest reward is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.stages.context import StageContext
from harness.stages.pools import Values, read_pool_scores, read_pools
from harness.store.artifacts import Candidates, ProblemValues, Scores


def run(context: StageContext) -> dict[str, Any]:
    """Ties are fair: the share of right ones among those with the highest reward.

    `ties` counts the problems with right and wrong candidates that several share the highest reward of.
    """
    pools = read_pools(context.input("candidates", Candidates))
    scores = read_pool_scores(context.input("scores", Scores), pools)
    best = [rewards == rewards.max() for rewards in scores]
    values = Values(context)
    values.add(
        "choice_accuracy",
        [pool.problem for pool in pools],
        [pool.cluster for pool in pools],
        np.array([pool.correct[among].mean() for pool, among in zip(pools, best, strict=True)]),
    )
    values.write(ProblemValues(context.directory))
    return {
        "problems": len(pools),
        "trained_on": values.left_out,
        "ties": sum(int(among.sum() > 1 and not pool.decided) for pool, among in zip(pools, best, strict=True)),
        "means": values.means(),
    }

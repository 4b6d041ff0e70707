"""rewardbench2: RewardBench 2 and its subsets, problem by problem."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.evaluation.reward_benchmarks import TiedPrompt, stratum_weights, ties_values, top_share
from harness.pipeline.evaluations.rewardbench2 import METRICS
from harness.stages.context import StageContext
from harness.stages.pools import Values, read_pool_scores, read_pools
from harness.store.artifacts import Candidates, ProblemValues, Scores
from harness.tasks.built_in.rewardbench2 import TIES


def run(context: StageContext) -> dict[str, Any]:
    """A problem is called `<subset>/<its name>`, as its task calls it."""
    values = Values(context)
    pools = read_pools(context.input("candidates", Candidates))
    scores = read_pool_scores(context.input("scores", Scores), pools)
    kept = [(pool, rewards) for pool, rewards in zip(pools, scores, strict=True) if values.keeps(pool.problem)]
    subsets = [pool.problem.partition("/")[0] for pool, _ in kept]
    ties = ties_values(
        {
            pool.problem.partition("/")[2]: TiedPrompt.of(rewards, pool.correct)
            for (pool, rewards), subset in zip(kept, subsets, strict=True)
            if subset == TIES
        }
    )
    found = np.array(
        [
            ties[pool.problem.partition("/")[2]] if subset == TIES else top_share(rewards, pool.correct)
            for (pool, rewards), subset in zip(kept, subsets, strict=True)
        ]
    )
    problems, clusters = [pool.problem for pool, _ in kept], [pool.cluster for pool, _ in kept]
    values.add("rewardbench2", problems, clusters, found * stratum_weights([(subset,) for subset in subsets]))
    for subset, metric in METRICS.items():
        inside = np.array([one == subset for one in subsets], dtype=bool)
        values.add(metric, problems, clusters, np.where(inside, found, np.nan))
    values.write(ProblemValues(context.directory))
    return {"problems": len(pools), "trained_on": len(pools) - len(kept), "means": values.means()}

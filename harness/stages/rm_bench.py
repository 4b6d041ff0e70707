"""rm_bench: RM-Bench, its levels and its domains, problem by problem."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.evaluation.reward_benchmarks import stratum_weights, style_accuracies
from harness.pipeline.evaluations.rm_bench import DOMAINS, LEVELS
from harness.stages.context import StageContext
from harness.stages.pools import Values, read_pool_scores, read_pools
from harness.store.artifacts import Candidates, ProblemValues, Scores


def run(context: StageContext) -> dict[str, Any]:
    """A problem is called `<domain>/<its name>`; safety's halves are `safety-refuse` and `safety-response`."""
    values = Values(context)
    pools = read_pools(context.input("candidates", Candidates))
    scores = read_pool_scores(context.input("scores", Scores), pools)
    kept = [(pool, rewards) for pool, rewards in zip(pools, scores, strict=True) if values.keeps(pool.problem)]
    levels = [style_accuracies(rewards[pool.correct], rewards[~pool.correct]) for pool, rewards in kept]
    strata = [tuple(pool.problem.partition("/")[0].split("-")) for pool, _ in kept]
    weights = stratum_weights(strata)
    problems, clusters = [pool.problem for pool, _ in kept], [pool.cluster for pool, _ in kept]
    mean = np.array([sum(one.values()) / len(LEVELS) for one in levels])
    values.add("rm_bench", problems, clusters, mean * weights)
    for level in LEVELS:
        values.add(f"rm_bench_{level}", problems, clusters, np.array([one[level] for one in levels]) * weights)
    for domain in DOMAINS:
        inside = [at for at, stratum in enumerate(strata) if stratum[0] == domain]
        within = stratum_weights([strata[at] for at in inside])
        values.add(
            f"rm_bench_{domain}",
            [problems[at] for at in inside],
            [clusters[at] for at in inside],
            mean[inside] * within,
        )
    values.write(ProblemValues(context.directory))
    return {"problems": len(pools), "trained_on": len(pools) - len(kept), "means": values.means()}

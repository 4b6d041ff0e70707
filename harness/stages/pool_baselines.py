"""pool_baselines: what a pool gives without any scorer: a random pick, the majority vote, and the oracle (pass@N)."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.evaluation.best_of_n import best_of_n_area, majority_vote, pass_at_n
from harness.stages.context import StageContext
from harness.stages.pools import Values, read_pools
from harness.store.artifacts import Candidates, ProblemValues

BASELINES = ("mean", "majority", "oracle")


def run(context: StageContext) -> dict[str, Any]:
    """Each baseline at every N, as metrics `<baseline>/bon@N` and `<baseline>/area`."""
    pools = read_pools(context.input("candidates", Candidates))
    sizes = context.spec["n"]
    problems, clusters = [pool.problem for pool in pools], [pool.cluster for pool in pools]
    smallest = min(len(pool.correct) for pool in pools)
    curves = {
        "mean": np.array([[pool.correct.mean()] * len(sizes) for pool in pools]),
        "oracle": np.array([pass_at_n(pool.correct, sizes) for pool in pools]),
    }
    if any(answer is not None for pool in pools for answer in pool.answers):
        curves["majority"] = np.array([majority_vote(pool.answers, pool.correct, sizes) for pool in pools])
    else:
        context.warn("no candidate of the pool states an answer, so there is no majority vote")
    values = Values()
    for name in (name for name in BASELINES if name in curves):
        for column, size in enumerate(sizes):
            values.add(f"{name}/bon@{size}", problems, clusters, curves[name][:, column])
        values.add(f"{name}/area", problems, clusters, best_of_n_area(curves[name], sizes, smallest))
    values.write(ProblemValues(context.directory))
    return {"problems": len(pools), "clusters": len(set(clusters)), "smallest_pool": smallest, "means": values.means()}

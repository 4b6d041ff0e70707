"""choice_baselines: what a pick at random among a problem's responses gives."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.stages.context import StageContext
from harness.stages.pools import Values, read_pools
from harness.store.artifacts import Candidates, ProblemValues


def run(context: StageContext) -> dict[str, Any]:
    """The share of right ones, problem by problem."""
    pools = read_pools(context.input("candidates", Candidates))
    problems, clusters = [pool.problem for pool in pools], [pool.cluster for pool in pools]
    values = Values(context)
    values.add("mean/choice_accuracy", problems, clusters, np.array([pool.correct.mean() for pool in pools]))
    values.write(ProblemValues(context.directory))
    sizes = [len(pool.correct) for pool in pools]
    return {
        "problems": len(pools),
        "trained_on": values.left_out,
        "clusters": len(set(clusters)),
        "choices": [min(sizes), max(sizes)],
        "means": values.means(),
    }

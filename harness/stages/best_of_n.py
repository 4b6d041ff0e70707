"""best_of_n: exact Best-of-N of one scorer on one candidate pool, problem by problem."""

from __future__ import annotations

from typing import Any

from harness.evaluation.best_of_n import best_of_n_area, best_of_n_pools
from harness.evaluation.pair_accuracy import right_over_wrong_pools
from harness.stages.context import StageContext
from harness.stages.pools import Values, read_pool_scores, read_pools
from harness.store.artifacts import Candidates, ProblemValues, Scores


def run(context: StageContext) -> dict[str, Any]:
    """BoN@N, its area, and P(right over wrong) for seen and unseen error types apart."""
    pools = read_pools(context.input("candidates", Candidates))
    scores = read_pool_scores(context.input("scores", Scores), pools)
    sizes = context.spec["n"]
    correct = [pool.correct for pool in pools]
    problems, clusters = [pool.problem for pool in pools], [pool.cluster for pool in pools]
    values = Values()
    curves = best_of_n_pools(scores, correct, sizes)
    for column, size in enumerate(sizes):
        values.add(f"bon@{size}", problems, clusters, curves[:, column])
    smallest = min(len(pool.correct) for pool in pools)
    values.add("area", problems, clusters, best_of_n_area(curves, sizes, smallest))
    for name, masks in (
        ("right_over_wrong", None),
        ("right_over_wrong_seen", [pool.seen_errors for pool in pools]),
        ("right_over_wrong_unseen", [pool.unseen_errors for pool in pools]),
    ):
        values.add(name, problems, clusters, right_over_wrong_pools(scores, correct, masks).accuracy)
    values.write(ProblemValues(context.directory))
    return {"problems": len(pools), "smallest_pool": smallest, "means": values.means()}

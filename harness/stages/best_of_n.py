"""best_of_n: exact Best-of-N of one scorer on one candidate pool, problem by problem."""

from __future__ import annotations

from typing import Any

from harness.evaluation import Floats
from harness.evaluation.best_of_n import area_sizes, best_of_n_area, best_of_n_pools, fitting_sizes
from harness.evaluation.pair_accuracy import pool_couples, right_over_wrong_pools, source_balanced
from harness.pipeline.evaluations.best_of_n import BEST_OF_N
from harness.stages.context import StageContext
from harness.stages.pools import Pool, Values, left_out, numbered, read_pool_scores, read_pools
from harness.store.artifacts import Candidates, ProblemValues, Scores


def run(context: StageContext) -> dict[str, Any]:
    """BoN@N, its area, and P(right over wrong) for seen and unseen error types apart.

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
    curves = best_of_n_pools(scores, correct, sizes)
    for column, size in enumerate(sizes):
        values.add(f"bon@{size}", problems, clusters, curves[:, column])
    area = best_of_n_area(curves, sizes, smallest)
    if area is not None:
        values.add("area", problems, clusters, area)
    for name, masks in (
        ("right_over_wrong", None),
        ("right_over_wrong_seen", [pool.seen_errors for pool in pools]),
        ("right_over_wrong_unseen", [pool.unseen_errors for pool in pools]),
    ):
        values.add(name, problems, clusters, right_over_wrong_pools(scores, correct, masks).accuracy)
    kept = [at for at, name in enumerate(problems) if values.keeps(name)]
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
        "means": values.means(),
    }


def _source_balanced(pools: list[Pool], scores: list[Floats]) -> Floats | None:
    """None where no two writers of candidates are known."""
    known: dict[str, int] = {}
    sources = [numbered(pool.sources, known) for pool in pools]
    if len(known) < 2:
        return None
    return source_balanced(pool_couples(scores, [pool.correct for pool in pools], sources), len(pools))

"""pool_candidates: the candidates of an imported pool's test problems."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.pipeline.tasks import POOL_CANDIDATES
from harness.stages.context import StageContext
from harness.stages.pool_rows import split_rows
from harness.store.artifacts import Candidates, PoolSplits


def run(context: StageContext) -> dict[str, Any]:
    """Select; the result gives problems, candidates, how many are right and by whom they are."""
    splits = context.input("problems", PoolSplits)
    pools = split_rows(context.input("pool", Candidates), splits, POOL_CANDIDATES.read(context.spec).split)
    rows = [row for pool in pools.values() for row in pool]
    Candidates(context.directory).write(rows)
    wrong = [row for row in rows if not row["correct"]]
    return {
        "groups": len(pools),
        "candidates": len(rows),
        "correct": len(rows) - len(wrong),
        "error_types": dict(sorted(Counter(row["error_type"] for row in wrong).items())),
        "unseen_error_types": sorted({row["error_type"] for row in wrong if not row["seen"]}),
        "characters": sum(len(row["text"]) for row in rows),
        "smallest_pool": min(len(pool) for pool in pools.values()),
        "largest_pool": max(len(pool) for pool in pools.values()),
        "sources": len({row["source"] for row in rows}),
    }

"""pool_preferences: pairs of a right and a wrong candidate of one problem of an imported pool."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.imports.deal import pool_preferences
from harness.pipeline.tasks import POOL_PREFERENCES
from harness.stages.context import StageContext
from harness.stages.pool_rows import split_rows
from harness.store.artifacts import Candidates, Pairs, PoolSplits


def run(context: StageContext) -> dict[str, Any]:
    """Make the pairs of one split; the result counts problems that gave none."""
    spec = POOL_PREFERENCES.read(context.spec)
    pools = split_rows(context.input("pool", Candidates), context.input("problems", PoolSplits), spec.split)
    rows = pool_preferences(pools, spec.count, spec.seed)
    Pairs(context.directory).write(rows)
    used = {row["id"].rpartition("#")[0] for row in rows}
    return {
        "groups": len(rows),
        "characters": sum(len(row[name]) for row in rows for name in ("prompt", "chosen", "rejected")),
        "error_types": dict(sorted(Counter(row["detail"] for row in rows).items())),
        "problems": len(used),
        "problems_without": len(pools) - len(used),
    }

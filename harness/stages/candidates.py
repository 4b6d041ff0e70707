"""candidates: the parts' candidate pools in part order, or those of a split's problems out of an imported pool."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.stages.context import StageContext
from harness.stages.gather import characters, gather_parts
from harness.stages.task_problems import pools_of
from harness.store.artifacts import Candidates


def run(context: StageContext) -> dict[str, Any]:
    """Gather or select; the result gives problems, candidates, how many are right, by error type, and by whom."""
    if "pool" in context.inputs:
        table = Candidates(context.directory)
        table.write([row for rows in pools_of(context).values() for row in rows])
    else:
        table = gather_parts(context, Candidates)
    pools: Counter[str] = Counter()
    total = correct = 0
    error_types: Counter[str] = Counter()
    unseen: set[str] = set()
    sources: set[str] = set()
    for row in table.stream(["problem", "correct", "error_type", "seen", "source"]):
        pools[row["problem"]] += 1
        sources.add(row["source"])
        total += 1
        if row["correct"]:
            correct += 1
            continue
        error_types[row["error_type"]] += 1
        if not row["seen"]:
            unseen.add(row["error_type"])
    imported = {}
    if "pool" in context.inputs:
        sizes = pools.values()
        imported = {"smallest_pool": min(sizes), "largest_pool": max(sizes), "sources": len(sources)}
    return {
        "groups": len(pools),
        "candidates": total,
        "correct": correct,
        "error_types": dict(sorted(error_types.items())),
        "unseen_error_types": sorted(unseen),
        "characters": characters(table, ("text",)),
        **imported,
    }

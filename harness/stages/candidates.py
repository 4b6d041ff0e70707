"""candidates: the parts' candidate pools in part order."""

from __future__ import annotations

from typing import Any

from harness.stages.context import StageContext
from harness.stages.gather import characters, gather_parts
from harness.store.artifacts import Candidates


def run(context: StageContext) -> dict[str, Any]:
    """Gather; the result gives problems, candidates and how many are right, by error type."""
    table = gather_parts(context, Candidates)
    rows = table.select(["problem", "correct", "error_type", "seen"]).to_pylist()
    error_types: dict[str, int] = {}
    for row in rows:
        if not row["correct"]:
            error_types[row["error_type"]] = error_types.get(row["error_type"], 0) + 1
    return {
        "groups": len({row["problem"] for row in rows}),
        "candidates": len(rows),
        "correct": sum(row["correct"] for row in rows),
        "error_types": dict(sorted(error_types.items())),
        "unseen_error_types": sorted({row["error_type"] for row in rows if not row["correct"] and not row["seen"]}),
        "characters": characters(table, ("text",)),
    }

"""candidates: the parts' candidate pools in part order."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.stages.context import StageContext
from harness.stages.gather import characters, gather_parts
from harness.store.artifacts import Candidates


def run(context: StageContext) -> dict[str, Any]:
    """Gather; the result gives problems, candidates and how many are right, by error type."""
    table = gather_parts(context, Candidates)
    problems: set[int] = set()
    total = correct = 0
    error_types: Counter[str] = Counter()
    unseen: set[str] = set()
    for row in table.stream(["problem", "correct", "error_type", "seen"]):
        problems.add(row["problem"])
        total += 1
        if row["correct"]:
            correct += 1
            continue
        error_types[row["error_type"]] += 1
        if not row["seen"]:
            unseen.add(row["error_type"])
    return {
        "groups": len(problems),
        "candidates": total,
        "correct": correct,
        "error_types": dict(sorted(error_types.items())),
        "unseen_error_types": sorted(unseen),
        "characters": characters(table, ("text",)),
    }

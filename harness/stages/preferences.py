"""preferences: pairs of a right and a mistaken solution of one problem."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.pipeline.tasks import PREFERENCES
from harness.stages.context import StageContext
from harness.stages.task_problems import read_problems
from harness.store.artifacts import Pairs, Problems
from harness.tasks.registry import load_task


def run(context: StageContext) -> dict[str, Any]:
    """Make the pairs; the result counts them by error type, and the mistakes that came out right by chance."""
    spec = PREFERENCES.read(context.spec)
    assert spec.task is not None
    task = load_task(spec.task)
    problems = read_problems(context.input("problems", Problems), spec.split)
    refused: Counter[str] = Counter()
    preferences = task.preferences(problems, count=spec.count, seed=spec.seed, refused=refused)
    rows = [
        {
            "id": f"{pair.problem_id}#{index}",
            "cluster": pair.cluster,
            "prompt": pair.prompt,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
            "detail": pair.error_type,
        }
        for index, pair in enumerate(preferences)
    ]
    Pairs(context.directory).write(rows)
    return {
        "groups": len(rows),
        "characters": sum(len(row[name]) for row in rows for name in ("prompt", "chosen", "rejected")),
        "error_types": dict(sorted(Counter(pair.error_type for pair in preferences).items())),
        "refused": dict(sorted(refused.items())),
    }

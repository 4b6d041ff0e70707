"""preferences: pairs of a right and a wrong solution of one problem."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.imports.deal import pool_preferences
from harness.pipeline.tasks import PREFERENCES, PreferencesSpec
from harness.stages.context import StageContext
from harness.stages.task_problems import pools_of, read_problems
from harness.store.artifacts import Pairs, Problems
from harness.tasks.registry import load_task

Row = dict[str, Any]


def run(context: StageContext) -> dict[str, Any]:
    """Make the pairs; the result counts them by error type."""
    spec = PREFERENCES.read(context.spec)
    rows, facts = _of_pool(context, spec) if spec.task is None else _of_task(context, spec, spec.task)
    Pairs(context.directory).write(rows)
    return {
        "groups": len(rows),
        "characters": sum(len(row[name]) for row in rows for name in ("prompt", "chosen", "rejected")),
        "error_types": dict(sorted(Counter(row["detail"] for row in rows).items())),
        **facts,
    }


def _of_task(context: StageContext, spec: PreferencesSpec, kind: str) -> tuple[list[Row], Row]:
    """Right and mistaken solutions; mistakes that came out right by chance are counted."""
    task = load_task(kind)
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
    return rows, {"refused": dict(sorted(refused.items()))}


def _of_pool(context: StageContext, spec: PreferencesSpec) -> tuple[list[Row], Row]:
    """Right and wrong candidates; problems that gave none are counted."""
    pools = pools_of(context)
    rows = pool_preferences(pools, spec.count, spec.seed)
    used = {row["id"].rpartition("#")[0] for row in rows}
    return rows, {"problems": len(used), "problems_without": len(pools) - len(used)}

"""candidates_part: n solutions for each of a range of a task's test problems, graded."""

from __future__ import annotations

from typing import Any

from harness.engines.simulated import candidates
from harness.errors import DataError
from harness.stages.context import StageContext
from harness.stages.task_problems import read_problems
from harness.store.artifacts import Candidates, Problems
from harness.tasks.registry import load_task


def run(context: StageContext) -> dict[str, Any]:
    """Generate and grade; a candidate depends on its problem, its index and the seed alone."""
    spec = context.spec
    problems = read_problems(context.input("problems", Problems), spec["split"])
    if len(problems) < spec["stop"]:
        raise DataError(
            "a pool needs its problems", f"asked for {spec['stop']}, the task has {len(problems)}", "lower the count"
        )
    rows = candidates(
        load_task(spec["task"]),
        problems,
        samples=spec["samples"],
        accuracy=spec["accuracy"],
        seed=spec["seed"],
        start=spec["start"],
        stop=spec["stop"],
    )
    Candidates(context.directory).write(rows)
    return {"problems": spec["stop"] - spec["start"], "candidates": len(rows)}

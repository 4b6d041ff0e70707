"""options: the responses that problems bring with them, as candidates."""

from __future__ import annotations

from typing import Any

from harness.errors import DataError
from harness.pipeline.tasks import OPTIONS
from harness.stages.context import StageContext
from harness.stages.task_problems import read_problems
from harness.store.artifacts import UNKNOWN_ERROR, Candidates, Problems
from harness.tasks.registry import load_task


def run(context: StageContext) -> dict[str, Any]:
    """One candidate a response, in the task's order.

    Raises:
        DataError: a problem brings fewer than two, or none that is right.
    """
    spec = OPTIONS.read(context.spec)
    task, problems = load_task(spec.task), read_problems(context.input("problems", Problems), spec.split)
    rows = []
    for problem in problems:
        choices = task.choices(problem)
        if len(choices) < 2 or not any(choice.correct for choice in choices):
            value = f"{problem.id} brings {len(choices)}, {sum(choice.correct for choice in choices)} of them right"
            raise DataError("a problem must come with two or more responses, one of them right", value, "leave it out")
        rows += [
            {
                "problem": problem.id,
                "cluster": problem.cluster,
                "prompt": problem.prompt,
                "index": index,
                "text": choice.text,
                "answer": task.extract(choice.text),
                "correct": choice.correct,
                "error_type": "" if choice.correct else UNKNOWN_ERROR,
                "seen": False,
                "source": choice.source,
            }
            for index, choice in enumerate(choices)
        ]
    Candidates(context.directory).write(rows)
    clusters = len({problem.cluster for problem in problems})
    return {"groups": len(problems), "clusters": clusters, "candidates": len(rows)}

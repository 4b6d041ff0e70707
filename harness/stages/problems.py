"""problems: a task's problems, split so that no problem, template or passage is in two splits."""

from __future__ import annotations

import json
from typing import Any

from harness.errors import DataError
from harness.pipeline.tasks import PROBLEMS
from harness.stages.context import StageContext
from harness.store.artifacts import Problems
from harness.tasks.registry import load_task
from harness.tasks.task import stream


def run(context: StageContext) -> dict[str, Any]:
    """Make the problems and check what the split promises: no cluster and no prompt in two splits."""
    spec = PROBLEMS.read(context.spec)
    task = load_task(spec.task)
    counts = {split: count for split, count in spec.problems.model_dump().items() if count}
    problems = task.problems(counts, seed=spec.seed, options=spec.options)
    for what in ("cluster", "prompt"):
        where: dict[str, str] = {}
        for problem in problems:
            value = getattr(problem, what)
            if where.setdefault(value, problem.split) != problem.split:
                raise DataError(
                    f"no {what} may be in two splits",
                    f"{value[:80]!r} is in {where[value]} and {problem.split}",
                    "correct the task's cluster key",
                )
    Problems(context.directory).write(
        [
            {
                "id": problem.id,
                "cluster": problem.cluster,
                "split": problem.split,
                "prompt": problem.prompt,
                "answer": problem.answer,
                "solution": problem.solution,
                "text": problem.prompt + task.rewrite(problem, stream("text", spec.seed, problem.id)),
                "metadata": json.dumps(dict(problem.metadata), sort_keys=True),
            }
            for problem in problems
        ]
    )
    base = [problem for problem in problems if problem.split == "base"]
    return {
        "groups": len(base),
        "characters": sum(len(problem.prompt) + len(problem.solution) for problem in base),
        "problems": {split: sum(problem.split == split for problem in problems) for split in counts},
        "clusters": {
            split: len({problem.cluster for problem in problems if problem.split == split}) for split in counts
        },
    }

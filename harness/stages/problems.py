"""problems: the first problems of a split of a task."""

from __future__ import annotations

import json
from typing import Any

from harness.pipeline.tasks import PROBLEMS
from harness.stages.context import StageContext
from harness.store.artifacts import Problems
from harness.tasks.registry import load_task
from harness.tasks.task import stream


def run(context: StageContext) -> dict[str, Any]:
    """Make the split's problems; that they share nothing with other splits' is checked by `problem_splits`."""
    spec = PROBLEMS.read(context.spec)
    task = load_task(spec.task)
    problems = task.problems({spec.split: spec.count}, seed=spec.seed, options=spec.options)
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
    return {
        "groups": len(problems),
        "characters": sum(len(problem.prompt) + len(problem.solution) for problem in problems),
    }

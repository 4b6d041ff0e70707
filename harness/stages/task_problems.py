"""Reading a task's problems back from their artifact."""

from __future__ import annotations

import json

from harness.store.artifacts import Problems
from harness.tasks.task import Problem


def read_problems(artifact: Problems, split: str) -> list[Problem]:
    """The problems of a split, in their stored order."""
    return [
        Problem(
            id=row["id"],
            cluster=row["cluster"],
            split=row["split"],
            prompt=row["prompt"],
            answer=row["answer"],
            solution=row["solution"],
            metadata=json.loads(row["metadata"]),
        )
        for row in artifact.rows()
        if row["split"] == split
    ]

"""Reading a task's problems back from their artifact, and what an imported pool holds of them."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from harness.stages.context import StageContext
from harness.store.artifacts import Candidates, Problems
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


def pools_of(context: StageContext) -> dict[str, list[dict[str, Any]]]:
    """{problem: candidate rows} of the input `problems`, in their order, out of the input `pool`."""
    pools: dict[str, list[dict[str, Any]]] = {
        row["id"]: [] for row in context.input("problems", Problems).stream(["id"])
    }
    for problem, rows in groupby(context.input("pool", Candidates).rows(), key=lambda row: row["problem"]):
        if problem in pools:
            pools[problem] = list(rows)
    return pools

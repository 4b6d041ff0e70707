"""problems: the first problems of a split of a task."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.pipeline.tasks import PROBLEMS, SPLITS, ProblemsSpec
from harness.stages.context import StageContext
from harness.store.artifacts import Candidates, Problems
from harness.tasks.dealing import dealt, without
from harness.tasks.fixed import LINE_END, FixedTask
from harness.tasks.registry import load_task
from harness.tasks.task import Problem, stream


def run(context: StageContext) -> dict[str, Any]:
    """Make or take the split's problems; that they share nothing with other splits' is checked by `problem_splits`."""
    spec = PROBLEMS.read(context.spec)
    if "pool" in context.inputs:
        problems = _of_pool(context.input("pool", Candidates), spec)
        texts = [problem.prompt for problem in problems]
    else:
        task = load_task(spec.task)
        if isinstance(task, FixedTask):
            problems = _of_files(task, context.how.source_path, spec)
        else:
            assert spec.count is not None
            problems = task.problems({spec.split: spec.count}, seed=spec.seed, options=spec.options)
        texts = [one.prompt + task.rewrite(one, stream("text", spec.seed, one.id)) for one in problems]
    Problems(context.directory).write(
        [
            {
                "id": problem.id,
                "cluster": problem.cluster,
                "split": problem.split,
                "prompt": problem.prompt,
                "answer": problem.answer,
                "solution": problem.solution,
                "text": text,
                "metadata": json.dumps(dict(problem.metadata), sort_keys=True),
            }
            for problem, text in zip(problems, texts, strict=True)
        ]
    )
    return {
        "groups": len(problems),
        "characters": sum(len(problem.prompt) + len(problem.solution) for problem in problems),
    }


def _of_files(task: FixedTask, place: str, spec: ProblemsSpec) -> list[Problem]:
    """Those of a published data set, whose files `place` lists.

    Raises:
        DataError: a file is not what it was when planned.
    """
    part = task.parts[spec.split]
    files = tuple(Path(path) for path in place.split(LINE_END))
    if task.digest(files) != spec.source[part]:
        value = f"{' or '.join(map(str, files))} changed"
        raise DataError("a task's file must stay as it was when planned", value, "run again, which plans anew")
    kept = without(task.available(files, part, spec.options), spec.left_out)
    return _dealt(kept, spec, task.sharing(spec.split))


def _of_pool(pool: Candidates, spec: ProblemsSpec) -> list[Problem]:
    """Those of an imported pool, whose answers and solutions nobody knows."""
    rows = pool.stream(["problem", "cluster", "prompt", "index"])
    first = (row for row in rows if row["index"] == 0)
    problems = [
        Problem(id=row["problem"], cluster=row["cluster"], split="", prompt=row["prompt"], answer="", solution="")
        for row in first
    ]
    return _dealt(problems, spec, SPLITS)


def _dealt(problems: Iterable[Problem], spec: ProblemsSpec, sharing: Collection[str]) -> list[Problem]:
    counts = {**spec.others, spec.split: spec.count}
    return dealt(problems, counts, seed=spec.seed, sharing=sharing)[spec.split]

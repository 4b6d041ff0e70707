"""Candidate pools: n solutions a problem from any generator, every one graded by the task.

Knows generators by their protocol only. What a generator says of its own texts (`correct`, `error_type`, `seen` in a
completion's metadata) is believed where the task agrees, and needed by none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.engines.base import Completion, Generator, Request, Sampling
from harness.errors import DataError
from harness.store.artifacts import UNKNOWN_ERROR
from harness.tasks.task import Problem, Task, stream


def candidates(
    task: Task,
    problems: Sequence[Problem],
    generator: Generator,
    *,
    samples: int,
    seed: int,
    sampling: Sampling,
    source: str,
) -> list[dict[str, Any]]:
    """Candidate rows of the problems, `samples` each.

    A request's seed depends on its problem, its index and `seed` alone: parts put together equal the whole, and fewer
    samples are the first of more. Columns as in `harness.store.artifacts.Candidates`; `answer` is None where none is
    stated, `source` what the generator is called.

    Raises:
        DataError: the task grades a text otherwise than its generator knows.
    """
    asked = [(problem, index) for problem in problems for index in range(samples)]
    requests = [
        Request(
            id=f"{problem.id}/{index}",
            prompt=problem.prompt,
            seed=stream("candidate", seed, problem.id, index).getrandbits(63),
            sampling=sampling,
        )
        for problem, index in asked
    ]
    completions = generator.generate(requests)
    return [
        {**_row(task, problem, index, completion), "source": source}
        for (problem, index), completion in zip(asked, completions, strict=True)
    ]


def _row(task: Task, problem: Problem, index: int, completion: Completion) -> dict[str, Any]:
    correct = task.grade(problem, completion.text)
    if correct != completion.metadata.get("correct", correct):
        raise DataError(
            f"task {task.name!r} must grade a solution as its generator knows it",
            f"{completion.id} is graded {correct}, the generator says {completion.metadata['correct']}",
            "mend the task's `grade` or its mistakes",
        )
    return {
        "problem": problem.id,
        "cluster": problem.cluster,
        "prompt": problem.prompt,
        "index": index,
        "text": completion.text,
        "answer": task.extract(completion.text),
        "correct": correct,
        "error_type": "" if correct else completion.metadata.get("error_type", UNKNOWN_ERROR),
        "seen": bool(completion.metadata.get("seen", False)),
    }

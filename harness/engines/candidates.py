"""Candidate pools: n solutions a problem from any generator, every one graded by the task.

Knows generators by their protocol only. What a generator says of its own texts (`correct`, `error_type`, `seen` in a
completion's metadata) is believed where the task agrees, and needed by none.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from harness.engines.base import Completion, Generator, Request, Sampling
from harness.errors import DataError
from harness.store.artifacts import UNKNOWN_ERROR
from harness.tasks.task import Problem, Task, stream

MOST_SECONDS = 10.0
"""Of processor time for grading one text. Built-in tasks bound their work by counts and stay far below; it ends what a
task of one's own does without a bound, and does not depend on what else a machine does."""

ENDED = "grading_ended"


class _TooLong(BaseException):
    """Raised in the midst of a grader, which must not take it for an error of its own."""


def candidates(
    task: Task,
    problems: Sequence[Problem],
    generator: Generator,
    *,
    samples: int,
    seed: int,
    sampling: Sampling,
    source: str,
    tally: Counter[str],
    logprobs: bool = False,
) -> list[dict[str, Any]]:
    """Candidate rows of the problems, `samples` each.

    A request's seed depends on its problem, its index and `seed` alone: parts put together equal the whole, and fewer
    samples are the first of more. Columns as in `harness.store.artifacts.Candidates`; `answer` is None where none is
    stated, `source` what the generator is called.

    Args:
        tally: counts under `ENDED` the texts whose grading took longer than `MOST_SECONDS`; these are wrong and state
            no answer.
        logprobs: with what the generator says of their chance.

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
            logprob=logprobs,
        )
        for problem, index in asked
    ]
    completions = generator.generate(requests)
    return [
        {
            **_row(task, problem, index, completion, tally),
            "source": source,
            **({"logprob": completion.logprob} if logprobs else {}),
        }
        for (problem, index), completion in zip(asked, completions, strict=True)
    ]


def _row(task: Task, problem: Problem, index: int, completion: Completion, tally: Counter[str]) -> dict[str, Any]:
    try:
        with _bounded():
            correct, answer = task.grade(problem, completion.text), task.extract(completion.text)
    except _TooLong:
        correct, answer = False, None
        tally[ENDED] += 1
    if correct != completion.metadata.get("correct", correct):
        raise DataError(
            f"task {task.name!r} must grade a solution as its generator knows it",
            f"{completion.id} is graded {correct}, the generator says {completion.metadata['correct']}",
            "fix the task's `grade` or its mistakes",
        )
    return {
        "problem": problem.id,
        "cluster": problem.cluster,
        "prompt": problem.prompt,
        "index": index,
        "text": completion.text,
        "answer": answer,
        "correct": correct,
        "error_type": "" if correct else completion.metadata.get("error_type", UNKNOWN_ERROR),
        "seen": bool(completion.metadata.get("seen", False)),
    }


@contextmanager
def _bounded() -> Iterator[None]:
    """Only a process's main thread can be ended so, and stages run in it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)

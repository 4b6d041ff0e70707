"""altered: for each problem a right solution and changed copies of it, to be scored together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from harness.errors import DataError
from harness.pipeline.evaluations.robustness import ALTERED
from harness.stages.context import StageContext
from harness.stages.task_problems import pools_of, read_problems
from harness.store.artifacts import Candidates, Problems
from harness.tasks.altered import HARMFUL, HARMLESS, RENAMED, Altered, Solved, altered
from harness.tasks.grading import canonical
from harness.tasks.registry import load_task
from harness.tasks.task import Problem, Task, stream
from harness.tasks.wording import stated_number
from harness.tasks.worked_arithmetic import numbers_in

Copies = tuple[str, str, str, list[Altered]]  # problem, its cluster, who wrote the solution, its copies


def run(context: StageContext) -> dict[str, Any]:
    """The solution comes first, `error_type` says what was changed; a changed prompt makes a group of its own.

    Raises:
        DataError: no solution can be made worse for certain.
    """
    problems = _of_pool(context) if "pool" in context.inputs else _of_task(context)
    rows: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for problem, cluster, source, copies in problems:
        counts["problems"] += 1
        if not any(copy.kind in HARMFUL for copy in copies):
            counts["left_out" if copies else "not_graded_right"] += 1
            continue
        indices: Counter[str] = Counter()
        for copy in copies:
            counts[copy.kind] += 1
            group = f"{problem}#{RENAMED}" if copy.kind == RENAMED else problem
            rows.append(
                {
                    "problem": group,
                    "cluster": cluster,
                    "prompt": copy.prompt,
                    "index": indices[group],
                    "text": copy.text,
                    "answer": None,
                    "correct": copy.correct,
                    "error_type": copy.kind,
                    "seen": False,
                    "source": source,
                }
            )
            indices[group] += 1
    if not rows:
        rule = "`robustness` needs solutions whose final answer can be read and changed"
        value = f"none of {counts['problems']:,} problems has one"
        raise DataError(rule, value, "leave the task out, or import candidates that end in `The answer is N.`")
    if 2 * counts[""] < counts["problems"]:
        context.warn(f"only {counts['']:,} of {counts['problems']:,} problems have a solution that can be changed")
    Candidates(context.directory).write(rows)
    return {
        "groups": counts[""] + counts[RENAMED],
        "candidates": len(rows),
        "problems": counts["problems"],
        "left_out": counts["left_out"],
        "not_graded_right": counts["not_graded_right"],
        "made": {kind: counts[kind] for kind in (*HARMFUL, *HARMLESS)},
    }


def _of_task(context: StageContext) -> Iterator[Copies]:
    spec = ALTERED.read(context.spec)
    assert spec.task is not None
    task = load_task(spec.task)
    for problem in read_problems(context.input("problems", Problems), spec.split):
        rng = stream("altered", problem.id)
        yield problem.id, problem.cluster, "", altered(_solved(task, problem, rng), rng)


def _solved(task: Task, problem: Problem, rng: Random) -> Solved:
    return Solved(
        prompt=problem.prompt,
        solution=task.rewrite(problem, rng),
        grade=partial(task.grade, problem),
        states=lambda text: task.extract(text) is not None,
        wrong=[choice.text for choice in task.choices(problem) if not choice.correct],
        renames=not task.has_choices,
    )


def _of_pool(context: StageContext) -> Iterator[Copies]:
    """Of a drawn right candidate that states the number which is its answer."""
    for problem, candidates in pools_of(context).items():
        rng = stream("altered", problem)
        right = [row for row in candidates if row["correct"] and _states_its_answer(row)]
        if not right:
            yield problem, candidates[0]["cluster"], "", []
            continue
        row = rng.choice(right)
        solved = Solved(
            prompt=row["prompt"],
            solution=row["text"],
            grade=partial(_states, numbers=_right_answers(candidates)),
            states=lambda text: stated_number(text) is not None,
        )
        yield problem, row["cluster"], row["source"], altered(solved, rng)


def _right_answers(candidates: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {canonical(row["answer"]) for row in candidates if row["correct"] and row["answer"] is not None}


def _states_its_answer(row: Mapping[str, Any]) -> bool:
    """Whether it ends in a number that it calls its answer: in a program, a comment would not be what decides."""
    if row["answer"] is None:
        return False
    answer, found = canonical(row["answer"]), numbers_in(row["text"])
    return bool(found) and ("number", str(found[-1])) == answer and _states(row["text"], numbers={answer})


def _states(text: str, *, numbers: set[tuple[str, str]]) -> bool:
    stated = stated_number(text)
    return stated is not None and canonical(stated) in numbers

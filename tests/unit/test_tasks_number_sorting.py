"""Sorted numbers: the question alone determines the answer, and each mistake is one of its kind."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest

from harness.errors import DataError, RecipeError
from harness.tasks.built_in.number_sorting import NumberSorting
from harness.tasks.task import Problem

PLACES = ["", "second ", "third ", "fourth ", "fifth ", "sixth "]


@pytest.fixture(scope="module")
def task() -> NumberSorting:
    return NumberSorting()


@pytest.fixture(scope="module")
def problems(task: NumberSorting) -> list[Problem]:
    return task.problems({"base": 60, "finetune": 100, "dev": 30, "test": 80}, seed=3)


def question(prompt: str) -> tuple[list[int], int]:
    """The numbers and the place asked for, read independently."""
    found = re.search(r"Sort the numbers ([0-9, ]+)\. Which is the (\w+ )?smallest\?", prompt)
    assert found is not None
    return [int(number) for number in found[1].split(", ")], PLACES.index(found[2] or "")


def steps(solution: str) -> list[tuple[int, list[int]]]:
    """(number inserted, line that this gives)."""
    return [
        (int(number), [int(one) for one in line.split()])
        for number, line in re.findall(r"Insert (\d+): ([\d ]+)\.", solution)
    ]


def test_the_answer_is_at_its_place_of_the_sorted_numbers(task: NumberSorting, problems: list[Problem]) -> None:
    for problem in problems:
        numbers, place = question(problem.prompt)
        assert len(set(numbers)) == len(numbers)
        assert problem.answer == str(sorted(numbers)[place])
        assert task.grade(problem, problem.solution)
        written = steps(problem.solution)
        assert [number for number, _ in written] == numbers
        assert [line for _, line in written] == [sorted(numbers[: at + 1]) for at in range(len(numbers))]


def test_an_order_is_in_one_split_and_questions_are_distinct(problems: list[Problem]) -> None:
    splits: dict[str, set[str]] = {}
    for problem in problems:
        splits.setdefault(problem.cluster, set()).add(problem.split)
    assert all(len(found) == 1 for found in splits.values())
    assert max(Counter(problem.prompt for problem in problems).values()) == 1


@pytest.mark.parametrize("kind", [*NumberSorting.seen_errors, *NumberSorting.unseen_errors])
def test_a_mistake_is_wrong_and_of_its_kind(task: NumberSorting, problems: list[Problem], kind: str) -> None:
    found = [
        (problem, made.solution)
        for problem in problems
        for made in task.worked_mistakes(problem, Random(1), [kind])
        if not task.grade(problem, made.solution)
    ]
    assert len(found) > 50
    for problem, solution in found:
        numbers, _ = question(problem.prompt)
        written = steps(solution)
        lines = [line for _, line in written]
        inserted = [number for number, _ in written]
        copied, ascending = inserted == numbers, all(line == sorted(line) for line in lines)
        if kind in ("misplaced", "swapped"):
            assert copied
            assert not ascending
            assert all(sorted(line) == sorted(numbers[: len(line)]) for line in lines)
        elif kind == "overwritten":
            assert copied
            assert any(len(set(line)) < len(line) for line in lines)
        elif kind == "miscopied":
            assert len(set(inserted) - set(numbers)) == 1
            assert ascending
        elif kind == "repeated":
            assert len(set(inserted)) == len(numbers) - 1
            assert ascending
        elif kind == "descending":
            assert copied
            assert all(line == sorted(line, reverse=True) for line in lines)
        else:
            assert (kind, copied, ascending) == ("wrong_place", True, True)


def test_right_and_wrong_solutions_differ_in_no_shape(task: NumberSorting, problems: list[Problem]) -> None:
    """Digits masked, a wrong solution reads as a right one: no length and no word gives it away."""
    for problem in problems:
        masked = re.sub(r"\d", "0", problem.solution)
        for made in task.worked_mistakes(problem, Random(2), list(task.seen_errors)):
            assert re.sub(r"\d", "0", made.solution) == masked


def test_problems_are_a_stream(task: NumberSorting) -> None:
    few, many = (task.problems({"test": number}, seed=5) for number in (10, 25))
    assert many[:10] == few
    assert task.problems({"test": 10}, seed=6) != few


def test_bad_options_and_too_many_problems_are_told(task: NumberSorting) -> None:
    with pytest.raises(RecipeError, match="`digits` of task 'number_sorting'"):
        task.problems({"test": 1}, seed=0, options={"digits": 9})
    with pytest.raises(DataError, match="must find as many different problems"):
        task.problems({"test": 100_000}, seed=0, options={"numbers": [3, 3], "digits": 1})

"""Sorting: the question alone determines the answer, and each mistake is one of its kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from harness.errors import DataError, RecipeError
from harness.evaluation.shallow import mask_digits
from harness.tasks.built_in.number_sorting import NumberSorting
from harness.tasks.task import Problem

PLACES = ["the smallest", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]


@pytest.fixture(scope="module")
def task() -> NumberSorting:
    return NumberSorting()


@pytest.fixture(scope="module")
def problems(task: NumberSorting) -> list[Problem]:
    counts = {"finetune": 60, "test": 60}
    return task.problems(counts, seed=3) + task.problems(counts, seed=4, options={"numbers": [4, 5], "digits": 1})


# ------------------------------------------------------------------------------------------- an independent reader


def question(problem: Problem) -> tuple[list[int], int]:
    """(the numbers, the place asked for from 0)."""
    listed, asked = problem.prompt.split(". Which is ")
    return [int(number) for number in re.findall(r"\d+", listed)], next(
        place for place, word in enumerate(PLACES) if word in asked
    )


def lines(solution: str) -> list[tuple[int, list[int]]]:
    """(number inserted, line) of every step."""
    return [
        (int(number), [int(one) for one in line.split()])
        for number, line in re.findall(r"Insert (\d+): ([\d ]+)\.", solution)
    ]


def is_sorted(line: Sequence[int]) -> bool:
    return all(one <= other for one, other in pairwise(line))


def slipped(problem: Problem, solution: str) -> tuple[int, list[int], list[int]]:
    """(number inserted, right line, line given) of the first step that goes wrong."""
    numbers, _ = question(problem)
    steps = lines(solution)
    assert [number for number, _ in steps] == numbers
    return next(
        (number, sorted(numbers[: at + 1]), line)
        for at, (number, line) in enumerate(steps)
        if line != sorted(numbers[: at + 1])
    )


def mistakes(task: NumberSorting, problems: list[Problem], kind: str) -> list[tuple[Problem, str]]:
    found = [(one, made.solution) for one in problems for made in task.worked_mistakes(one, Random(1), [kind])]
    assert len(found) > 80
    return found


# -------------------------------------------------------------------------------------------------------- problems


def test_the_question_gives_the_answer(problems: list[Problem]) -> None:
    for problem in problems:
        numbers, place = question(problem)
        assert problem.answer == str(sorted(numbers)[place])
        assert lines(problem.solution) == [(n, sorted(numbers[: at + 1])) for at, n in enumerate(numbers)]
    assert {question(problem)[1] for problem in problems} == set(range(6))


def test_cluster_is_the_order(problems: list[Problem]) -> None:
    for problem in problems:
        numbers, _ = question(problem)
        assert problem.cluster == "".join(str(1 + sum(other < number for other in numbers)) for number in numbers)


def test_a_small_family_is_exhausted(task: NumberSorting) -> None:
    options = {"numbers": [3, 3], "digits": 1, "shares": {"test": 1.0}}
    with pytest.raises(DataError, match=r"test: 1,512 of 10,000"):  # 9 · 8 · 7 lists, three places
        task.problems({"test": 10_000}, seed=0, options=options)


def test_eight_of_nine_digits_are_found(task: NumberSorting) -> None:
    """One draw in 150 has eight different digits, and one in seven of those an order of the split: after long waits."""
    found = task.problems({"dev": 40}, seed=5, options={"numbers": [8, 8], "digits": 1})
    assert all(len(set(question(problem)[0])) == 8 for problem in found)


@pytest.mark.parametrize("options", [{"numbers": [2, 4]}, {"numbers": [4, 9]}, {"digits": 0}, {"digits": 4}])
def test_bad_ranges(task: NumberSorting, options: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="must be"):
        task.problems({"test": 1}, seed=0, options=options)


# -------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("kind", [*NumberSorting.seen_errors, *NumberSorting.unseen_errors])
def test_nothing_but_digits_differs(task: NumberSorting, problems: list[Problem], kind: str) -> None:
    """So neither a length nor a word habit tells a mistake, and what is concluded follows from the last line."""
    for problem, solution in mistakes(task, problems, kind):
        assert mask_digits(solution) == mask_digits(problem.solution)
        assert len(solution) == len(problem.solution)
        if kind != "wrong_place":
            assert task.extract(solution) == str(lines(solution)[-1][1][question(problem)[1]])


def test_a_misplaced_number_alone_is_out_of_order(task: NumberSorting, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "misplaced"):
        number, right, line = slipped(problem, solution)
        assert not is_sorted(line)
        assert sorted(line) == right
        assert is_sorted([other for other in line if other != number])


def test_swapped_numbers_are_neighbours_that_stood_there(task: NumberSorting, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "swapped"):
        number, right, line = slipped(problem, solution)
        moved = [place for place, (one, other) in enumerate(zip(right, line, strict=True)) if one != other]
        assert len(moved) == moved[1] - moved[0] + 1 == 2
        assert sorted(line) == right
        assert number not in (line[moved[0]], line[moved[1]])


def test_an_overwritten_number_is_its_neighbour(task: NumberSorting, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "overwritten"):
        _, right, line = slipped(problem, solution)
        (place,) = [place for place, (one, other) in enumerate(zip(right, line, strict=True)) if one != other]
        assert line[place] in (*right[max(place - 1, 0) : place], *right[place + 1 : place + 2])


def test_a_miscopied_number_is_not_of_the_question(task: NumberSorting, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "miscopied"):
        numbers, _ = question(problem)
        inserted = [number for number, _ in lines(solution)]
        assert sum(one != other for one, other in zip(numbers, inserted, strict=True)) == 1
        assert len(set(inserted) - set(numbers)) == 1
        assert all(is_sorted(line) for _, line in lines(solution))


def test_a_repeated_number_stands_for_another(task: NumberSorting, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "repeated"):
        numbers, _ = question(problem)
        inserted = Counter(number for number, _ in lines(solution))
        assert sorted(inserted.values()) == [1] * (len(numbers) - 2) + [2]
        assert inserted.keys() < set(numbers)
        assert all(is_sorted(line) for _, line in lines(solution))


def test_descending_lines_hold_the_same_numbers(task: NumberSorting, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "descending"):
        assert [(number, line[::-1]) for number, line in lines(solution)] == lines(problem.solution)


def test_a_wrong_place_is_beside_the_right_one(task: NumberSorting, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "wrong_place"):
        numbers, place = question(problem)
        assert lines(solution) == lines(problem.solution)
        assert abs(sorted(numbers).index(int(task.extract(solution) or "")) - place) == 1

"""Circuits: the question alone determines the answer, and each mistake is one of its kind."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random

import pytest

from harness.errors import DataError, RecipeError
from harness.tasks.built_in.circuit_logic import CircuitLogic
from harness.tasks.task import Problem
from harness.tasks.worked_circuit import evaluate


@pytest.fixture(scope="module")
def task() -> CircuitLogic:
    return CircuitLogic()


@pytest.fixture(scope="module")
def problems(task: CircuitLogic) -> list[Problem]:
    return task.problems({"base": 100, "finetune": 100, "dev": 50, "test": 150}, seed=3)


# ------------------------------------------------------------------------------------------- an independent reader


def gate(name: str, values: Sequence[int]) -> int:
    ones = sum(values)
    return int(
        {"AND": ones == len(values), "NAND": ones < len(values), "OR": ones > 0, "NOR": ones == 0, "XOR": ones % 2}[
            name
        ]
    )


def answer_of(prompt: str) -> int:
    inputs = {name: int(value) for name, value in re.findall(r"\b([A-Z]) = ([01])", prompt)}
    results = []
    for name, literals in re.findall(r"Gate \d+ is ([A-Z]+)\(([^)]*)\)", prompt):
        values = [
            1 - inputs[literal[4:]] if literal.startswith("not ") else inputs[literal]
            for literal in literals.split(", ")
        ]
        results.append(gate(name, values))
    output = re.search(r"The output is ([A-Z]+)\(", prompt)
    assert output is not None
    return gate(output[1], results)


def calls(solution: str) -> list[tuple[str, list[int], int]]:
    """(gate, values, result) of every evaluation, the output last."""
    found = re.findall(r"([A-Z]+)\(([01, ]+)\) = ([01])", solution)
    return [(name, [int(value) for value in values.split(", ")], int(result)) for name, values, result in found]


def false_calls(solution: str) -> int:
    return sum(gate(name, values) != result for name, values, result in calls(solution))


def literals(solution: str) -> list[tuple[str, str]]:
    return re.findall(r"((?:not )?\b[A-Z]) = ([01])", solution)


def mistakes(task: CircuitLogic, problems: list[Problem], kind: str) -> list[tuple[Problem, str]]:
    found = []
    for problem in problems:
        found += [(problem, made.solution) for made in task.worked_mistakes(problem, Random(1), [kind])]
    assert len(found) > 50
    return found


# -------------------------------------------------------------------------------------------------------- problems


@pytest.mark.parametrize("name", ["AND", "NAND", "OR", "NOR", "XOR"])
@pytest.mark.parametrize("values", [(0, 0), (0, 1), (1, 0), (1, 1), (1, 1, 1), (0, 1, 1)])
def test_evaluate(name: str, values: tuple[int, ...]) -> None:
    assert evaluate(name, values) == gate(name, values)


def test_unknown_gate() -> None:
    with pytest.raises(ValueError, match="MAYBE"):
        evaluate("MAYBE", (0, 1))


def test_the_question_gives_the_answer(problems: list[Problem]) -> None:
    for problem in problems:
        assert answer_of(problem.prompt) == int(problem.answer)
        assert false_calls(problem.solution) == 0
        assert calls(problem.solution)[-1][2] == int(problem.answer)


def test_answers_alternate_within_a_form(problems: list[Problem]) -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for problem in problems:
        answers[problem.cluster][problem.answer] += 1
    for counts in answers.values():
        assert 0 <= counts["0"] - counts["1"] <= 1


def test_cluster_is_the_form(problems: list[Problem]) -> None:
    for problem in problems:
        gates = sorted(re.findall(r"Gate \d+ is ([A-Z]+)\(", problem.prompt))
        output = re.findall(r"The output is ([A-Z]+)\(", problem.prompt)
        assert problem.cluster == f"{output[0]}({','.join(gates)})"


def test_no_form_dominates(problems: list[Problem]) -> None:
    for split in ("base", "finetune", "dev", "test"):
        counts = Counter(problem.cluster for problem in problems if problem.split == split)
        assert max(counts.values()) <= 2 * counts.total() / len(counts) + 1


def test_a_small_family_is_exhausted(task: CircuitLogic) -> None:
    options = {"gates": [1, 1], "inputs": [2, 2], "shares": {"test": 1.0}}
    with pytest.raises(DataError, match=r"test: \d+ of 10,000 from 12 forms"):
        task.problems({"test": 10_000}, seed=0, options=options)


@pytest.mark.parametrize("options", [{"gates": [0, 2]}, {"inputs": [1, 2]}, {"gates": [3, 2]}, {"inputs": 3}])
def test_bad_ranges(task: CircuitLogic, options: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="must be"):
        task.problems({"test": 1}, seed=0, options=options)


# -------------------------------------------------------------------------------------------------------- mistakes


def test_a_gate_slip_is_one_false_call(task: CircuitLogic, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "gate_slip"):
        assert false_calls(solution) == 1
        assert literals(solution) == literals(problem.solution)
        assert calls(solution)[-1][2] == int(task.extract(solution) or "")


def test_a_wrong_gate_is_one_other_gate(task: CircuitLogic, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "wrong_gate"):
        assert false_calls(solution) == 0
        names = [(a[0], b[0]) for a, b in zip(calls(problem.solution), calls(solution), strict=True)]
        assert sum(gold != used for gold, used in names) == 1


@pytest.mark.parametrize(("kind", "negated"), [("ignored_negation", True), ("miscopied_input", False)])
def test_a_wrong_literal_is_one_of_its_kind(
    task: CircuitLogic, problems: list[Problem], kind: str, negated: bool
) -> None:
    for problem, solution in mistakes(task, problems, kind):
        assert false_calls(solution) == 0
        changed = [
            gold[0] for gold, used in zip(literals(problem.solution), literals(solution), strict=True) if gold != used
        ]
        assert len(changed) == 1
        assert changed[0].startswith("not ") == negated


def test_a_wrong_carry_contradicts_itself(task: CircuitLogic, problems: list[Problem]) -> None:
    for _, solution in mistakes(task, problems, "wrong_carry"):
        *gates, output = calls(solution)
        assert false_calls(solution) == 0
        assert sum(gate[2] != carried for gate, carried in zip(gates, output[1], strict=True)) == 1


def test_swapped_gates_are_the_same_gates(task: CircuitLogic, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "swapped_gates"):
        gold, used = [name for name, _, _ in calls(problem.solution)], [name for name, _, _ in calls(solution)]
        assert false_calls(solution) == 0
        assert sorted(gold) == sorted(used)
        assert sum(a != b for a, b in zip(gold, used, strict=True)) == 2


def test_a_wrong_conclusion_changes_the_answer_alone(task: CircuitLogic, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "wrong_conclusion"):
        assert solution.rpartition("####")[0] == problem.solution.rpartition("####")[0]


@pytest.mark.parametrize(
    ("text", "answer"),
    [("#### 1", "1"), ("The answer is 0.", "0"), ("Answer: 1", "1"), ("Answer: 2", None), ("1", None), ("", None)],
)
def test_extract(task: CircuitLogic, text: str, answer: str | None) -> None:
    assert task.extract(text) == answer

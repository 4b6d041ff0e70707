"""Word problems: reading worked arithmetic, following a change, and one checkable mistake of the named kind."""

from __future__ import annotations

import re
from fractions import Fraction
from random import Random

import pytest

from harness.errors import DataError
from harness.evaluation.pair_accuracy import pair_values
from harness.evaluation.shallow import fit_overlap
from harness.tasks.built_in.gsm_symbolic import UNREADABLE_TEMPLATES, GsmSymbolic
from harness.tasks.task import Problem
from harness.tasks.worked_arithmetic import WorkedArithmetic, calculate, format_number, numbers_in

QUESTION = "Ann buys 13 boxes of 25 pens at $3 a box, gives 40 pens away and finds 17."
SOLUTION = (
    "She has 13 boxes x 25 pens/box=325 pens\n"
    "After giving some away she has 325-40 = 285 pens.\n"
    "So there are 302 in the end because 285 + 17 = 302\n"
    "#### 302"
)


@pytest.fixture(scope="module")
def task() -> GsmSymbolic:
    return GsmSymbolic()


@pytest.fixture(scope="module")
def problems(task: GsmSymbolic) -> list[Problem]:
    return task.problems({"base": 60, "finetune": 60, "dev": 40, "test": 80}, seed=3)


@pytest.fixture(scope="module")
def worked() -> WorkedArithmetic:
    read = WorkedArithmetic.read(SOLUTION, QUESTION)
    assert read is not None
    return read


# ------------------------------------------------------------------------------------------- an independent reader


def equations(solution: str) -> list[tuple[list[str], list[str], str]]:
    """(operands, operators, result) of every equation, read with spaces as the only guide to operators."""
    read = []
    for line in solution.split("\n"):
        for left, right in zip(line.split(" = ")[:-1], line.split(" = ")[1:], strict=True):
            parts = re.split(r" ([-+*/]) ", left)
            operands = [re.findall(r"\d+(?:\.\d+)?%?", parts[0])[-1]]
            operands += [re.findall(r"\d+(?:\.\d+)?%?", part)[0] for part in parts[2::2]]
            read.append((operands, parts[1::2], re.findall(r"\d+(?:\.\d+)?%?", right)[0]))
    return read


def number(text: str) -> Fraction:
    return Fraction(text.rstrip("%")) / (100 if text.endswith("%") else 1)


def holds(equation: tuple[list[str], list[str], str]) -> bool:
    operands, operators, result = equation
    terms = [number(operands[0])]
    for operator, operand in zip(operators, operands[1:], strict=True):
        if operator in "*/":
            terms[-1] = terms[-1] * number(operand) if operator == "*" else terms[-1] / number(operand)
        else:
            terms.append(number(operand) * (1 if operator == "+" else -1))
    return sum(terms) == number(result)


def mistakes(task: GsmSymbolic, problems: list[Problem], kind: str) -> list[tuple[Problem, str]]:
    found = []
    for problem in problems:
        found += [(problem, made.solution) for made in task.worked_mistakes(problem, Random(1), [kind])]
    assert len(found) > 20
    return found


# -------------------------------------------------------------------------------------------------------- reading


def test_read(worked: WorkedArithmetic) -> None:
    assert worked.text == (
        "She has 13 boxes * 25 pens/box = 325 pens.\n"
        "After giving some away she has 325 - 40 = 285 pens.\n"
        "So there are 302 in the end because 285 + 17 = 302.\n"
        "#### 302"
    )
    assert [step.operators for step in worked.steps] == [("*",), ("-",), ("+",)]
    again = WorkedArithmetic.read(worked.text, QUESTION)
    assert again is not None
    assert again.text == worked.text


def test_a_changed_result_travels_to_the_answer(worked: WorkedArithmetic) -> None:
    assert worked.changed(results={0: Fraction(335)}) == (
        "She has 13 boxes * 25 pens/box = 335 pens.\n"
        "After giving some away she has 335 - 40 = 295 pens.\n"
        "So there are 312 in the end because 295 + 17 = 312.\n"
        "#### 312"
    )


def test_a_changed_operator_is_recomputed(worked: WorkedArithmetic) -> None:
    changed = worked.changed(operators={1: ("+",)})
    assert changed is not None
    assert "325 + 40 = 365" in changed
    assert "because 365 + 17 = 382.\n#### 382" in changed


def test_a_change_to_nonsense_is_refused(worked: WorkedArithmetic) -> None:
    assert worked.changed(results={0: Fraction(30)}) is None  # 30 - 40 is negative
    assert worked.changed(operators={0: ("/",)}) is None  # 13 / 25 is no whole number of pens


def test_an_uncertain_change_is_refused() -> None:
    """25 is both a number of the question and a result: nobody can tell which the last line means."""
    read = WorkedArithmetic.read("He has 5 * 5 = 25.\nHe has 25 + 25 = 50.\n#### 50", "He has 5, 5 and 25.")
    assert read is not None
    assert read.changed(results={0: Fraction(26)}) is None


@pytest.mark.parametrize(
    "solution",
    [
        "It is 2 + 2 = 5.\n#### 5",
        "It is 2 + 2 = 4.\n#### 5",
        "It is 2 + T = 4 + T = 9.\nT = 9 - 4 = 5.\n#### 5",
        "It is 2(3 + 4) = 14.\nIt is 14 + 1 = 15.\n#### 15",
        "It is 1 / 3 = 0.3333.\n#### 0.3333",
        "Nothing is computed.\n#### 4",
        "",
    ],
)
def test_what_does_not_check_is_not_read(solution: str) -> None:
    assert WorkedArithmetic.read(solution, "2 and 2") is None


def test_percent_and_money() -> None:
    read = WorkedArithmetic.read(
        "It costs $1,200 * 25% = $300.\nIt is $1,200 + $300 = $1,500.\n#### 1500", "$1,200, 25%"
    )
    assert read is not None
    assert read.text == "It costs $1200 * 25% = $300.\nIt is $1200 + $300 = $1500.\n#### 1500"


@pytest.mark.parametrize(
    ("value", "text"), [("3", "3"), ("1200", "1200"), ("2.50", "2.5"), ("0.05", "0.05"), ("1/3", None), ("0.125", None)]
)
def test_format_number(value: str, text: str | None) -> None:
    assert format_number(Fraction(value)) == text


def test_calculate() -> None:
    assert calculate([Fraction(n) for n in (2, 3, 4)], ["+", "*"]) == 14
    assert calculate([Fraction(n) for n in (12, 2, 3)], ["/", "/"]) == 2
    assert calculate([Fraction(1), Fraction(0)], ["/"]) is None
    assert numbers_in("A 5-minute walk, $1,200.50 and 3/4") == [5, Fraction("1200.5"), 3, 4]


# ------------------------------------------------------------------------------------------------------- mistakes


def test_every_gold_equation_holds(problems: list[Problem]) -> None:
    for problem in problems:
        assert all(holds(equation) for equation in equations(problem.solution)), problem.solution
        assert equations(problem.solution)[-1][2].rstrip("%") == problem.answer


@pytest.mark.parametrize("kind", GsmSymbolic.seen_errors + GsmSymbolic.unseen_errors)
def test_mistakes_are_as_long_as_the_gold(task: GsmSymbolic, problems: list[Problem], kind: str) -> None:
    for problem, solution in mistakes(task, problems, kind):
        assert len(solution) == len(problem.solution)
        assert re.sub(r"[\d.*/+-]", "", solution) == re.sub(r"[\d.*/+-]", "", problem.solution)


def test_a_slip_is_one_false_equation(task: GsmSymbolic, problems: list[Problem]) -> None:
    for _, solution in mistakes(task, problems, "arithmetic_slip"):
        read = equations(solution)
        assert sum(not holds(equation) for equation in read) == 1, solution
        assert number(read[-1][2].rstrip("%")) == number(task.extract(solution) or "")


@pytest.mark.parametrize("kind", ["wrong_operation", "miscopied_number", "ignored_step", "swapped_numbers"])
def test_other_mistakes_compute_rightly(task: GsmSymbolic, problems: list[Problem], kind: str) -> None:
    for _, solution in mistakes(task, problems, kind):
        read = equations(solution)
        assert all(holds(equation) for equation in read), solution
        assert number(read[-1][2].rstrip("%")) == number(task.extract(solution) or "")


def test_a_wrong_operation_is_one_other_sign(task: GsmSymbolic, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "wrong_operation"):
        gold = [sign for _, signs, _ in equations(problem.solution) for sign in signs]
        used = [sign for _, signs, _ in equations(solution) for sign in signs]
        assert sum(a != b for a, b in zip(gold, used, strict=True)) == 1


def test_a_miscopied_number_is_another_one_of_the_question(task: GsmSymbolic, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "miscopied_number"):
        gold = [operand for operands, _, _ in equations(problem.solution) for operand in operands]
        used = [operand for operands, _, _ in equations(solution) for operand in operands]
        first = next(place for place, pair in enumerate(zip(gold, used, strict=True)) if pair[0] != pair[1])
        given = set(numbers_in(problem.prompt))
        assert {Fraction(side[first].rstrip("%")) for side in (gold, used)} <= given
        assert len(gold[first]) == len(used[first])
        assert given & set(numbers_in(solution)) >= given & set(numbers_in(problem.solution)), "none goes missing"


def test_overlap_with_the_question_does_not_tell_mistakes(task: GsmSymbolic) -> None:
    """The reference that reads numbers and shape; misread digits gave it .94 of miscopied numbers and .65 of all."""
    problems = task.problems({"finetune": 300, "test": 300}, seed=0)
    sides = []
    for split, count in (("finetune", 300), ("test", 600)):
        pairs = task.preferences([one for one in problems if one.split == split], count=count, seed=0)
        sides.append([[getattr(pair, side) for pair in pairs] for side in ("prompt", "chosen", "rejected")])
    (fitted_on, (prompts, chosen, rejected)) = sides
    scorer = fit_overlap(*fitted_on, seed=0)
    assert pair_values(scorer.score(prompts, chosen), scorer.score(prompts, rejected)).mean() < 0.57


def test_swapped_numbers_are_the_same_numbers(task: GsmSymbolic, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "swapped_numbers"):
        given = set(numbers_in(problem.prompt))
        gold = sorted(
            number(n) for operands, _, _ in equations(problem.solution) for n in operands if number(n) in given
        )
        used = [number(n) for operands, _, _ in equations(solution) for n in operands]
        assert all(used.count(value) >= 1 for value in gold)


def test_a_wrong_conclusion_changes_the_answer_alone(task: GsmSymbolic, problems: list[Problem]) -> None:
    for problem, solution in mistakes(task, problems, "wrong_conclusion"):
        assert solution.rpartition("####")[0] == problem.solution.rpartition("####")[0]


# ------------------------------------------------------------------------------------------- extracting and grading


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("... = 12.\n#### 12", "12"),
        ("#### 1,200", "1200"),
        ("####12.0", "12"),
        ("The answer is $7.50.", "7.5"),
        ("the answer is: **12**", "12"),
        ("So the final answer is -3.", "-3"),
        ("Answer: 3/4", "0.75"),
        ("Answer: 1/3", "1/3"),
        (r"so \boxed{42} pens", "42"),
        ("The answer is 4. No, wait.\nThe answer is 5.", "5"),
        ("Answer: 5\n#### 6", "6"),
        ("12", None),
        ("It is 4 + 4 = 8.", None),
        ("The answer is unclear.", None),
        ("#### 1/0", None),
        ("####", None),
        ("", None),
    ],
)
def test_extract(task: GsmSymbolic, text: str, answer: str | None) -> None:
    assert task.extract(text) == answer


def test_a_solution_cut_off_anywhere_is_not_right_by_chance(task: GsmSymbolic, problems: list[Problem]) -> None:
    for problem in problems[:30]:
        text = task.rewrite(problem, Random(4))
        stated = text.rindex(" ")
        assert not any(task.grade(problem, text[:end]) for end in range(stated + 1))


def test_each_template_gives_problems(task: GsmSymbolic) -> None:
    """Every template not named unreadable serves some split; a library that changed one fails here."""
    shares = {"base": 0.25, "finetune": 0.25, "dev": 0.15, "test": 0.35}
    made = task.problems(dict.fromkeys(shares, 200), seed=0, options={"shares": shares})
    found = {problem.metadata["template"] for problem in made}
    assert len(found) == 75
    assert not found & UNREADABLE_TEMPLATES


def test_longest_text_is_kept_to(task: GsmSymbolic) -> None:
    made = task.problems({"test": 40}, seed=0, options={"max_characters": 500})
    assert max(len(problem.prompt) + len(problem.solution) for problem in made) <= 500
    with pytest.raises(DataError, match="0 of 1"):
        task.problems({"test": 1}, seed=0, options={"max_characters": 50})

"""Which stated answers are one: spellings of numbers, choices and texts, what math-verify adds, and what it may not."""

from __future__ import annotations

import pytest

from harness.pipeline.evaluations.best_of_n import GRADING
from harness.tasks.grading import MOST_EXPRESSIONS, PACKAGES, answer_classes, canonical, compared_as_text
from harness.tasks.registry import load_task
from harness.tasks.task import Problem


def test_versions_that_decide_are_those_a_plan_names() -> None:
    assert GRADING == PACKAGES


@pytest.mark.parametrize(
    "one",
    [
        (
            "1/2",
            "0.5",
            r"\frac{1}{2}",
            ".5",
            "$0.50$",
            "$0.50",
            r"\dfrac12",
            "½",
            "0.50 dollars",
            "\uff15/\uff11\uff10",
        ),
        (
            "1,000",
            "1000",
            "1000.0",
            "1e3",
            "1{,}000",
            r"1\,000",
            "1 000",
            "$1,000.00",
            "10^3",
            "10³",
            "\uff11\uff10\uff10\uff10",
        ),
        (
            "18.0",
            "\uff11\uff18",
            "18",
            "$18",
            "18.",
            "(18)",
            "x = 18",
            r"\boxed{18}",
            "**18**",
            "+18",
            "018",
            r"\text{18}",
        ),
        ("-0.5", "\N{MINUS SIGN}0.5", r"-\frac{1}{2}", r"\frac{-1}{2}", "-1/2", "-$0.50"),
        ("2.5", "2½", "2 1/2", r"2\frac{1}{2}", "5/2"),
        ("(A)", "A", "a", "A.", "A)", r"\text{(A)}"),
        ("The  cat", "the cat.", '"The cat"', r"\text{the cat}"),
        (r"\frac{\sqrt{2}}{2}", r"1/\sqrt{2}", "0.70710678"),
        ("(x+1)^2", "x^2 + 2x + 1", "x²+2x+1", "1+2x+x^{2}"),
        ("x \\le 3", r"(-\infty, 3]", "x≤3"),
        ("1/3", "0.333333", r"\frac13"),
        ("90°", r"90^\circ", "90"),
        (r"\{1, 2\}", r"\{2,1\}", "1, 2", "2, 1"),
        (r"x \in [1,2)", "[1,2)", "x\N{ELEMENT OF}[1, 2)", r"\left[1,2\right)"),
        (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)"),
        (r"5\text{ cm}", "5 cm", "5"),  # math-verify leaves units out
        ("12.5%", "1/8", r"12.5\%", "0.125"),
        ("$3.50", "3.5 dollars", r"\$3.5", "3.50 USD"),
        (r"\text{Evelyn}", "Evelyn", "evelyn."),
    ],
)
def test_equal_answers_are_one(one: tuple[str, ...]) -> None:
    assert answer_classes([*one, "another"]) == [0] * len(one) + [1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1_000", "1000"),
        ("1_000", "1"),  # what math-verify makes of it
        ("1,00", "100"),
        ("1.000.000", "1000000"),
        ("cat", "act"),  # c·a·t
        ("0.0000001", "0.0000002"),  # equal to six decimals
        ("0.33", "1/3"),
        ("(1, 2)", "(2, 1)"),
        ("10²", "102"),
        ("10¹²", "100"),
        ("2½", "21/2"),
        ("1/0", "0/0"),
        ("5", "-5"),
        ("A", "B"),
        ("", "0"),
        ("[1,2)", "[1,2]"),
        (r"\{1,2\}", r"\{1,3\}"),
        ("1 1/2", "11/2"),
        ("5 cm", "6 cm"),
        ("3 apples", "3"),  # a word is no unit
        ("33%", "1/3"),
        ("yes", "no"),
        (r"\text{east}", r"\text{west}"),
    ],
)
def test_different_answers_are_two(one: str, other: str) -> None:
    assert answer_classes([one, other]) == [0, 1]


def test_classes_are_closed_and_what_is_not_stated_has_none() -> None:
    # `1, 2` is a set and a pair to math-verify; through it (1, 2) and (2, 1) must not become one.
    assert answer_classes(["(1,2)", "1, 2", "(2,1)", "2, 1", None, "(1, 2)"]) == [0, 1, 2, 1, None, 0]
    assert answer_classes([None, None]) == [None, None]
    assert answer_classes([]) == []


def test_a_percentage_is_the_number_others_state() -> None:
    assert answer_classes(["50%", "50", "0.5"]) == [0, 0, 1]
    assert answer_classes([r"50\%", "0.5"]) == [0, 0]
    assert answer_classes(["0.5", "50 percent", "1/2"]) == [0, 0, 0]
    assert canonical("50%") != canonical("50")


@pytest.mark.parametrize(
    ("task", "answer", "text", "is_right"),
    [
        ("gsm8k", "18", "So it costs 18 dollars. The answer is 18 dollars.", True),
        ("gsm8k", "18", "#### $18.00", True),
        ("gsm8k", "18", "The answer is \uff11\uff18", True),
        ("gsm8k", "1000", "#### 1,000", True),
        ("gsm8k", "50", "The answer is 50%", True),  # the number before the sign
        ("gsm8k", "1/2", "The answer is 50%", False),
        ("gsm8k", "18", "The answer is eighteen", False),
        ("svamp", "5", "The answer is 5 apples", True),
        ("svamp", "5", r"\boxed{5.5}", False),
        ("math500", "5", r"\boxed{5\text{ cm}}", True),
        ("math500", r"50\%", r"\boxed{0.5}", True),
        ("math500", "0.5", r"\boxed{50\%}", True),
        ("math500", "50", r"\boxed{50\%}", True),
        ("math500", r"\text{(A)}", r"\boxed{A}", True),
        ("math500", "[1,2)", r"\boxed{x \in [1,2)}", True),
        ("math500", "[1,2)", r"\boxed{(1,2]}", False),
        ("math500", r"\frac{3}{2}", r"\boxed{1\frac{1}{2}}", True),
        ("math500", "10,080", r"\boxed{10080}", True),
        ("math500", r"\text{Evelyn}", "The answer is Evelyn.", True),
        ("math500", "2", r"\boxed{9^{9^{9^{9}}}}", False),
        ("hendrycks_math", "2", r"\boxed 2", True),
        ("math_shepherd", "52", "Step 1: 20 + 32. The answer is: 52", True),
    ],
)
def test_tasks_grade_by_these_rules(task: str, answer: str, text: str, is_right: bool) -> None:
    problem = Problem(id="p", cluster="p", split="test", prompt="?", answer=answer, solution="")
    assert load_task(task).grade(problem, text) is is_right


def test_what_is_neither_a_number_nor_read_as_mathematics_is_counted() -> None:
    assert compared_as_text(["1", None, r"\sqrt{2}", "50%", "x=2"]) == 0
    assert compared_as_text(["two", "Two", r"\frac{1", "x" * 500, "1"]) == 4
    assert compared_as_text([f"x + {number}" for number in range(40)]) == 40 - MOST_EXPRESSIONS


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9^{9}}}",
        "9**9**9**9",
        "((9^{99})^{99})^{99}",
        "99999999999!",
        r"\sum_{i=1}^{999999999} i",
        r"\sin(x)+x^{99}=\cos(x)+1",
        r"2^x+3^x=5",
        "__import__('os').system('true')",
        "1" * 100_000,
        "(" * 5_000 + ")" * 5_000,
        "{" * 5_000,
        "$" * 5_001,
        r"\frac{1",
    ],
)
def test_what_would_take_for_ever_is_compared_as_text(answer: str) -> None:
    assert answer_classes([answer, "2", answer, f"{answer}+1", "x=2"]) == [0, 1, 0, 2, 1]


def test_many_different_expressions_are_compared_within_a_bound() -> None:
    answers = [f"x^{{{power}}} + {number}" for power in range(2, 9) for number in range(20)]
    assert answer_classes([*answers, *answers]) == [*range(140), *range(140)]


def test_order_decides_nothing() -> None:
    answers = ["2", r"\sqrt{4}", "50%", "x^2", "(x)^2", "0.5", "two", "50", r"\frac{4}{2}", "Two"]
    classes = answer_classes(answers)
    back = answer_classes(answers[::-1])[::-1]
    assert [[one == other for other in classes] for one in classes] == [
        [one == other for other in back] for one in back
    ]

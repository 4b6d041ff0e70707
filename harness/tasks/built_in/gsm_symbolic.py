"""Grade-school word problems from reasoning-gym's `gsm_symbolic` templates, with mistakes in their worked solutions.

A cluster is a template, so no two splits share the wording or the arithmetic of a problem. Only problems whose whole
worked solution checks step by step are used; a few templates never do (unknowns, brackets, repeating decimals).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from itertools import combinations, count
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from harness.errors import DataError
from harness.tasks.splits import SHARES, clusters_of_splits, read_options, whole_number
from harness.tasks.task import OptionRule, Problem, Task, stream
from harness.tasks.wording import Style, stated_number
from harness.tasks.worked_arithmetic import TIMES_SIGN, WorkedArithmetic, format_number

Generator = Callable[[Random, float], dict[str, Any]]

# Templates whose solutions are not plain chains of checkable arithmetic (reasoning-gym 0.1.25): unknowns, brackets,
# words for numbers, broken fractions, or (5) a difference stated twice.
UNREADABLE_TEMPLATES = frozenset({1, 5, 18, 55, 60, 66, 82, 83, 84, 85})
DEFAULT_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {"shares": {"base": 0.25, "finetune": 0.25, "dev": 0.15, "test": 0.35}, "max_characters": 1_200}
)
OPTION_RULES: Mapping[str, OptionRule] = MappingProxyType(
    {"shares": SHARES, "max_characters": whole_number(1, 1_000_000)}
)
_DIFFICULTY = 1.0  # the only one the library supports
_MOST_ROUNDS_WITHOUT_PROBLEM = 50
_OTHER_OPERATORS = {"+": "-*", "-": "+", "*": "+/", "/": "*"}
_SIGNS = (("*", "/"), ("*", "/"), ("x", "/"), (TIMES_SIGN, "÷"))


class GsmSymbolic(Task):
    """Options: `shares` (split -> share of the templates), `max_characters` (longest prompt plus plain solution)."""

    name: ClassVar[str] = "gsm_symbolic"
    seen_errors: ClassVar[tuple[str, ...]] = ("arithmetic_slip", "wrong_operation", "miscopied_number")
    unseen_errors: ClassVar[tuple[str, ...]] = ("ignored_step", "swapped_numbers", "wrong_conclusion")
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "https://github.com/open-thought/reasoning-gym (gsm_symbolic)"
    distribution: ClassVar[str] = "reasoning-gym"
    code_version: ClassVar[int] = 2
    defaults = DEFAULT_OPTIONS
    rules = OPTION_RULES

    def problems(
        self, count_by_split: Mapping[str, int], *, seed: int, options: Mapping[str, Any] | None = None
    ) -> list[Problem]:
        settings = read_options(self.name, options, DEFAULT_OPTIONS, OPTION_RULES)
        generators = _load_generators()
        clusters = [_cluster(template) for template in generators]
        by_split = clusters_of_splits(self.name, count_by_split, clusters, settings["shares"], seed)
        by_cluster = {_cluster(template): (template, generator) for template, generator in generators.items()}
        found: list[Problem] = []
        for split, wanted in count_by_split.items():
            templates = [by_cluster[cluster] for cluster in by_split[split]]
            found.extend(self._of_split(split, wanted, templates, seed, settings["max_characters"]))
        return found

    def _of_split(
        self, split: str, wanted: int, templates: list[tuple[int, Generator]], seed: int, max_characters: int
    ) -> list[Problem]:
        found: list[Problem] = []
        prompts: set[str] = set()
        last_success = 0
        for turn in count():
            for template, generator in templates:
                if len(found) == wanted:
                    return found
                item = generator(stream(self.name, seed, template, turn), _DIFFICULTY)
                problem = self._problem(item, template=template, turn=turn, split=split)
                if problem is None or problem.prompt in prompts:
                    continue
                if len(problem.prompt) + len(problem.solution) <= max_characters:
                    prompts.add(problem.prompt)
                    found.append(problem)
                    last_success = turn
            if turn - last_success > _MOST_ROUNDS_WITHOUT_PROBLEM:
                raise DataError(
                    f"task {self.name!r} must find as many different problems as requested",
                    f"{len(templates)} templates of split {split!r} give {len(found):,} of {wanted:,}",
                    "ask for fewer, raise `max_characters` or the split's share",
                )
        raise AssertionError("unreachable: the count has no end")

    def _problem(self, item: Mapping[str, Any], *, template: int, turn: int, split: str) -> Problem | None:
        worked = WorkedArithmetic.read(item["metadata"]["answer_cot"], item["question"])
        if worked is None:
            return None
        solution = worked.text
        answer = _canonical(str(item["answer"]))
        if answer is None or answer != self.extract(solution):
            return None
        problem = Problem(
            id=f"{self.name}/{template:02d}/{turn:05d}",
            cluster=_cluster(template),
            split=split,
            prompt=f"Question: {item['question']}\nAnswer:\n",
            answer=answer,
            solution=solution,
            metadata={"template": template, "steps": len(worked.steps)},
        )
        admits = self.worked_mistakes(problem, stream("admits", problem.id), self.seen_errors[:1])
        return problem if admits else None

    def propose_mistakes(self, problem: Problem, rng: Random, kind: str) -> Iterator[str]:
        worked = WorkedArithmetic.read(problem.solution, problem.prompt)
        assert worked is not None, problem.id
        proposals = list(_PROPOSALS[kind](worked))
        rng.shuffle(proposals)
        texts = (text for propose in proposals if (text := propose()) is not None)
        # Only mistakes as long as the right solution: otherwise the number of digits would tell them apart.
        return (text for text in texts if len(text) == len(problem.solution))

    def restyle(self, solution: str, rng: Random) -> str:
        style = Style.draw(rng)
        times, divided = rng.choice(_SIGNS)
        separated = rng.random() < 0.5
        text = solution.replace(" * ", f" {times} ").replace(" / ", f" {divided} ")
        if separated:
            text = re.sub(r"(?<![\d.])\d{4,}(?!\.?\d)", lambda found: f"{int(found.group()):,}", text)
        return style.apply(text)

    def extract(self, text: str) -> str | None:
        stated = stated_number(text)
        return None if stated is None else _canonical(stated)

    def grade(self, problem: Problem, text: str) -> bool:
        return self.extract(text) == problem.answer


def _load_generators() -> dict[int, Generator]:
    """Template number -> generator. Slow the first time: the library imports all of its data sets."""
    from reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic import (
        GSMSymbolicDataset,
        GSMSymbolicDatasetConfig,
        tasks_ok,
    )

    generators = GSMSymbolicDataset(GSMSymbolicDatasetConfig(seed=0, size=1)).generators
    return {template: generators[template] for template in tasks_ok if template not in UNREADABLE_TEMPLATES}


def _cluster(template: int) -> str:
    return f"template-{template:02d}"


def _canonical(number: str) -> str | None:
    try:
        value = Fraction(number.replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        return None
    return format_number(value) or str(value)


# ---------------------------------------------------------------------------------------------------- mistakes

Proposal = Callable[[], str | None]


def _arithmetic_slips(worked: WorkedArithmetic) -> Iterable[Proposal]:
    """One step's result is a little off; everything after it follows from the wrong result."""
    for number, step in enumerate(worked.steps):
        for value in _slips(worked.values[step.result]):
            yield partial(worked.changed, results={number: value})


def _wrong_operations(worked: WorkedArithmetic) -> Iterable[Proposal]:
    """One step uses another operation than the question asks for."""
    for number, step in enumerate(worked.steps):
        for place, operator in enumerate(step.operators):
            for other in _OTHER_OPERATORS[operator]:
                operators = (*step.operators[:place], other, *step.operators[place + 1 :])
                yield partial(worked.changed, operators={number: operators})


def _miscopied_numbers(worked: WorkedArithmetic) -> Iterable[Proposal]:
    """One step uses another number of the question.

    Only where the right number stands elsewhere in the solution too: a number that is not of the question, or one of
    the question that is missing, would tell the mistake without any reading.
    """
    for index in _given_operands(worked):
        if worked.values.count(worked.values[index]) > 1:
            length = len(format_number(worked.values[index]) or "")
            for value in sorted(worked.given - {worked.values[index]}):
                if len(format_number(value) or "") == length:
                    yield partial(worked.changed, numbers={index: value})


def _ignored_steps(worked: WorkedArithmetic) -> Iterable[Proposal]:
    """One step's result is not used where it is needed; a number that went into it is used instead."""
    operands = {index for step in worked.steps for index in step.operands}
    for index, number in worked.sources.items():
        if index in operands:
            for used in worked.steps[number].operands:
                value = worked.values[used]
                yield partial(worked.changed, numbers={index: value})


def _swapped_numbers(worked: WorkedArithmetic) -> Iterable[Proposal]:
    """Two numbers of the question are used in each other's place."""
    for first, second in combinations(_given_operands(worked), 2):
        if worked.values[first] != worked.values[second]:
            numbers = {first: worked.values[second], second: worked.values[first]}
            yield partial(worked.changed, numbers=numbers)


def _wrong_conclusions(worked: WorkedArithmetic) -> Iterable[Proposal]:
    """All steps are right, but another number is given as the answer: an earlier result or a slip."""
    earlier = [worked.values[step.result] for step in worked.steps[:-1]]
    for value in (*earlier, *_slips(worked.values[-1])):
        yield partial(worked.with_answer, value)


_PROPOSALS: Mapping[str, Callable[[WorkedArithmetic], Iterable[Proposal]]] = MappingProxyType(
    {
        "arithmetic_slip": _arithmetic_slips,
        "wrong_operation": _wrong_operations,
        "miscopied_number": _miscopied_numbers,
        "ignored_step": _ignored_steps,
        "swapped_numbers": _swapped_numbers,
        "wrong_conclusion": _wrong_conclusions,
    }
)


def _given_operands(worked: WorkedArithmetic) -> list[int]:
    """Numbers in equations that come from the question, not from an earlier step."""
    operands = [index for step in worked.steps for index in step.operands]
    return [index for index in operands if worked.values[index] in worked.given and index not in worked.sources]


def _slips(value: Fraction) -> list[Fraction]:
    """Results close to the right one: a miscounted unit or a lost carry, up or down."""
    unit = Fraction(1) if value.denominator == 1 else Fraction(1, 10)
    sizes = [unit, 2 * unit]
    power = unit * 10
    while power * 2 <= value:
        sizes.append(power)
        power *= 10
    return [value + sign * size for size in sizes for sign in (1, -1)]

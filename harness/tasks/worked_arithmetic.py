"""Worked arithmetic in sentences: find the steps ("12 boxes * 5 pens = 60 pens"), change one, recompute what follows.

A text is read into numbers and the pieces between them. A step is operands, operators and a result; a later number
equal to a step's result is taken to come from it, and a change travels along these links to the final answer. Texts
whose steps do not all check, and changes that cannot be followed without doubt, are refused rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from harness.tasks.wording import ANSWER_MARK

TIMES_SIGN = "\N{MULTIPLICATION SIGN}"
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_NUMBER = re.compile(rf"(?<![\w.,]){_DIGITS}(?![\d])|(?<=[-+*/{TIMES_SIGN}÷=(]){_DIGITS}")
_OPERAND = rf"[$£€]?{_DIGITS}%?"
# Up to five words ("coloring books", "minutes/batch") may stand between a number and the next operator.
_UNIT = r"(?:/[A-Za-z]+)?(?: (?!x )[A-Za-z']+(?:/[A-Za-z]+)?){0,5}"
_OPERATOR = rf" ?(?:[-+*/{TIMES_SIGN}÷]|(?<= )x(?= )) ?"
_STEP = re.compile(rf"(?<![\w.,]){_OPERAND}{_UNIT}(?:{_OPERATOR}{_OPERAND}{_UNIT})+ ?= ?(?={_OPERAND})")
_BULLET = re.compile(r"^(?:[•-]|\d+\.) ")
_SIGNS = {"x": "*", TIMES_SIGN: "*", "÷": "/"}
_MOST_DECIMALS = 2

# Numbers a solution may bring in by itself (halves, days, dozens, minutes, percent): never certain to be a result.
CONSTANTS = frozenset(Fraction(value) for value in (1, 2, 3, 4, 7, 10, 12, 24, 30, 52, 60, 100, 365, 1000))


@dataclass(frozen=True)
class Step:
    """One equation. Numbers are named by their position in the text; `operators[i]` stands before operand i + 1."""

    operands: tuple[int, ...]
    operators: tuple[str, ...]
    operator_pieces: tuple[int, ...]
    result: int
    line: int


def format_number(value: Fraction) -> str | None:
    """Whole or with at most two decimals; None for what has no such form."""
    scaled = value * 10**_MOST_DECIMALS
    if scaled.denominator != 1:
        return None
    if value.denominator == 1:
        return str(value.numerator)
    return f"{scaled.numerator / 10**_MOST_DECIMALS:.{_MOST_DECIMALS}f}".rstrip("0")


def numbers_in(text: str) -> list[Fraction]:
    return [Fraction(found.group().replace(",", "")) for found in _NUMBER.finditer(text)]


def calculate(operands: Sequence[Fraction], operators: Sequence[str]) -> Fraction | None:
    """The value with the usual precedence; None where it divides by zero."""
    terms = [operands[0]]
    for operator, operand in zip(operators, operands[1:], strict=True):
        if operator == "*":
            terms[-1] *= operand
        elif operator == "/":
            if operand == 0:
                return None
            terms[-1] /= operand
        else:
            terms.append(operand if operator == "+" else -operand)
    return sum(terms, Fraction(0))


@dataclass(frozen=True)
class WorkedArithmetic:
    """A worked solution taken apart: `pieces[i]` stands before number i, the last piece after the last number.

    `values[i]` is the number as written (50 for "50%"), `percents[i]` whether a percent sign follows. The last number
    is the final answer. `given` are the numbers of the question.
    """

    pieces: tuple[str, ...]
    values: tuple[Fraction, ...]
    percents: tuple[bool, ...]
    lines: tuple[int, ...]
    steps: tuple[Step, ...]
    given: frozenset[Fraction]

    @classmethod
    def read(cls, solution: str, question: str) -> WorkedArithmetic | None:
        """Read a solution in plain wording; None where a step does not check or the answer is not the last result."""
        normal = _normalise(solution)
        found = list(_NUMBER.finditer(normal))
        if not found:
            return None
        ends = [0, *(number.end() for number in found)]
        starts = [*(number.start() for number in found), len(normal)]
        pieces = tuple(normal[end:start] for end, start in zip(ends, starts, strict=True))
        values = tuple(Fraction(number.group()) for number in found)
        percents = tuple(piece.startswith("%") for piece in pieces[1:])
        lines = tuple(normal.count("\n", 0, number.start()) for number in found)
        steps = _find_steps(normal, {number.start(): index for index, number in enumerate(found)}, pieces, lines)
        worked = cls(pieces, values, percents, lines, steps, frozenset(numbers_in(question)))
        return worked if worked._checks(normal) else None

    def _checks(self, normal: str) -> bool:
        if any(format_number(value) is None for value in self.values) or len(self.steps) < 1:
            return False
        if _has_other_equations(normal):
            return False
        if any(self.result_of(step, self.values, step.operators) != self.values[step.result] for step in self.steps):
            return False
        return self.values[-1] == self.values[self.steps[-1].result]

    @property
    def text(self) -> str:
        """The solution itself, in plain wording."""
        return self._text(self.values, self._operators)

    @cached_property
    def _operators(self) -> dict[int, tuple[str, ...]]:
        return {number: step.operators for number, step in enumerate(self.steps)}

    def result_of(self, step: Step, values: Sequence[Fraction], operators: Sequence[str]) -> Fraction | None:
        """The step's result as it would be written, from the numbers in `values`."""
        operands = [values[index] / 100 if self.percents[index] else values[index] for index in step.operands]
        result = calculate(operands, operators)
        return result * 100 if result is not None and self.percents[step.result] else result

    @cached_property
    def sources(self) -> Mapping[int, int]:
        """Number -> the step it repeats the result of. A mention may stand before the equation in the same line."""
        results = {step.result: number for number, step in enumerate(self.steps)}
        operands = {index: number for number, step in enumerate(self.steps) for index in step.operands}
        links: dict[int, int] = {}
        for index, value in enumerate(self.values):
            if index in results:
                continue
            for number, step in enumerate(self.steps):
                later = index > step.result
                mention = index not in operands and self.lines[index] == step.line
                if (later or mention) and self.values[step.result] == value:
                    links[index] = number
        return links

    def is_certain(self, number: int) -> bool:
        """Whether every number equal to this step's result surely is that result."""
        value = self.values[self.steps[number].result]
        elsewhere = [step.result for other, step in enumerate(self.steps) if other != number]
        earlier = [index for step in self.steps for index in step.operands if index < self.steps[number].result]
        return (
            value not in self.given
            and value not in CONSTANTS
            and all(self.values[index] != value for index in (*elsewhere, *earlier))
        )

    def changed(
        self,
        *,
        numbers: Mapping[int, Fraction] | None = None,
        results: Mapping[int, Fraction] | None = None,
        operators: Mapping[int, tuple[str, ...]] | None = None,
    ) -> str | None:
        """The solution after a change, with everything that depends on it recomputed.

        Args:
            numbers: number -> value written instead.
            results: step -> result written instead of the right one.
            operators: step -> operators used instead.

        Returns:
            The text; None if the change cannot be followed for certain, or leads to numbers unlike the originals
            (negative, zero, or broken where they were whole).
        """
        values = list(self.values)
        signs = self._operators | dict(operators or {})
        for index, value in (numbers or {}).items():
            values[index] = value
        for number, step in enumerate(self.steps):
            result = (results or {}).get(number, self.result_of(step, values, signs[number]))
            if result is None or not self._is_alike(result, self.values[step.result]):
                return None
            if result == self.values[step.result]:
                continue
            certain = self.is_certain(number)
            if not certain and number != len(self.steps) - 1:
                return None
            values[step.result] = result
            for index, source in self.sources.items():
                if source == number and (certain or index > step.result):
                    values[index] = result
        return self._text(values, signs)

    def with_answer(self, answer: Fraction) -> str | None:
        """The same steps before another final answer."""
        if answer == self.values[-1] or not self._is_alike(answer, self.values[-1]):
            return None
        return self._text([*self.values[:-1], answer], self._operators)

    @staticmethod
    def _is_alike(value: Fraction, original: Fraction) -> bool:
        whole = value.denominator == 1 or original.denominator != 1
        return value > 0 and whole and format_number(value) is not None

    def _text(self, values: Sequence[Fraction], signs: Mapping[int, tuple[str, ...]]) -> str:
        pieces = list(self.pieces)
        for number, step in enumerate(self.steps):
            for piece, old, new in zip(step.operator_pieces, step.operators, signs[number], strict=True):
                before, _, after = pieces[piece].rpartition(f" {old} ")
                pieces[piece] = f"{before} {new} {after}"
        written = [format_number(value) or "" for value in values]
        return "".join(piece + number for piece, number in zip(pieces, [*written, ""], strict=True))


def _normalise(solution: str) -> str:
    """One form for operators, spaces, thousands and decimals; no headings or bullets; lines end with a full stop."""
    lines = [_BULLET.sub("", line.strip()) for line in solution.split("\n") if line.strip()]
    lines = [line if line.startswith(ANSWER_MARK) else _normal_line(line) for line in lines if line[-1] != ":"]
    return _NUMBER.sub(_plain_number, "\n".join(lines))


def _normal_line(line: str) -> str:
    line = _STEP.sub(_spaced_step, line)
    return line if line.endswith((".", "!")) else line + "."


def _spaced_step(step: re.Match[str]) -> str:
    text = re.sub(
        rf"({_OPERAND}{_UNIT})({_OPERATOR})(?={_OPERAND})",
        lambda found: f"{found.group(1)} {_SIGNS.get(found.group(2).strip(), found.group(2).strip())} ",
        step.group(),
    )
    return re.sub(r" ?= ?$", " = ", text)


def _plain_number(found: re.Match[str]) -> str:
    digits = found.group().replace(",", "")
    return format_number(Fraction(digits)) or digits


def _find_steps(
    normal: str, numbers: Mapping[int, int], pieces: Sequence[str], lines: Sequence[int]
) -> tuple[Step, ...]:
    steps = []
    for found in _STEP.finditer(normal):
        inside = [index for start, index in numbers.items() if found.start() <= start < found.end()]
        operator_pieces = tuple(inside[1:])
        signs = tuple(pieces[index].rstrip("$£€ ")[-1] for index in operator_pieces)
        result = inside[-1] + 1
        steps.append(Step(tuple(inside), signs, operator_pieces, result, lines[result]))
    return tuple(steps)


def _has_other_equations(normal: str) -> bool:
    """Whether an equals sign follows arithmetic that was not understood as a step (unknowns, chains, brackets)."""
    rest = _STEP.sub("", normal)
    return any(re.search(r"[\dA-Z]|half", re.split(r"[.;:,\n] ?", before)[-1]) for before in rest.split("=")[:-1])

"""Surface variants of worked solutions, and reading the final answer back out of them.

A solution in plain wording is one step a line and a last line "#### answer". A style is drawn apart from any text, so
that a right and a mistaken solution can be given the very same one. It must never touch a number or an answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

ANSWER_MARK = "#### "

OPENINGS = ("", "", "Let us work it out.", "Let's go step by step.", "Solution:", "Here is how to find it.")
MARKERS = ("", "", "- ", "Step {number}: ", "{number}. ", "({number}) ")
JOINERS = ("\n", "\n", " ")
CLOSINGS = ("#### {answer}", "The answer is {answer}.", "Answer: {answer}", "So the final answer is {answer}.")

# Currency before a number, the number itself with thousands separators, decimals or a denominator.
_STATED = r"[$£€]?\s*(-?[$£€]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?)"
_ANSWERS = (
    re.compile(r"\\boxed\{\s*" + _STATED),
    re.compile(r"####\s*" + _STATED),
    re.compile(r"\banswer(?:\s+is)?[\s:=*]*" + _STATED, re.IGNORECASE),
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a solution is laid out; see the tuples above for what is drawn."""

    opening: str
    marker: str
    joiner: str
    closing: str

    @classmethod
    def draw(cls, rng: Random) -> Style:
        return cls(
            opening=rng.choice(OPENINGS),
            marker=rng.choice(MARKERS),
            joiner=rng.choice(JOINERS),
            closing=rng.choice(CLOSINGS),
        )

    def apply(self, solution: str) -> str:
        """Lay out a solution in plain wording."""
        *steps, last = solution.split("\n")
        lines = [self.marker.format(number=number) + step for number, step in enumerate(steps, start=1)]
        if self.opening:
            lines.insert(0, self.opening)
        lines.append(self.closing.format(answer=last.removeprefix(ANSWER_MARK)))
        return self.joiner.join(lines)


def plain_solution(steps: list[str], answer: str) -> str:
    """Steps and answer in plain wording."""
    return "\n".join([*steps, ANSWER_MARK + answer])


def stated_number(text: str) -> str | None:
    """The number a text states last as its answer (after "####", "answer is", "Answer:" or in a box), as written."""
    stated = [found for pattern in _ANSWERS for found in pattern.finditer(text)]
    if not stated:
        return None
    return re.sub(r"[\s,$£€]", "", max(stated, key=lambda found: found.start(1)).group(1))

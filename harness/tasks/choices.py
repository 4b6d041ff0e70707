"""Multiple-choice tasks: a question with labelled options, of which one is right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import ClassVar

from harness.errors import DataError
from harness.tasks.fixed import FixedTask
from harness.tasks.task import Choice, Problem

WRONG_OPTION = "wrong_option"
_LABELS = "ABCDEFGHIJ"
_STATED = re.compile(
    r"(?:\b(?i:answer(?:\s+is)?)[\s:=*]*\(?|\\boxed\{\(?|^\s*\(?)([A-J])\b(?=[).:}*]|\s*$)", re.MULTILINE
)


class ChoiceTask(FixedTask):
    """What tasks with options have in common: the right option over the wrong ones is a preference.

    A solution is an option with its label, `(B) library`. What a model writes counts by the last label it states.
    """

    seen_errors: ClassVar[tuple[str, ...]] = (WRONG_OPTION,)
    has_choices: ClassVar[bool] = True

    def choice(
        self, name: str, *, question: str, options: Sequence[str], right: int, place: str, cluster: str = ""
    ) -> Problem:
        """The problem called `name`; `right` counts from 0. Options may be alike, as they are in published data.

        Raises:
            DataError: fewer than two different options, more than ten, or no right one among them.
        """
        texts = [option.strip() for option in options]
        if len(set(texts)) < 2 or len(texts) > len(_LABELS) or not 0 <= right < len(texts):
            rule = f"a question must have 2 to {len(_LABELS)} options, one of them right"
            value = f"it has {len(texts)}, {len(set(texts))} of them different, and number {right + 1} is right"
            raise DataError(rule, value, "correct the file", place)
        listed = [_option(number, text) for number, text in enumerate(texts)]
        return Problem(
            id=name,
            cluster=cluster,
            split="",
            prompt="\n".join([question.strip(), *listed, "Answer: "]),
            answer=_LABELS[right],
            solution=listed[right],
            metadata={"options": texts},
        )

    def extract(self, text: str) -> str | None:
        stated = _STATED.findall(text)
        return stated[-1] if stated else None

    def grade(self, problem: Problem, text: str) -> bool:
        """Whether the option is the right one, or says the same."""
        stated = self.extract(text)
        options = problem.metadata["options"]
        number = -1 if stated is None else _LABELS.index(stated)
        return 0 <= number < len(options) and options[number] == options[_LABELS.index(problem.answer)]

    def choices(self, problem: Problem) -> list[Choice]:
        """The options. Those that say the same as the right one are right."""
        texts, right = problem.metadata["options"], _LABELS.index(problem.answer)
        return [Choice(text=_option(number, text), correct=text == texts[right]) for number, text in enumerate(texts)]

    def propose_mistakes(self, problem: Problem, rng: Random, kind: str) -> Iterator[str]:
        options = problem.metadata["options"]
        numbers = {text: number for number, text in reversed(list(enumerate(options)))}  # the first of those alike
        del numbers[options[_LABELS.index(problem.answer)]]
        wrong = list(numbers.values())
        rng.shuffle(wrong)
        yield from (_option(number, options[number]) for number in wrong)


def _option(number: int, text: str) -> str:
    return f"({_LABELS[number]}) {text}"

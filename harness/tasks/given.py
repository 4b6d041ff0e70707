"""Benchmarks of reward models: a prompt comes with right and wrong responses, and nothing else can be graded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from harness.errors import DataError
from harness.tasks.fixed import FixedTask
from harness.tasks.task import Choice, Problem


class GivenTask(FixedTask):
    """What they have in common. A prompt is used as it stands, without a word of ours, so that scores equal published
    ones; it only evaluates, by `choices` or by an evaluation of its own.
    """

    grades: ClassVar[bool] = False
    has_choices: ClassVar[bool] = True

    def given(
        self, name: str, *, prompt: str, right: Sequence[str], wrong: Sequence[str], place: str, cluster: str = ""
    ) -> Problem:
        """The problem called `name`, its right responses first.

        Raises:
            DataError: there is no right or no wrong one.
        """
        if not right or not wrong:
            value = f"there are {len(right)} right and {len(wrong)} wrong ones"
            raise DataError("a prompt must have right and wrong responses", value, "correct the file", place)
        return Problem(
            id=name,
            cluster=cluster,
            split="",
            prompt=prompt,
            answer="",
            solution=right[0],
            metadata={"right": list(right), "wrong": list(wrong)},
        )

    def choices(self, problem: Problem) -> list[Choice]:
        sides = ((True, problem.metadata["right"]), (False, problem.metadata["wrong"]))
        return [Choice(text=text, correct=correct) for correct, texts in sides for text in texts]

    def extract(self, text: str) -> str | None:
        return None

    def grade(self, problem: Problem, text: str) -> bool:
        """Whether it is one of the right responses."""
        return text in problem.metadata["right"]

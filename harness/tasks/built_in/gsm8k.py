"""GSM8K (arXiv 2110.14168): grade-school word problems with worked solutions that end in `#### N`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.fixed import FixedTask, HubDataset
from harness.tasks.grading import canonical
from harness.tasks.task import Problem
from harness.tasks.wording import stated_number

_CALCULATIONS = re.compile(r"<<[^<>]*>>")  # for a calculator, and no part of the text


class Gsm8k(FixedTask):
    """No options. Fine-tuning and dev problems are of its train part, test problems of its test part."""

    name: ClassVar[str] = "gsm8k"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/openai/grade-school-math"
    parts: ClassVar[Mapping[str, str]] = {"finetune": "train", "dev": "train", "test": "test"}
    hub = HubDataset(
        id="openai/gsm8k",
        revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
        files={"train": "main/train-00000-of-00001.parquet", "test": "main/test-00000-of-00001.parquet"},
        problems={"train": 7_473, "test": 1_319},
    )
    columns = frozenset({"question", "answer"})

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        solution = _CALCULATIONS.sub("", row.text("answer"))
        answer = self.extract(solution)
        if answer is None or "####" not in solution:
            raise DataError("`answer` must end in `#### N`", "it does not", "correct the file", row.place)
        return Problem(
            id=f"{part}-{number}",
            cluster="",
            split=part,
            prompt=f"Question: {row.text('question')}\nAnswer:\n",
            answer=answer,
            solution=solution,
        )

    def extract(self, text: str) -> str | None:
        stated = stated_number(text)
        return None if stated is None else canonical(stated)[1]

    def grade(self, problem: Problem, text: str) -> bool:
        return self.extract(text) == problem.answer

"""SVAMP (arXiv 2103.07191): 1,000 one-step word problems, most of them one of several variations of a story."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.built_in.gsm8k import Gsm8k
from harness.tasks.fixed import HubDataset
from harness.tasks.grading import canonical
from harness.tasks.stories import stories
from harness.tasks.task import Problem

PART = "problems"

_WHOLE = re.compile(r"(\d)\.0\b")


class Svamp(Gsm8k):
    """No options. Answers are read and graded as GSM8K's.

    All splits are dealt out of the thousand problems, variations of a story together: the published split of 700 and
    300 has the stories of most of its test problems among those that it trains on.
    """

    name: ClassVar[str] = "svamp"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/arkilpatel/SVAMP"
    parts: ClassVar[Mapping[str, str]] = {"finetune": PART, "dev": PART, "test": PART}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {PART: (PART, "SVAMP")}
    hub = HubDataset(
        id="ChilleD/SVAMP",
        revision="5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef",
        files={PART: ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet")},
        problems={PART: 1_000},
    )
    columns = frozenset({"ID", "Body", "Question", "Equation", "Answer"})

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        kind, answer = canonical(row.answer("Answer") or "")
        if kind != "number":
            raise DataError("`Answer` must be a number", f"it is {answer!r}", "correct the file", row.place)
        equation = _WHOLE.sub(r"\1", row.text("Equation")).strip().removeprefix("( ").removesuffix(" )")
        return Problem(
            id=row.name("ID"),
            cluster="",
            split=part,
            prompt=f"Question: {row.text('Body').strip()} {row.text('Question').strip()}\nAnswer:\n",
            answer=answer,
            solution=f"{equation} = {answer}\n#### {answer}",
        )

    def alike(self, prompts: Sequence[str]) -> Sequence[int]:
        return stories(prompts)

"""StrategyQA (arXiv 2101.02235): yes/no questions whose steps of reasoning are left to be found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.choices import ChoiceTask, right_answer
from harness.tasks.fixed import HubDataset, content_key
from harness.tasks.task import Problem

OPTIONS = ("yes", "no")


class Strategyqa(ChoiceTask):
    """No options. The published test part has no answers, so test problems are of a part held out of the train part.

    On the hub that part is called test. BIG-bench's file, often passed on as StrategyQA's test part, holds all
    questions of the train and dev parts: it is refused, by the facts that it does not have.
    """

    name: ClassVar[str] = "strategyqa"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/eladsegal/strategyqa"
    parts: ClassVar[Mapping[str, str]] = {"finetune": "train", "dev": "train", "test": "dev"}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {"dev": ("dev", "validation")}
    hub = HubDataset(
        id="ChilleD/StrategyQA",
        revision="705562638fe1d8ca6bb98c66fc8f94d45fda8c83",
        files={"train": "train.json", "dev": "test.json"},
        problems={"train": 1_603, "dev": 687},
    )
    columns = frozenset({"id", "qid", "question", "answer", "facts"})
    apart: ClassVar[bool] = True
    words: ClassVar[Mapping[str, str]] = {"yes": "A", "no": "B"}

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        if not row.has("facts"):
            rule = "`facts` must be there, as in StrategyQA's own train and dev parts"
            value = "it is missing, as in BIG-bench's file, which holds the questions of both"
            raise DataError(rule, value, "name files of StrategyQA itself", row.place)
        right_answer(row, "answer")
        question = row.text("question")
        return self.choice(
            row.name("qid" if row.has("qid") else "id"),
            question=question,
            options=OPTIONS,
            right=0 if row.boolean("answer") else 1,
            place=row.place,
            cluster=content_key(question),
        )

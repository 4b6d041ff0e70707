"""FOLIO (arXiv 2209.00840): whether a conclusion follows from premises in first-order logic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.choices import ChoiceTask, right_answer
from harness.tasks.fixed import HubDataset, content_key
from harness.tasks.task import Problem

OPTIONS = ("True", "False", "Unknown")


class Folio(ChoiceTask):
    """No options. The test part is not published, so test problems are of the validation part.

    Conclusions from the same premises are one cluster. `Uncertain` and `Unknown` are one label, as the versions of the
    data spell it. The hub asks for its terms to be accepted and shows nobody else a commit, so the branch is named;
    identity is the file's digest.
    """

    name: ClassVar[str] = "folio"
    licence: ClassVar[str] = "CC-BY-SA-4.0"
    source: ClassVar[str] = "https://github.com/Yale-LILY/FOLIO"
    parts: ClassVar[Mapping[str, str]] = {"finetune": "train", "dev": "train", "test": "validation"}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": ("train", "folio-train", "folio_v2_train"),
        "validation": ("validation", "folio-validation", "folio_v2_validation"),
    }
    hub = HubDataset(
        id="yale-nlp/FOLIO",
        revision="main",
        files={"train": "folio_v2_train.jsonl", "validation": "folio_v2_validation.jsonl"},
        problems={"train": 1_004, "validation": 204},  # of the first release
    )
    columns = frozenset({"premises", "conclusion", "label"})
    apart: ClassVar[bool] = True
    words: ClassVar[Mapping[str, str]] = {"true": "A", "false": "B", "unknown": "C", "uncertain": "C"}

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        label = self.words.get(right_answer(row, "label").lower())
        if label is None:
            rule = f"`label` must be {', '.join(OPTIONS)} or Uncertain"
            raise DataError(rule, f"it is {right_answer(row, 'label')[:40]!r}", "correct the file", row.place)
        premises = "\n".join(row.lines("premises"))
        question = "Is the conclusion true, false or unknown?"
        return self.choice(
            f"{part}-{number}",
            question=f"Premises:\n{premises}\nConclusion: {row.text('conclusion')}\n{question}",
            options=OPTIONS,
            right="ABC".index(label),
            place=row.place,
            cluster=content_key(premises),
        )

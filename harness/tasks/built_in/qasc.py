"""QASC (arXiv 1910.11473): grade-school science that combines two facts, eight options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.sources.fields import Fields
from harness.tasks.choices import ChoiceTask, labelled_options
from harness.tasks.fixed import HubDataset, content_key
from harness.tasks.task import Problem


class Qasc(ChoiceTask):
    """No options. The test part has no labels, so test problems are of the validation part.

    The two facts are not shown. Questions that were written from the same first fact are one cluster.
    """

    name: ClassVar[str] = "qasc"
    licence: ClassVar[str] = "CC-BY-4.0"
    source: ClassVar[str] = "https://github.com/allenai/qasc"
    parts: ClassVar[Mapping[str, str]] = {"finetune": "train", "dev": "train", "test": "validation"}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {"validation": ("validation", "dev")}
    hub = HubDataset(
        id="allenai/qasc",
        revision="a34ba204eb9a33b919c10cc08f4f1c8dae5ec070",
        files={
            "train": "data/train-00000-of-00001.parquet",
            "validation": "data/validation-00000-of-00001.parquet",
        },
        problems={"train": 8_134, "validation": 926},
    )
    columns = frozenset({"id", "question", "choices", "answerKey", "fact1"})
    apart: ClassVar[bool] = True

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        question, options, right = labelled_options(row)
        return self.choice(
            row.name("id"),
            question=question,
            options=options,
            right=right,
            place=row.place,
            cluster=content_key(row.text("fact1")),
        )

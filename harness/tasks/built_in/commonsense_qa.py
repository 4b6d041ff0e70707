"""CommonsenseQA (arXiv 1811.00937): everyday knowledge, five options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.sources.fields import Fields
from harness.tasks.choices import ChoiceTask, labelled_options
from harness.tasks.fixed import HubDataset
from harness.tasks.task import Problem


class CommonsenseQa(ChoiceTask):
    """No options. The test part has no labels, so test problems are of the validation part."""

    name: ClassVar[str] = "commonsense_qa"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://www.tau-nlp.org/commonsenseqa"
    parts: ClassVar[Mapping[str, str]] = {"finetune": "train", "dev": "train", "test": "validation"}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": ("train", "train_rand_split"),
        "validation": ("validation", "dev", "dev_rand_split"),
    }
    hub = HubDataset(
        id="tau/commonsense_qa",
        revision="94630fe30dad47192a8546eb75f094926d47e155",
        files={
            "train": "data/train-00000-of-00001.parquet",
            "validation": "data/validation-00000-of-00001.parquet",
        },
        problems={"train": 9_741, "validation": 1_221},
    )
    columns = frozenset({"id", "question", "choices", "answerKey"})

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        question, options, right = labelled_options(row)
        return self.choice(row.name("id"), question=question, options=options, right=right, place=row.place)

"""ReClor (arXiv 2002.04326): logical reasoning over a passage, four options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.sources.fields import Fields
from harness.tasks.choices import ChoiceTask, right_answer
from harness.tasks.fixed import HubDataset, content_key
from harness.tasks.task import Problem


class Reclor(ChoiceTask):
    """No options. The test part has no labels, so test problems are of the validation part.

    Questions on one passage are one cluster. The authors give the data away for non-commercial research alone.
    """

    name: ClassVar[str] = "reclor"
    licence: ClassVar[str] = "non-commercial-research"
    source: ClassVar[str] = "https://whyu.me/reclor"
    parts: ClassVar[Mapping[str, str]] = {"finetune": "train", "dev": "train", "test": "validation"}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {"validation": ("validation", "val", "dev")}
    hub = HubDataset(
        id="tasksource/reclor",
        revision="0414b39bfc39b2d555b48fa245fc198744c46215",
        files={"train": "train.json", "validation": "val.json"},
        problems={"train": 4_638, "validation": 500},
    )
    columns = frozenset({"context", "question", "answers", "label", "id_string"})
    apart: ClassVar[bool] = True

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        right_answer(row, "label")
        passage = row.text("context")
        return self.choice(
            row.name("id_string"),
            question=f"{passage}\nQuestion: {row.text('question')}",
            options=row.texts("answers"),
            right=row.index("label"),
            place=row.place,
            cluster=content_key(passage),
        )

"""JudgeBench (arXiv 2410.12784): two responses of one model to a hard question, one of them right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.fixed import HubDataset
from harness.tasks.given import GivenTask
from harness.tasks.task import Problem

LABELS = ("A>B", "B>A")


class JudgeBench(GivenTask):
    """No options. The responses are GPT-4o's; a file of Claude's is named as `path`."""

    name: ClassVar[str] = "judgebench"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/ScalerLab/JudgeBench"
    parts: ClassVar[Mapping[str, str]] = {"test": "test"}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {"test": ("test", "gpt", "gpt-00000-of-00001")}
    hub = HubDataset(
        id="ScalerLab/JudgeBench",
        revision="main",
        files={"test": "data/gpt-00000-of-00001.jsonl"},
        problems={"test": 350},
    )
    columns = frozenset({"pair_id", "question", "response_A", "response_B", "label"})

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        responses, label = (row.text("response_A"), row.text("response_B")), row.text("label")
        if label not in LABELS:
            raise DataError(f"`label` must be {' or '.join(LABELS)}", f"it is {label!r}", "correct the file", row.place)
        right = LABELS.index(label)
        return self.given(
            row.name("pair_id"),
            prompt=row.text("question"),
            right=responses[right : right + 1],
            wrong=responses[1 - right : 2 - right],
            place=row.place,
        )

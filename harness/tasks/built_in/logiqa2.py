"""LogiQA 2.0 (doi 10.1109/TASLP.2023.3293046): reading comprehension that asks for logical reasoning, four options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from harness.sources.fields import Fields
from harness.sources.rows import ENDINGS, read_rows
from harness.tasks.choices import ChoiceTask, right_answer
from harness.tasks.fixed import HubDataset, content_key
from harness.tasks.task import Problem

TEXT = ".txt"  # how the original calls its JSON lines


class Logiqa2(ChoiceTask):
    """No options. Questions on one passage are one cluster.

    No commit of the copy on the hub is published anywhere, so the branch is named; the hub resolves it to a commit,
    which is part of the path that the file is kept under, and identity is the file's digest.
    """

    name: ClassVar[str] = "logiqa2"
    licence: ClassVar[str] = "CC-BY-NC-SA-4.0"
    source: ClassVar[str] = "https://github.com/csitfun/LogiQA2.0"
    parts: ClassVar[Mapping[str, str]] = {"finetune": "train", "dev": "dev", "test": "test"}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {"dev": ("dev", "validation")}
    hub = HubDataset(
        id="datatune/LogiQA2.0",
        revision="main",
        files={"train": "MRC/train.txt", "dev": "MRC/dev.txt", "test": "MRC/test.txt"},
        problems={"train": 12_567, "dev": 1_569, "test": 1_572},
    )
    columns = frozenset({"answer", "text", "question", "options"})
    endings: ClassVar[tuple[str, ...]] = (*ENDINGS, TEXT)
    apart: ClassVar[bool] = True

    def rows(self, path: Path) -> Iterator[tuple[str, Any]]:
        return read_rows(path, self.columns, ".jsonl" if path.name.lower().endswith(TEXT) else "")

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        right_answer(row, "answer")
        passage = row.text("text")
        return self.choice(
            f"{part}-{number}",
            question=f"{passage}\nQuestion: {row.text('question')}",
            options=row.texts("options"),
            right=row.index("answer"),
            place=row.place,
            cluster=content_key(passage),
        )

"""Balanced COPA (doi 10.18653/v1/D19-6004): which of two alternatives is the cause, or the effect, of what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.sources.rows import ENDINGS, read_rows
from harness.sources.xml_items import XML, read_items
from harness.tasks.choices import ChoiceTask, right_answer
from harness.tasks.fixed import HubDataset
from harness.tasks.task import Problem

QUESTIONS = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}
ITEMS = 1_000  # of COPA; the mirrored item of number n is n + 1000


class BalancedCopa(ChoiceTask):
    """No options. Test problems are COPA's own test items, which have no mirrored ones.

    An item and the mirrored one, in which the other alternative is right, are one cluster.
    """

    name: ClassVar[str] = "balanced_copa"
    licence: ClassVar[str] = "CC-BY-4.0"
    source: ClassVar[str] = "https://github.com/Balanced-COPA/Balanced-COPA"
    parts: ClassVar[Mapping[str, str]] = {"finetune": "train", "dev": "train", "test": "test"}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": ("train", "balanced-copa-dev-all"),
        "test": ("test", "copa-test"),
    }
    hub = HubDataset(
        id="pkavumba/balanced-copa",
        revision="813bd03cd6e07d9bd8d7333896ad5d40abb95ea9",
        files={"train": "train.csv", "test": "test.csv"},
        problems={"train": 1_000, "test": 500},
    )
    columns = frozenset({"id", "premise", "question", "choice1", "choice2", "label"})
    endings: ClassVar[tuple[str, ...]] = (*ENDINGS, XML)

    def rows(self, path: Path) -> Iterator[tuple[str, Any]]:
        if not path.name.lower().endswith(XML):
            return read_rows(path, self.columns)
        return read_items(path, "item", frozenset({"p", "a1", "a2"}))

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        original = row.has("asks-for")
        premise, asks, label = (
            ("p", "asks-for", "most-plausible-alternative") if original else ("premise", "question", "label")
        )
        first, second = ("a1", "a2") if original else ("choice1", "choice2")
        right_answer(row, label)
        kind = row.text(asks)
        if kind not in QUESTIONS:
            raise DataError(f"`{asks}` must be cause or effect", f"it is {kind[:40]!r}", "correct the file", row.place)
        return self.choice(
            f"{part}-{number}",
            question=f"{row.text(premise)}\n{QUESTIONS[kind]}",
            options=(row.text(first), row.text(second)),
            right=row.index(label) - (1 if original else 0),
            place=row.place,
            cluster=f"item-{(row.index('id') - 1) % ITEMS + 1}",
        )

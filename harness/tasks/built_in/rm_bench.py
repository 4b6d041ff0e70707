"""RM-Bench (arXiv 2410.16184): right and subtly wrong responses, each in three styles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.fixed import HubDataset
from harness.tasks.given import GivenTask
from harness.tasks.task import Problem

DOMAINS = ("chat", "math", "code", "safety-refuse", "safety-response")
STYLES = 3


class RmBench(GivenTask):
    """No options. A problem is called `<domain>/<id>`; responses are concise, detailed, and detailed in Markdown."""

    name: ClassVar[str] = "rm_bench"
    licence: ClassVar[str] = "ODC-BY"
    source: ClassVar[str] = "https://github.com/THU-KEG/RM-Bench"
    parts: ClassVar[Mapping[str, str]] = {"test": "test"}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {"test": ("test", "total_dataset")}
    hub = HubDataset(
        id="THU-KEG/RM-Bench", revision="main", files={"test": "total_dataset.json"}, problems={"test": 1_327}
    )
    columns = frozenset({"id", "prompt", "chosen", "rejected", "domain"})

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        domain, right, wrong = row.text("domain"), row.texts("chosen"), row.texts("rejected")
        if domain not in DOMAINS:
            raise DataError(
                f"`domain` must be one of {', '.join(DOMAINS)}", f"it is {domain!r}", "correct the file", row.place
            )
        if len(right) != STYLES or len(wrong) != STYLES:
            value = f"there are {len(right)} and {len(wrong)}"
            raise DataError(
                f"`chosen` and `rejected` must be of {STYLES} styles each", value, "correct the file", row.place
            )
        return self.given(
            f"{domain}/{row.name('id')}", prompt=row.text("prompt"), right=right, wrong=wrong, place=row.place
        )

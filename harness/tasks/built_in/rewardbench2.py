"""RewardBench 2 (arXiv 2506.01937): prompts with one right response of four, and with many equally right ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.fixed import HubDataset
from harness.tasks.given import GivenTask
from harness.tasks.task import Problem

TIES = "Ties"
SUBSETS = ("Factuality", "Precise IF", "Math", "Safety", "Focus", TIES)


class RewardBench2(GivenTask):
    """No options. A problem is called `<subset>/<id>`; the two prompts of a tie are one cluster."""

    name: ClassVar[str] = "rewardbench2"
    licence: ClassVar[str] = "ODC-BY"
    source: ClassVar[str] = "https://huggingface.co/datasets/allenai/reward-bench-2"
    parts: ClassVar[Mapping[str, str]] = {"test": "test"}
    hub = HubDataset(
        id="allenai/reward-bench-2",
        revision="7ff08853b0d5686e79b13fda8677024f566a104a",
        files={"test": "data/test-00000-of-00001.parquet"},
        problems={"test": 1_865},
    )
    columns = frozenset({"id", "prompt", "chosen", "rejected", "subset"})

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        name, subset = row.name("id"), row.text("subset")
        if subset not in SUBSETS:
            raise DataError(
                f"`subset` must be one of {', '.join(SUBSETS)}", f"it is {subset!r}", "correct the file", row.place
            )
        kind, _, tie = name.partition(":")
        if subset == TIES and (kind not in ("ref", "tied") or not tie):
            raise DataError(
                "`id` of a tie must be `ref:N` or `tied:N`", f"it is {name!r}", "correct the file", row.place
            )
        return self.given(
            f"{subset}/{name}",
            prompt=row.text("prompt"),
            right=row.texts("chosen"),
            wrong=row.texts("rejected"),
            place=row.place,
            cluster=f"{TIES}/{tie}" if subset == TIES else "",
        )

"""MATH (arXiv 2103.03874): 12,500 competition problems with worked solutions, in seven subjects and five levels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.built_in.math500 import Math500
from harness.tasks.fixed import HubDataset
from harness.tasks.task import Problem

SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
_LEVEL = re.compile("Level ([1-5?])")
_LOOSE_BOX = re.compile(r"\\(?:boxed\s+(?P<bare>[^\s$.,]+)|fbox\s*\{(?P<framed>[^{}]*)\})")


class HendrycksMath(Math500):
    """Options and grading are those of MATH-500, which is a tenth of its test part.

    Fine-tuning and dev problems are of its train part, test problems of its test part.
    """

    name: ClassVar[str] = "hendrycks_math"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/hendrycks/math"
    parts: ClassVar[Mapping[str, str]] = {"finetune": "train", "dev": "train", "test": "test"}
    hub = HubDataset(
        id="EleutherAI/hendrycks_math",
        revision="21a5633873b6a120296cce3e2df9d5550074f4a3",
        files={
            part: tuple(f"{subject}/{part}-00000-of-00001.parquet" for subject in SUBJECTS)
            for part in ("train", "test")
        },
        problems={"train": 7_500, "test": 5_000},
    )
    columns = frozenset({"problem", "level", "type", "solution"})

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        level = _LEVEL.fullmatch(row.text("level"))
        if level is None:
            raise DataError("`level` must be `Level N`", f"it is {row.text('level')!r}", "correct the file", row.place)
        answer = self.extract(row.text("solution"))
        if not answer:
            raise DataError("`solution` must hold a `\\boxed{}`", "it holds none", "correct the file", row.place)
        return Problem(
            id=f"{part}-{number}",
            cluster="",
            split=part,
            prompt=f"Problem: {row.text('problem')}\nSolution:\n",
            answer=answer,
            solution=row.text("solution"),
            metadata={"subject": row.text("type"), "level": 0 if level[1] == "?" else int(level[1])},
        )

    def extract(self, text: str) -> str | None:
        """As MATH-500's; some solutions of MATH have `\\boxed 2` or `\\fbox{2}`."""
        stated = super().extract(text)
        if stated is None and (loose := list(_LOOSE_BOX.finditer(text))):
            stated = loose[-1]["bare"] or loose[-1]["framed"]
        return stated

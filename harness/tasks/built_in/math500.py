"""MATH-500 (arXiv 2305.20050): 500 competition problems out of the test set of MATH (arXiv 2103.03874)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from harness.sources.fields import Fields
from harness.tasks.fixed import FixedTask, HubDataset
from harness.tasks.grading import answer_classes
from harness.tasks.task import Problem

_STATED = re.compile(r"\banswer(?:\s+is)?[\s:=*]+([^\n]+?)[.*\s]*$", re.IGNORECASE | re.MULTILINE)


class Math500(FixedTask):
    """No options. It only evaluates. An answer is right if math-verify, whose version is identity, holds it equal."""

    name: ClassVar[str] = "math500"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/openai/prm800k (math_splits), https://github.com/hendrycks/math"
    distribution: ClassVar[str] = "math-verify"
    parts: ClassVar[Mapping[str, str]] = {"test": "test"}
    hub = HubDataset(
        id="HuggingFaceH4/MATH-500",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        files={"test": "test.jsonl"},
    )
    columns = frozenset({"problem", "solution", "answer", "subject", "level", "unique_id"})

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        return Problem(
            id=row.name("unique_id"),
            cluster="",
            split=part,
            prompt=f"Problem: {row.text('problem')}\nSolution:\n",
            answer=row.text("answer"),
            solution=row.text("solution"),
            metadata={"subject": row.text("subject"), "level": row.index("level")},
        )

    def extract(self, text: str) -> str | None:
        """What stands in the last `\\boxed{}`; without one, behind the last "answer is"."""
        boxed = _last_box(text)
        if boxed is not None:
            return boxed
        stated = _STATED.findall(text)
        return stated[-1].strip() if stated else None

    def grade(self, problem: Problem, text: str) -> bool:
        stated = self.extract(text)
        if stated is None:
            return False
        gold, found = answer_classes([problem.answer, stated])
        return gold == found


def _last_box(text: str) -> str | None:
    _, mark, rest = text.rpartition("\\boxed{")
    depth = 1
    for place, character in enumerate(rest if mark else ""):
        depth += (character == "{") - (character == "}")
        if not depth:
            return rest[:place].strip()
    return None

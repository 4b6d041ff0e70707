"""MATH-500 (arXiv 2305.20050): 500 competition problems out of the test set of MATH (arXiv 2103.03874)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.sources.fields import Fields
from harness.tasks.fixed import FixedTask, HubDataset
from harness.tasks.grading import answer_classes
from harness.tasks.task import OptionRule, Problem

LEVELS = [1, 2, 3, 4, 5]
"""Of difficulty, 5 the hardest."""

_STATED = re.compile(r"\banswer(?:\s+is)?[\s:=*]+([^\n]+?)[.*\s]*$", re.IGNORECASE | re.MULTILINE)


class Math500(FixedTask):
    """It only evaluates. An answer is right if math-verify, whose version is identity, holds it equal.

    Options:
        levels: only problems of these levels; all where it is not given.
    """

    name: ClassVar[str] = "math500"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/openai/prm800k (math_splits), https://github.com/hendrycks/math"
    distribution: ClassVar[str] = "math-verify"
    parts: ClassVar[Mapping[str, str]] = {"test": "test"}
    hub = HubDataset(
        id="HuggingFaceH4/MATH-500",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        files={"test": "test.jsonl"},
        problems={"test": 500},
    )
    defaults: ClassVar[Mapping[str, Any]] = {"levels": LEVELS}
    rules: ClassVar[Mapping[str, OptionRule]] = {
        "levels": OptionRule(
            must="list levels from 1 to 5, each once",
            holds=lambda value: (
                isinstance(value, list)
                and bool(value)
                and all(type(level) is int and level in LEVELS for level in value)
                and len(set(value)) == len(value)
            ),
        )
    }
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

    def takes(self, problem: Problem, options: Mapping[str, Any]) -> bool:
        return "levels" not in options or problem.metadata["level"] in options["levels"]

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

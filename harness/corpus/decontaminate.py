"""Find documents that hold what models are judged by: shared word n-grams with evaluation problems.

Source: Brown et al., "Language Models are Few-Shot Learners" (2020), appendix C (13-grams of lower-case words).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.corpus.document import Document

_WORD = re.compile(r"\w+")
# A problem of fewer words than n is looked for as a whole, but not one so short that ordinary text may hold it.
FEWEST_WORDS = 8
EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An evaluation problem with its solution, as text."""

    task: str
    id: str
    text: str


class Contamination:
    """Looks for evaluation problems in documents, and keeps count. Memory goes by the problems alone.

    Args:
        n: words of an n-gram.
        threshold: a document is contaminated if it holds more than this share of a problem's distinct n-grams.
    """

    def __init__(self, problems: Iterable[Problem], *, n: int, threshold: float) -> None:
        self._threshold = threshold
        self._problems: list[Problem] = []
        self._grams: list[int] = []  # of each problem
        self._holders: dict[str, list[int]] = {}
        self._lengths: set[int] = set()
        self._checked: Counter[str] = Counter()
        self._too_short = 0
        self._hit: set[int] = set()
        self._documents = 0
        self._examples: list[dict[str, Any]] = []
        for problem in problems:
            self._add(problem, n)

    def _add(self, problem: Problem, n: int) -> None:
        words = _words(problem.text)
        length = min(n, len(words))
        if length < min(n, FEWEST_WORDS):
            self._too_short += 1
            return
        self._lengths.add(length)
        grams = _grams(words, length)
        for gram in grams:
            self._holders.setdefault(gram, []).append(len(self._problems))
        self._problems.append(problem)
        self._grams.append(len(grams))
        self._checked[problem.task] += 1

    def holds_a_problem(self, document: Document) -> bool:
        """Whether the description and text of a document, read on, are contaminated; it is counted if so."""
        words = _words(f"{document.description}\n{document.text}")
        shared: Counter[int] = Counter()
        for length in self._lengths:
            for gram in _grams(words, length) & self._holders.keys():
                shared.update(self._holders[gram])
        hits = [index for index, count in shared.items() if count > self._threshold * self._grams[index]]
        if not hits:
            return False
        self._documents += 1
        self._hit.update(hits)
        if len(self._examples) < EXAMPLES:
            worst = max(hits, key=lambda index: (shared[index] / self._grams[index], -index))
            self._examples.append(
                {
                    "document": f"{document.path} {document.name}".strip(),
                    "task": self._problems[worst].task,
                    "problem": self._problems[worst].id,
                    "shared": shared[worst],
                    "of": self._grams[worst],
                }
            )
        return True

    def result(self) -> dict[str, Any]:
        """Problems checked by task, those too short to be told from chance, what was hit, and the first examples."""
        return {
            "checked": dict(sorted(self._checked.items())),
            "too_short": self._too_short,
            "documents": self._documents,
            "problems": len(self._hit),
            "examples": self._examples,
        }


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: list[str], length: int) -> set[str]:
    return {" ".join(words[start : start + length]) for start in range(len(words) - length + 1)}

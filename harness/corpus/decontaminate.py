"""Find documents that hold what models are judged by: shared word n-grams with evaluation problems.

Source: Brown et al., "Language Models are Few-Shot Learners" (2020), appendix C (13-grams of lower-case words).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.corpus.document import Document

_WORD = re.compile(r"\w+")
_ASCII_WORDS = bytes(code if _WORD.fullmatch(chr(code)) else ord(" ") for code in range(128)).ljust(256)
# A problem of fewer words than n is looked for as a whole, but not one so short that ordinary text may hold it.
FEWEST_WORDS = 8
EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An evaluation problem with its solution, as text."""

    task: str
    id: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A problem that a document holds `shared` of its `grams` n-grams of."""

    problem: Problem
    shared: int
    grams: int


class ProblemIndex:
    """Evaluation problems by their n-grams. Memory goes by the problems; looking changes nothing.

    Args:
        n: words of an n-gram, 3 or more.
        threshold: a document is contaminated if it holds more than this share of a problem's distinct n-grams.

    Attributes:
        checked: problems looked for, by task.
        too_short: problems that are not looked for, since chance may bring them about.
    """

    def __init__(self, problems: Iterable[Problem], *, n: int, threshold: float) -> None:
        self._threshold = threshold
        self._problems: list[Problem] = []
        self._grams: list[int] = []  # of each problem
        self._holders: dict[str, list[int]] = {}
        self._threes: dict[int, set[tuple[str, ...]]] = {}  # successive words in n-grams of each length
        self.checked: Counter[str] = Counter()
        self.too_short = 0
        for problem in problems:
            self._add(problem, n)

    def _add(self, problem: Problem, n: int) -> None:
        words = _words(problem.text)
        length = min(n, len(words))
        if length < min(n, FEWEST_WORDS):
            self.too_short += 1
            return
        self._threes.setdefault(length, set()).update(_threes(words, 1))
        grams = _grams(words, length)
        for gram in grams:
            self._holders.setdefault(gram, []).append(len(self._problems))
        self._problems.append(problem)
        self._grams.append(len(grams))
        self.checked[problem.task] += 1

    def hits(self, document: Document) -> list[Hit]:
        """The problems that the description and text of a document, read on, hold more than the threshold of."""
        words = _words(f"{document.description}\n{document.text}")
        shared: Counter[int] = Counter()
        for length, threes in self._threes.items():
            # Every n-gram holds three words that begin at a multiple of n - 2, and mostly none are a problem's.
            if threes.isdisjoint(_threes(words, length - 2)):
                continue
            for gram in _grams(words, length) & self._holders.keys():
                shared.update(self._holders[gram])
        return [
            Hit(problem=self._problems[index], shared=count, grams=self._grams[index])
            for index, count in sorted(shared.items())
            if count > self._threshold * self._grams[index]
        ]


class Contamination:
    """Looks for evaluation problems in documents, and keeps count."""

    def __init__(self, problems: ProblemIndex) -> None:
        self._problems = problems
        self._hit: set[tuple[str, str]] = set()
        self._documents = 0
        self._examples: list[dict[str, Any]] = []

    def holds_a_problem(self, document: Document) -> bool:
        """Whether a document is contaminated; it is counted if so."""
        hits = self._problems.hits(document)
        if not hits:
            return False
        self._documents += 1
        self._hit.update((hit.problem.task, hit.problem.id) for hit in hits)
        if len(self._examples) < EXAMPLES:
            worst = max(hits, key=lambda hit: hit.shared / hit.grams)
            self._examples.append(
                {
                    "document": f"{document.path} {document.name}".strip(),
                    "task": worst.problem.task,
                    "problem": worst.problem.id,
                    "shared": worst.shared,
                    "of": worst.grams,
                }
            )
        return True

    def counted(self) -> dict[str, Any]:
        """What was found, as JSON: problems checked by task, contaminated documents, problems hit, first examples."""
        return {
            "checked": dict(sorted(self._problems.checked.items())),
            "too_short": self._problems.too_short,
            "documents": self._documents,
            "hit": [list(hit) for hit in sorted(self._hit)],
            "examples": self._examples,
        }


def contamination_of(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was `counted` in parts of a corpus, as one: the first examples, and how many problems were hit.

    Args:
        parts: at least one, in order, all checked against the same problems.
    """
    return {
        "checked": parts[0]["checked"],
        "too_short": parts[0]["too_short"],
        "documents": sum(part["documents"] for part in parts),
        "problems": len({tuple(hit) for part in parts for hit in part["hit"]}),
        "examples": [example for part in parts for example in part["examples"]][:EXAMPLES],
    }


def _words(text: str) -> list[str]:
    if text.isascii():  # the same three times as fast: every document's words are looked at
        return text.lower().encode().translate(_ASCII_WORDS).decode().split()
    return _WORD.findall(text.lower())


def _threes(words: Sequence[str], step: int) -> Iterator[tuple[str, ...]]:
    """Three successive words at every so manyth place."""
    return zip(words[::step], words[1::step], words[2::step], strict=False)


def _grams(words: list[str], length: int) -> set[str]:
    return {" ".join(words[start : start + length]) for start in range(len(words) - length + 1)}

"""Find documents that hold what models are judged by: shared word n-grams with evaluation problems.

What a word is in scripts without spaces, `words` says: there an n-gram is a longer run, of characters worth n words.

A copy with other names or numbers shares few n-grams, so that problems can be looked for with both masked as well.

Source: Brown et al., "Language Models are Few-Shot Learners" (2020), appendix C (13-grams of lower-case words).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.corpus.document import Document
from harness.corpus.words import WORD, words_of, worth
from harness.tasks.stories import masks

# A problem of fewer words than n is looked for as a whole, but not one so short that ordinary text may hold it.
FEWEST_WORDS = 8
EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An evaluation problem with its solution, as text."""

    task: str
    id: str
    text: str
    cluster: str = ""


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
        words: what the words of a text are: `words_of` or `masked_words`.
        most_shared: an n-gram that problems of two clusters, and of more than this share of all, hold is of an
            instruction and counts for none of them.

    Attributes:
        checked: problems looked for, by task.
        too_short: problems that are not looked for, since chance may bring them about, by task. So are those without
            an n-gram of their own.
    """

    def __init__(
        self,
        problems: Iterable[Problem],
        *,
        n: int,
        threshold: float,
        words: Callable[[str], list[str]] = words_of,
        most_shared: float = 1.0,
    ) -> None:
        self._words = words
        self._threshold = threshold
        self._problems: list[Problem] = []
        self._grams: list[int] = []  # of each problem
        self._holders: dict[str, list[int]] = {}
        self._threes: dict[int, set[tuple[str, ...]]] = {}  # successive words in n-grams of each size
        self.checked: Counter[str] = Counter()
        self.too_short: Counter[str] = Counter()
        for problem in problems:
            self._add(problem, n)
        self._drop_shared(most_shared)

    def _add(self, problem: Problem, n: int) -> None:
        words = self._words(problem.text)
        size = min(n * WORD, sum(worth(words)))
        if size < min(n, FEWEST_WORDS) * WORD:
            self.too_short[problem.task] += 1
            return
        self._threes.setdefault(size, set()).update(_threes(words, 1))
        grams = _grams(words, size)
        for gram in grams:
            self._holders.setdefault(gram, []).append(len(self._problems))
        self._problems.append(problem)
        self._grams.append(len(grams))
        self.checked[problem.task] += 1

    def _drop_shared(self, most: float) -> None:
        clusters = len({problem.cluster for problem in self._problems})
        for gram, holders in list(self._holders.items()):
            holding = len({self._problems[index].cluster for index in holders}) if len(holders) > 1 else 1
            if holding > max(1, most * clusters):
                del self._holders[gram]
                for index in holders:
                    self._grams[index] -= 1
        for problem, grams in zip(self._problems, self._grams, strict=True):
            if not grams:
                self.checked[problem.task] -= 1
                self.too_short[problem.task] += 1

    def hits(self, document: Document) -> list[Hit]:
        """The problems that the description and text of a document, read on, hold more than the threshold of."""
        return self.hits_in(f"{document.description}\n{document.text}")

    def hits_in(self, text: str) -> list[Hit]:
        """The problems that a text holds more than the threshold of."""
        words = self._words(text)
        shared: Counter[int] = Counter()
        for size, threes in self._threes.items():
            # Every n-gram has n words or more, so it holds three of them that begin at a multiple of n - 2, and mostly
            # none are a problem's.
            if threes.isdisjoint(_threes(words, size // WORD - 2)):
                continue
            for gram in _grams(words, size) & self._holders.keys():
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
        """What was found, as JSON: problems checked and too short by task, documents, problems hit, first examples."""
        return {
            "checked": dict(sorted(self._problems.checked.items())),
            "too_short": dict(sorted(self._problems.too_short.items())),
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


def too_short_to_find(found: Mapping[str, Any]) -> str:
    """How many problems of which tasks were not searched for, in words; `found` as from `contamination_of`."""
    checked, short = found["checked"], found["too_short"]
    tasks = [f"{number:,} of {number + checked.get(task, 0):,} of {task}" for task, number in short.items()]
    return f"problems too short to search for: {', '.join(tasks)}"


def masked_words(text: str) -> list[str]:
    """The words of a text with numbers and names masked, see `stories`: every number is "0", every name "n"."""
    return words_of(" ".join(masks(text)))


def is_mostly_masked(text: str) -> bool:
    """Whether masks leave less than half of a text's words, so that others that look the same need not be alike."""
    words = masked_words(text)
    return sum(word in ("0", "n") for word in words) > len(words) / 2


def _threes(words: Sequence[str], step: int) -> Iterator[tuple[str, ...]]:
    """Three successive words at every so manyth place."""
    return zip(words[::step], words[1::step], words[2::step], strict=False)


def _grams(words: list[str], size: int) -> set[str]:
    """The shortest runs of words that are worth `size` or more, one from each place that has so much behind it."""
    worths = worth(words)
    grams: set[str] = set()
    stop = held = 0
    for start, lost in enumerate(worths):
        while held < size:
            if stop == len(words):
                return grams
            held += worths[stop]
            stop += 1
        grams.add(" ".join(words[start:stop]))
        held -= lost
    return grams

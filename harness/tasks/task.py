"""What a task is: the values it hands out and the contract its author fulfils.

Knows nothing of any benchmark, of models or of the store. Everything random comes from `stream`, so that a problem,
a pair or a candidate depends on its own key alone and a part of the work equals the same part of the whole.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from harness.errors import DataError, MissingRequirement, RecipeError

MOST_PROPOSALS = 24
"""Mistakes of one kind tried on one problem before the kind is given up for it."""

_DRAWS_A_SOLUTION = 4
"""Draws a wanted table entry before a problem's variety counts as used up."""

SPLITS = ("base", "finetune", "dev", "test")

Place = str | Mapping[str, str] | None
"""Where a recipe says that a task's files are: a folder, a file, a file a part; None where they are by default."""


NOT_FETCHED = ""
"""The place of a data set of the hub that a plan only assumes, since it is not here; nothing is read there."""


def stream(*key: str | int) -> Random:
    """A random source that depends on `key` only: the same in every process, on every machine."""
    text = "\x1f".join(str(part) for part in key)
    return Random(int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest(), "big"))


@dataclass(frozen=True, kw_only=True)
class OptionRule:
    """What values an option may have: `must` completes "option x of task y must ..."."""

    must: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A question with its gold solution.

    `cluster` is what splits keep together (a template, a form, a passage) and what intervals resample. `prompt` is
    raw text ending where the solution begins; `solution` is in the task's plain wording (see `Task.restyle`).
    `metadata` is JSON data.
    """

    id: str
    cluster: str
    split: str
    prompt: str
    answer: str
    solution: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A response that comes with a problem. `source` says where it is from, where responses of one problem differ."""

    text: str
    correct: bool
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A wrong solution in the task's plain wording; its final answer is graded wrong."""

    error_type: str
    solution: str


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A solution as a policy would write it. `error_type` is "" where it is right."""

    text: str
    correct: bool
    error_type: str


@dataclass(frozen=True, kw_only=True)
class Preference:
    """Two solutions of one problem in the same style; `rejected` holds one mistake of `error_type`."""

    problem_id: str
    cluster: str
    prompt: str
    chosen: str
    rejected: str
    error_type: str


class Task(ABC):
    """A benchmark: where its problems come from, how a text is read and graded, which mistakes its solutions admit.

    An author writes `problems`, `extract` and `grade`, and for a task that also trains or simulates
    `propose_mistakes` and `restyle`; everything else follows from these. Contract:

    * Problem i of a split depends on the seed, the options and i, not on any count: asking for more adds to the end.
    * Clusters never cross splits.
    * `grade(problem, restyle(problem.solution, rng))` is true for every rng.
    * `restyle` draws the same style from equal random sources whatever the text, and never changes the answer.
    * Texts end with the answer: what is cut off before its end has none.
    * No state: equal arguments give equal results in every process.

    Attributes:
        name: the built-in name, or a plugin's own.
        seen_errors: mistakes that fine-tuning pairs may show.
        unseen_errors: mistakes kept for the candidate pools, so that generalisation can be told from recognition.
        grades: it can tell whether any text is right, and not only those that come with its problems.
        has_choices: its problems bring responses to choose from, see `choices`.
        licence: terms of the problems.
        source: where they come from, a project or a URL.
        distribution: the installed package that makes or holds them, "" if the harness itself does.
        defaults, rules: its options with their values, and what others may be.
        code_version: of its mistakes and styles, raised when the preferences and simulated candidates that a built-in
            task gives change; those of other tasks stay.
    """

    name: ClassVar[str]
    seen_errors: ClassVar[tuple[str, ...]] = ()
    unseen_errors: ClassVar[tuple[str, ...]] = ()
    grades: ClassVar[bool] = True
    has_choices: ClassVar[bool] = False
    licence: ClassVar[str]
    source: ClassVar[str]
    distribution: ClassVar[str] = ""
    code_version: ClassVar[int] = 1
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    rules: ClassVar[Mapping[str, OptionRule]] = MappingProxyType({})

    @property
    def version(self) -> str:
        """Version of `distribution`, read from its installation without importing it; "" without one.

        Raises:
            MissingRequirement: the package is not installed.
        """
        if not self.distribution:
            return ""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            raise MissingRequirement(
                f"task {self.name!r} needs the package {self.distribution!r}",
                "it is not installed",
                f"pip install {self.distribution}",
            ) from None

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that it has problems for."""
        return SPLITS

    def sharing(self, split: str) -> tuple[str, ...]:
        """The splits that are dealt out of the same problems, of which there are so many and no more."""
        return ()

    @property
    def makes_mistakes(self) -> bool:
        """Whether it can give preferences and simulated candidates."""
        return bool(self.seen_errors)

    def origin(self, split: str, place: Place) -> tuple[dict[str, str], str]:
        """What decides a split's problems beside options, seed and code, and the file that they are read from.

        Args:
            place: see `path` of a recipe's task; of no use to a task that makes its problems.

        Raises:
            MissingRequirement: the package that makes them is not installed, or their file is not there.
            RecipeError: `place` means nothing here.
        """
        if place is not None:
            raise RecipeError(f"task {self.name!r} must have no `path`", "it makes its problems", "drop it")
        return ({self.distribution: self.version} if self.distribution else {}), ""

    # ---------------------------------------------------------------------------------- what an author writes

    @abstractmethod
    def problems(
        self, count_by_split: Mapping[str, int], *, seed: int, options: Mapping[str, Any] | None = None
    ) -> list[Problem]:
        """Problems in the order of the splits given, each split's own in a fixed order.

        Raises:
            RecipeError: an unknown split or option.
            DataError: the source cannot give that many.
        """

    @abstractmethod
    def extract(self, text: str) -> str | None:
        """The final answer a text states, in canonical form; None where it states none."""

    @abstractmethod
    def grade(self, problem: Problem, text: str) -> bool:
        """Whether the text's final answer is right. A text without one is wrong, never an exception."""

    def propose_mistakes(self, problem: Problem, rng: Random, kind: str) -> Iterator[str]:
        """Solutions with one mistake of `kind`, in plain wording, likeliest first; may be graded right by chance."""
        return iter(())

    def choices(self, problem: Problem) -> Sequence[Choice]:
        """The responses that a problem brings, two or more, at least one right: its options, or given completions."""
        return ()

    def restyle(self, solution: str, rng: Random) -> str:
        """A solution in plain wording (right or mistaken) in a style drawn from `rng`."""
        return solution

    # ------------------------------------------------------------------------------------- what follows from it

    def rewrite(self, problem: Problem, rng: Random) -> str:
        """The gold solution in a style drawn from `rng`."""
        return self.restyle(problem.solution, rng)

    def worked_mistakes(
        self, problem: Problem, rng: Random, kinds: Iterable[str], *, refused: Counter[str] | None = None
    ) -> list[Mistake]:
        """One mistake for each of `kinds` the problem admits, in their order; the others are left out.

        Args:
            refused: counts by kind the proposals that came out right or unchanged, which are never used.
        """
        return list(self._mistakes(problem, rng, kinds, refused))

    def _mistakes(
        self, problem: Problem, rng: Random, kinds: Iterable[str], refused: Counter[str] | None
    ) -> Iterator[Mistake]:
        for kind in kinds:
            for solution in islice(self.propose_mistakes(problem, rng, kind), MOST_PROPOSALS):
                if solution != problem.solution and not self.grade(problem, solution):
                    yield Mistake(error_type=kind, solution=solution)
                    break
                if refused is not None:
                    refused[kind] += 1

    def preferences(
        self, problems: Sequence[Problem], *, count: int, seed: int, refused: Counter[str] | None = None
    ) -> list[Preference]:
        """Pairs of a right and a mistaken solution, one a problem before any problem serves again.

        Only `seen_errors` occur. Fewer pairs are a prefix of more. Both sides get the same style.

        Raises:
            DataError: the problems do not admit that many different pairs.
        """
        order = list(problems)
        stream("preference order", seed).shuffle(order)
        pairs: list[Preference] = []
        known: set[tuple[str, str, str]] = set()
        turn = 0
        while len(pairs) < count:
            before = len(pairs)
            for problem in order:
                pair = self._preference(problem, stream("preference", seed, problem.id, turn), refused)
                if pair is None or (pair.prompt, pair.chosen, pair.rejected) in known:
                    continue
                known.add((pair.prompt, pair.chosen, pair.rejected))
                pairs.append(pair)
                if len(pairs) == count:
                    break
            if len(pairs) == before:
                raise DataError(
                    f"task {self.name!r} must have as many preferences as requested",
                    f"{len(order):,} problems give {len(pairs):,} of {count:,}",
                    "request fewer, or more problems",
                )
            turn += 1
        return pairs

    def _preference(self, problem: Problem, rng: Random, refused: Counter[str] | None) -> Preference | None:
        kinds = rng.sample(self.seen_errors, len(self.seen_errors))
        style = rng.getrandbits(64)
        mistake = next(self._mistakes(problem, rng, kinds, refused), None)
        if mistake is None:
            return None
        return Preference(
            problem_id=problem.id,
            cluster=problem.cluster,
            prompt=problem.prompt,
            chosen=self.restyle(problem.solution, Random(style)),
            rejected=self.restyle(mistake.solution, Random(style)),
            error_type=mistake.error_type,
        )

    def solution_table(self, problem: Problem, rng: Random, size: int) -> list[Solution]:
        """Up to `size` different solutions, half of them right, the rest going through all error types in turn.

        At least one is right and at least one wrong. The styles of both halves come from one distribution.

        Raises:
            DataError: the problem admits no mistake at all.
        """
        right = self._collect(size - size // 2, ((self.rewrite(problem, rng), "") for _ in count()))
        wrong = self._collect(max(1, size // 2), self._styled_mistakes(problem, rng))
        if not wrong:
            raise DataError("a simulated problem must admit a mistake", f"{problem.id} admits none", "leave it out")
        return right + wrong

    def _styled_mistakes(self, problem: Problem, rng: Random) -> Iterator[tuple[str, str]]:
        kinds = (*self.seen_errors, *self.unseen_errors)
        while mistakes := self.worked_mistakes(problem, rng, rng.sample(kinds, len(kinds))):
            for mistake in mistakes:
                yield self.restyle(mistake.solution, rng), mistake.error_type

    def _collect(self, wanted: int, drawn: Iterable[tuple[str, str]]) -> list[Solution]:
        error_types: dict[str, str] = {}
        for text, error_type in islice(drawn, wanted * _DRAWS_A_SOLUTION):
            error_types.setdefault(text, error_type)
            if len(error_types) == wanted:
                break
        return [
            Solution(text=text, correct=not error_type, error_type=error_type)
            for text, error_type in error_types.items()
        ]

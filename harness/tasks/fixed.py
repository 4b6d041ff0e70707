"""Tasks whose problems are the rows of files: a published data set, or a copy of it that a recipe names."""

from __future__ import annotations

import functools
import hashlib
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from harness.errors import DataError, MissingRequirement, RecipeError, reason_of
from harness.sources.datasets import cached_file, hub_file, hub_problem
from harness.sources.fields import Fields
from harness.sources.known_files import digest_of
from harness.sources.rows import ENDINGS, read_rows
from harness.store.identity import SHORT
from harness.tasks.dealing import ORDER, dealt, without
from harness.tasks.task import NOT_FETCHED, Place, Problem, Task

LINE_END = "\n"
"""Between the files of a part where a stage is told them as one text."""

Files = tuple[Path, ...]
"""The files of a part, whose rows follow one another."""


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """Where a task's files are by default: the file of each part, or several, at a commit.

    Attributes:
        problems: in each part as published; a plan assumes them until the files are here.
    """

    id: str
    revision: str
    files: Mapping[str, str | tuple[str, ...]]
    problems: Mapping[str, int] = field(default_factory=dict)

    def of(self, part: str) -> tuple[str, ...]:
        files = self.files[part]
        return (files,) if isinstance(files, str) else files


class FixedTask(Task):
    """A task with a fixed number of problems.

    An author writes `parts`, `hub`, `columns` and `problem`, and as for every task `extract` and `grade`.

    Attributes:
        parts: split -> the part of the data set that its problems are taken from. A task without a `finetune` split
            only evaluates.
        hub: the data set.
        names: part -> what its one file may be called in a folder, without the ending; by default as the part.
        columns: those that are read.
        endings: of files that a recipe may name; with others than those of tables, `rows` is overwritten.
        apart: whether a cluster is called the same in every part, since the published parts share some. A split then
            leaves out what stands in the part of a later one, of fine-tuning, dev and test.
    """

    parts: ClassVar[Mapping[str, str]]
    hub: ClassVar[HubDataset]
    names: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    columns: ClassVar[Set[str]]
    endings: ClassVar[tuple[str, ...]] = ENDINGS
    apart: ClassVar[bool] = False

    @abstractmethod
    def problem(self, row: Fields, number: int, part: str) -> Problem:
        """The problem of a row, `number` from 0. Its `split` is overwritten; `cluster` "" means what `alike` says.

        Raises:
            DataError: a wrong column, see `Fields`.
        """

    def alike(self, prompts: Sequence[str]) -> Sequence[int]:
        """For each prompt of a part the place of the first with which its problem shares a cluster: the same prompt."""
        first: dict[str, int] = {}
        return [first.setdefault(prompt, place) for place, prompt in enumerate(prompts)]

    def takes(self, problem: Problem, options: Mapping[str, Any]) -> bool:
        """Whether a problem is one of those that the options ask for."""
        return True

    def preference_count(self, problems: Sequence[Problem]) -> int | None:
        """How many different pairs `preferences` can make of these problems; None: only one of each is sure."""
        return None

    def rows(self, path: Path) -> Iterator[tuple[str, Any]]:
        """(place, row) of a file. Overwritten for formats that are no table."""
        return read_rows(path, self.columns)

    def files(self, part: str, place: Place) -> Files:
        """The files of a part.

        Raises:
            RecipeError: `place` does not go with the task's parts.
            MissingRequirement: there is no such file, or the hub does not give it.
        """
        if place is None:
            try:
                return tuple(hub_file(self.hub.id, self.hub.revision, name) for name in self.hub.of(part))
            except MissingRequirement as error:
                raise _or_path(error) from None
        if isinstance(place, Mapping):
            return (self._there(self._named(part, place)),)
        path = Path(place)
        if path.is_dir():
            return self._in_folder(part, path)
        if len(set(self.parts.values())) > 1:
            raise RecipeError(
                f"`path` of task {self.name!r} must be a folder, or a file for each of its parts",
                f"{place} is one file or none",
                f"name them: {{{', '.join(f'{one}: ...' for one in dict.fromkeys(self.parts.values()))}}}",
            )
        return (self._there(path),)

    def fetch_problem(self) -> MissingRequirement | None:
        """Why the hub does not give the data set now, asked without fetching it; None: it does."""
        problem = hub_problem(self.hub.id, self.hub.revision)
        return None if problem is None else _or_path(problem)

    def is_published(self, splits: Collection[str]) -> bool:
        """Whether it is known how many problems the data set has for all of these splits."""
        return all(self.parts[split] in self.hub.problems for split in splits)

    def is_fetched(self, split: str) -> bool:
        """Whether the hub's cache has all that a split is taken from, and what `left_out` reads for it."""
        names = [name for part in self.parts_read(split) for name in self.hub.of(part)]
        return all(cached_file(self.hub.id, self.hub.revision, name) is not None for name in names)

    def _named(self, part: str, place: Mapping[str, str]) -> Path:
        known = dict.fromkeys(self.parts.values())
        unknown = [one for one in place if one not in known]
        if unknown or part not in place:
            value = f"{unknown[0]!r} is none" if unknown else f"{part!r} is missing"
            rule = f"`path` of task {self.name!r} must name its parts {', '.join(known)}"
            raise RecipeError(rule, value, "correct it")
        return Path(place[part])

    def _in_folder(self, part: str, folder: Path) -> Files:
        names = self.names.get(part, (part,))
        for name in names:
            for ending in self.endings:
                path = folder / f"{name}{ending}"
                if path.is_file():
                    return (path,)
        as_on_the_hub = tuple(folder / name for name in self.hub.of(part))
        if all(path.is_file() for path in as_on_the_hub):
            return as_on_the_hub
        raise MissingRequirement(
            f"the folder of task {self.name!r} must hold a file of its part {part!r}",
            f"{folder} holds no {' or '.join(names)} with one of {', '.join(self.endings)}, nor what the hub holds",
            f"name it as `path: {{{part}: ...}}`",
        )

    def _there(self, path: Path) -> Path:
        if not path.is_file():
            raise MissingRequirement("a task's file must be there", f"there is no file {path}", "correct `path`")
        if not path.name.lower().endswith(self.endings):
            rule = f"a task's file must end in {', '.join(self.endings)}"
            raise MissingRequirement(rule, f"it is {path.name}", "convert it")
        return path

    def read(self, files: Files, part: str) -> tuple[Problem, ...]:
        """A part's problems, in the order of its files; read once for as long as these stay as they are.

        Raises:
            MissingRequirement: one cannot be read.
            DataError: a row is not one of this task's, or there is none.
        """
        with _readable():
            return _read(type(self), part, _facts(files))

    def available(self, files: Files, part: str, options: Mapping[str, Any]) -> list[Problem]:
        """Those of `read` that the options ask for.

        Raises:
            DataError: there is none.
        """
        found = [problem for problem in self.read(files, part) if self.takes(problem, options)]
        if not found:
            raise DataError(
                f"the options of task {self.name!r} must leave problems",
                f"none of part {part!r} goes with {dict(options)}",
                "correct `options`",
            )
        return found

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def origin(self, split: str, place: Place) -> tuple[dict[str, str], str]:
        part = self.parts[split]
        if place == NOT_FETCHED:
            return {part: "not fetched"}, ""
        files = self.files(part, place)
        grader = {self.distribution: self.version} if self.distribution else {}
        return {part: self.digest(files), **grader}, LINE_END.join(str(path) for path in files)

    def digest(self, files: Files) -> str:
        """SHA-256 of a file, or of several files' digests; made once for as long as they stay as they are.

        Raises:
            MissingRequirement: one cannot be read.
        """
        with _readable():
            digests = [digest_of(path) for path in files]
        return digests[0] if len(digests) == 1 else hashlib.sha256(LINE_END.join(digests).encode()).hexdigest()

    def left_out(self, split: str, place: Place) -> tuple[str, ...]:
        """Clusters of a split's part that also stand in the part of a later split, so that neither trains for a test.

        Raises:
            HarnessError: as `file` and `read`; the files of those parts must be there whatever a recipe takes of them.
        """
        if not self.apart or place == NOT_FETCHED:
            return ()
        there = {one.cluster for part in self._later(split) for one in self.read(self.files(part, place), part)}
        own = self.read(self.files(self.parts[split], place), self.parts[split])
        return tuple(sorted({one.cluster for one in own} & there))

    def parts_read(self, split: str) -> list[str]:
        """Its own part, and those that `left_out` reads for it."""
        return sorted({self.parts[split]} | (self._later(split) if self.apart else set()))

    def _later(self, split: str) -> set[str]:
        """Parts of later splits, other than its own."""
        return {self.parts[one] for one in ORDER[ORDER.index(split) + 1 :] if one in self.parts} - {self.parts[split]}

    def problems(
        self, count_by_split: Mapping[str, int], *, seed: int, options: Mapping[str, Any] | None = None
    ) -> list[Problem]:
        """From the data set on the hub."""
        found: list[Problem] = []
        for split, count in count_by_split.items():
            part = self.parts[split]
            everything = self.available(self.files(part, None), part, options or {})
            everything = without(everything, self.left_out(split, None))
            found += dealt(everything, {split: count}, seed=seed, sharing=self.sharing(split))[split]
        return found

    def sharing(self, split: str) -> tuple[str, ...]:
        """The splits that are dealt out of the same part."""
        return tuple(one for one, part in self.parts.items() if part == self.parts[split])


def _or_path(error: MissingRequirement) -> MissingRequirement:
    return MissingRequirement(error.rule, error.value, f"{error.remedy}; or name a copy as `path`", error.where)


def content_key(text: str) -> str:
    """A cluster's key that equal texts share in every part, whatever their case and spacing."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode("utf-8")).hexdigest()[:SHORT]


_Facts = tuple[Path, int, int]
"""(path, size, time of the last change) of a file."""


def _facts(files: Files) -> tuple[_Facts, ...]:
    return tuple((path, (facts := path.stat()).st_size, facts.st_mtime_ns) for path in files)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        value = f"{error.filename} is not ({reason_of(error)})"
        raise MissingRequirement("a task's file must be readable", value, "correct it") from None


@functools.lru_cache(maxsize=64)
def _read(task: type[FixedTask], part: str, files: tuple[_Facts, ...]) -> tuple[Problem, ...]:
    made = task()
    found: list[Problem] = []
    ids: set[str] = set()
    for path, _, _ in files:
        place = ""
        try:
            for place, row in made.rows(path):
                problem = made.problem(Fields(row, place), len(found), part)
                if problem.id in ids:
                    raise DataError(
                        "a problem must be unique", f"{problem.id!r} appears again", "correct the file", place
                    )
                ids.add(problem.id)
                found.append(problem)
        except DataError as error:
            where = f"{path}, {error.where}" if error.where else str(path)
            raise DataError(error.rule, error.value, error.remedy, where) from None
    if not found:
        raise DataError("a data set must hold problems", "it holds none", "look at the file", str(files[0][0]))
    alike = made.alike([problem.prompt for problem in found])
    clusters = [problem.cluster or found[first].id for problem, first in zip(found, alike, strict=True)]
    return tuple(
        replace(problem, cluster=cluster, split=part) for problem, cluster in zip(found, clusters, strict=True)
    )

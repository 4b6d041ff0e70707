"""Tasks whose problems are the rows of files: a published data set, or a copy of it that a recipe names."""

from __future__ import annotations

import functools
import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from harness.errors import DataError, MissingRequirement, RecipeError, reason_of
from harness.sources.datasets import hub_file
from harness.sources.fields import Fields
from harness.sources.rows import ENDINGS, read_rows
from harness.store.identity import SHORT, file_digest
from harness.tasks.dealing import ORDER, dealt, without
from harness.tasks.task import Place, Problem, Task


@dataclass(frozen=True, kw_only=True)
class HubDataset:
    """Where a task's files are by default: `files` by part, at a commit."""

    id: str
    revision: str
    files: Mapping[str, str]


class FixedTask(Task):
    """A task with a fixed number of problems.

    An author writes `parts`, `hub`, `columns` and `problem`, and as for every task `extract` and `grade`.

    Attributes:
        parts: split -> the part of the data set that its problems are taken from. A task without a `finetune` split
            only evaluates.
        hub: the data set.
        names: part -> what its file may be called in a folder, without the ending; by default as the part.
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
        """The problem of a row, `number` from 0. Its `split` is overwritten; `cluster` "" means that problems with the
        same prompt are one cluster.

        Raises:
            DataError: a wrong column, see `Fields`.
        """

    def rows(self, path: Path) -> Iterator[tuple[str, Any]]:
        """(place, row) of a file. Overwritten for formats that are no table."""
        return read_rows(path, self.columns)

    def file(self, part: str, place: Place) -> Path:
        """The file of a part.

        Raises:
            RecipeError: `place` does not go with the task's parts.
            MissingRequirement: there is no such file, or the hub does not give it.
        """
        if place is None:
            return hub_file(self.hub.id, self.hub.revision, self.hub.files[part])
        if isinstance(place, Mapping):
            return self._there(self._named(part, place))
        path = Path(place)
        if path.is_dir():
            return self._in_folder(part, path)
        if len(set(self.parts.values())) > 1:
            raise RecipeError(
                f"`path` of task {self.name!r} must be a folder, or a file for each of its parts",
                f"{place} is one file or none",
                f"name them: {{{', '.join(f'{one}: ...' for one in dict.fromkeys(self.parts.values()))}}}",
            )
        return self._there(path)

    def _named(self, part: str, place: Mapping[str, str]) -> Path:
        known = dict.fromkeys(self.parts.values())
        unknown = [one for one in place if one not in known]
        if unknown or part not in place:
            value = f"{unknown[0]!r} is none" if unknown else f"{part!r} is missing"
            rule = f"`path` of task {self.name!r} must name its parts {', '.join(known)}"
            raise RecipeError(rule, value, "correct it")
        return Path(place[part])

    def _in_folder(self, part: str, folder: Path) -> Path:
        names = self.names.get(part, (part,))
        for name in names:
            for ending in self.endings:
                path = folder / f"{name}{ending}"
                if path.is_file():
                    return path
        raise MissingRequirement(
            f"the folder of task {self.name!r} must hold a file of its part {part!r}",
            f"{folder} holds no {' or '.join(names)} with one of {', '.join(self.endings)}",
            f"name it as `path: {{{part}: ...}}`",
        )

    def _there(self, path: Path) -> Path:
        if not path.is_file():
            raise MissingRequirement("a task's file must be there", f"there is no file {path}", "correct `path`")
        if not path.name.lower().endswith(self.endings):
            rule = f"a task's file must end in {', '.join(self.endings)}"
            raise MissingRequirement(rule, f"it is {path.name}", "convert it")
        return path

    def read(self, path: Path, part: str) -> tuple[Problem, ...]:
        """A part's problems, in the order of the file; read once for as long as the file stays as it is.

        Raises:
            MissingRequirement: it cannot be read.
            DataError: a row is none of this task's, or the file holds none.
        """
        try:
            facts = path.stat()
            return _read(type(self), path, part, facts.st_size, facts.st_mtime_ns)
        except OSError as error:
            raise _unreadable(path, reason_of(error)) from None

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def origin(self, split: str, place: Place) -> tuple[dict[str, str], str]:
        part = self.parts[split]
        path = self.file(part, place)
        grader = {self.distribution: self.version} if self.distribution else {}
        return {part: self.digest(path), **grader}, str(path)

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, made once for as long as it stays as it is.

        Raises:
            MissingRequirement: it cannot be read.
        """
        try:
            facts = path.stat()
            return _digest(path, facts.st_size, facts.st_mtime_ns)
        except OSError as error:
            raise _unreadable(path, reason_of(error)) from None

    def left_out(self, split: str, place: Place) -> tuple[str, ...]:
        """Clusters of a split's part that also stand in the part of a later split, so that neither trains for a test.

        Raises:
            HarnessError: as `file` and `read`; the files of those parts must be there whatever a recipe takes of them.
        """
        if not self.apart:
            return ()
        later = {self.parts[one] for one in ORDER[ORDER.index(split) + 1 :] if one in self.parts} - {self.parts[split]}
        there = {one.cluster for part in later for one in self.read(self.file(part, place), part)}
        own = self.read(self.file(self.parts[split], place), self.parts[split])
        return tuple(sorted({one.cluster for one in own} & there))

    def problems(
        self, count_by_split: Mapping[str, int], *, seed: int, options: Mapping[str, Any] | None = None
    ) -> list[Problem]:
        """From the data set on the hub."""
        found: list[Problem] = []
        for split, count in count_by_split.items():
            part = self.parts[split]
            everything = without(self.read(self.file(part, None), part), self.left_out(split, None))
            found += dealt(everything, {split: count}, seed=seed, sharing=self.sharing(split))[split]
        return found

    def sharing(self, split: str) -> tuple[str, ...]:
        """The splits that are dealt out of the same part."""
        return tuple(one for one, part in self.parts.items() if part == self.parts[split])


def content_key(text: str) -> str:
    """A cluster's key that equal texts share in every part, whatever their case and spacing."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode("utf-8")).hexdigest()[:SHORT]


@functools.lru_cache(maxsize=64)
def _read(task: type[FixedTask], path: Path, part: str, size: int, changed: int) -> tuple[Problem, ...]:
    made = task()
    found: list[Problem] = []
    ids: set[str] = set()
    clusters: dict[str, str] = {}
    place = ""
    try:
        for number, (place, row) in enumerate(made.rows(path)):
            problem = made.problem(Fields(row, place), number, part)
            if problem.id in ids:
                raise DataError("a problem must stand once", f"{problem.id!r} comes back", "correct the file", place)
            ids.add(problem.id)
            cluster = problem.cluster or clusters.setdefault(problem.prompt, problem.id)
            found.append(replace(problem, cluster=cluster, split=part))
    except DataError as error:
        where = f"{path}, {error.where}" if error.where else str(path)
        raise DataError(error.rule, error.value, error.remedy, where) from None
    if not found:
        raise DataError("a data set must hold problems", "it holds none", "look at the file", str(path))
    return tuple(found)


@functools.lru_cache(maxsize=1_024)
def _digest(path: Path, size: int, changed: int) -> str:
    return file_digest(path)


def _unreadable(path: Path, why: str) -> MissingRequirement:
    return MissingRequirement("a task's file must be readable", f"{path} is not ({why})", "correct it")

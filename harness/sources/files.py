"""Which local files a corpus is read from, so that a plan can make what is in them part of an identity.

Files are listed, digested and, where a table's columns are to be there, looked into at their beginning. Whoever reads
them is told their names, digests them again and stops where they are no longer those of the plan.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.errors import DataError, MissingRequirement, reason_of
from harness.recipe.corpus import LANGUAGES
from harness.sources.known_files import digest_of
from harness.sources.text_files import LONGEST_LINE, UNREADABLE, RepeatedKeyError, parse_json, read_lines

# What a folder given to a kind of corpus is searched for.
PARQUET = (".parquet",)
JSON_LINES = (".jsonl", ".jsonl.gz")
# Folders of a repository that hold other people's code or no code.
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "vendor", "third_party", "build", "dist"})


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file to read.

    Attributes:
        root: the match of a pattern it belongs to: a repository's folder, or the file's own name.
        name: its path with the root's name before it, with forward slashes.
        cluster: the name of the root, or of the folder around a file that was matched itself.
        groups: row groups of a Parquet file to read, from the first to before the second number. None: all.
    """

    root: Path
    path: Path
    name: str
    cluster: str
    groups: tuple[int, int] | None = None

    @classmethod
    def below(cls, root: Path, path: Path) -> SourceFile:
        """A file that is, or lies below, the match of a pattern."""
        name = path.relative_to(root.parent).as_posix()
        cluster = root.resolve().name if root.is_dir() else root.resolve().parent.name
        return cls(root=root, path=path, name=name, cluster=cluster)


def endings_of(languages: Sequence[str]) -> tuple[str, ...]:
    """File endings of languages of `kind: files`."""
    return tuple(ending for language in languages for ending in LANGUAGES[language])


def find_files(patterns: Sequence[str], endings: Sequence[str]) -> list[SourceFile]:
    """The files that patterns name, in order of pattern and name, each once.

    A folder stands for the files below it with one of the endings, hidden folders and other people's code left out;
    symbolic links to folders are not followed. A file that is named outright may have any ending. A pattern's longest
    beginning that is there as it is written is meant literally, whatever signs its names hold.

    Raises:
        MissingRequirement: a pattern leads to no such file.
    """
    found: dict[Path, SourceFile] = {}
    for pattern in patterns:
        before = len(found)
        matched = False
        literal, rest = _literal(pattern)
        for match in sorted(glob.glob(glob.escape(literal) + rest, recursive=True)):
            root = Path(match)
            for path in _below(root, tuple(endings), outright=not glob.has_magic(rest)):
                matched = True
                found.setdefault(path.resolve(), SourceFile.below(root, path))
        if len(found) == before and not matched:
            raise MissingRequirement(
                "every path of the corpus must lead to files",
                f"{pattern!r} leads to none that ends in {', '.join(endings)}",
                "correct it; paths start where `harness` is called",
            )
    return list(found.values())


def listing(files: Sequence[SourceFile]) -> list[dict[str, Any]]:
    """What is in the files, as identity: name, files, bytes and SHA-256 of each match of a pattern.

    The digest of a match that is a file is the file's own; of a folder, that of its files' names and digests.

    Raises:
        MissingRequirement: a file cannot be read.
    """
    matches: dict[Path, list[SourceFile]] = {}
    for file in files:
        matches.setdefault(file.root, []).append(file)
    entries = []
    for root, members in matches.items():
        size, digest = _together(members)
        entries.append({"name": root.name, "files": len(members), "bytes": size, "sha256": digest})
    return entries


def named(files: Sequence[SourceFile]) -> list[dict[str, Any]]:
    """Some of a corpus's files as identity and so that they are found again without looking for them.

    Raises:
        MissingRequirement: a file cannot be read.
    """
    entries = []
    for (root, groups), together in groupby(files, key=lambda file: (file.root, file.groups)):
        members = list(together)
        size, digest = _together(members)
        entry = {
            "root": str(root),
            "names": [file.path.relative_to(root).as_posix() for file in members],
            "bytes": size,
            "sha256": digest,
        }
        entries.append(entry if groups is None else {**entry, "groups": list(groups)})
    return entries


def files_named(entries: Sequence[Mapping[str, Any]]) -> list[SourceFile]:
    """The files of `named`.

    Raises:
        DataError: they are not there any more, or something else is in them.
    """
    files: list[SourceFile] = []
    changed: list[str] = []
    for entry in entries:
        root = Path(entry["root"])
        members = [SourceFile.below(root, root / name) for name in entry["names"]]
        try:
            as_planned = _together(members)[1] == entry["sha256"]
        except MissingRequirement:
            as_planned = False
        if not as_planned:
            changed.append(root.name)
        groups = tuple(entry["groups"]) if "groups" in entry else None
        files += [replace(file, groups=groups) for file in members]
    if changed:
        raise DataError(
            "the files of the corpus must stay as they were when planned",
            f"changed: {', '.join(changed[:5])}",
            "run again, which plans anew",
        )
    return files


def row_group_bytes(file: SourceFile, columns: Sequence[str]) -> list[int]:
    """Uncompressed bytes of some columns in each row group of a Parquet file, from its end alone.

    Raises:
        MissingRequirement: it cannot be read as such.
    """
    import pyarrow as pa
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(file.path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file.name, reason_of(error)) from error
    return [column_bytes(metadata.row_group(number), columns) for number in range(metadata.num_row_groups)]


def column_bytes(group: Any, columns: Sequence[str]) -> int:
    """Uncompressed bytes of some columns of a row group's metadata, nested ones with all they hold."""
    chunks = (group.column(index) for index in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if is_of(chunk.path_in_schema, columns))


def is_of(path: str, columns: Sequence[str]) -> bool:
    """Whether a path of a Parquet schema is one of some columns or lies in it; a column's name may hold dots."""
    return any(path == name or path.startswith(f"{name}.") for name in columns)


def check_columns(file: SourceFile, kind: str, columns: Mapping[str, str]) -> None:
    """That a table has the columns a recipe names, as its schema or its first line tells.

    Args:
        kind: "parquet" or "jsonl".
        columns: what it is for -> column.

    Raises:
        MissingRequirement: the file cannot be read as such a table, a column appears twice, or columns are not there or
            hold no text.
    """
    types = _parquet_types(file) if kind == "parquet" else _first_line_types(file)
    missing = [f"{name!r}" for name in columns.values() if name not in types]
    if missing:
        raise MissingRequirement(
            "every column of the corpus must be there",
            f"{file.name} has no {', '.join(missing)} but {', '.join(sorted(types)) or 'nothing'}",
            "correct `corpus.columns`",
        )
    for purpose in ("text", "description"):
        if purpose in columns and not types[columns[purpose]]:
            raise MissingRequirement(
                f"`corpus.columns.{purpose}` must hold texts",
                f"{columns[purpose]!r} of {file.name} does not",
                "name another column",
            )


def _literal(pattern: str) -> tuple[str, str]:
    """(the longest beginning of whole names that is there as it is written, the rest)."""
    names = pattern.split("/")
    heads = ("/".join(names[:stop]) for stop in range(len(names), 0, -1))
    literal = next((head for head in heads if os.path.lexists(head)), "")
    return literal, pattern.removeprefix(literal)


def _below(root: Path, endings: tuple[str, ...], *, outright: bool) -> Iterator[Path]:
    if root.is_file():
        if outright or root.name.endswith(endings):
            yield root
        return
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        paths = (Path(folder, name) for name in sorted(names) if name.endswith(endings))
        yield from (path for path in paths if path.is_file())


def _together(members: Sequence[SourceFile]) -> tuple[int, str]:
    """(bytes, SHA-256) of files of one match: the file's own where it is the match, else of names and digests."""
    digests = [(file.name, *_size_and_digest(file.path)) for file in members]
    size = sum(size for _, size, _ in digests)
    if members[0].root == members[0].path:
        return size, digests[0][2]
    return size, hashlib.sha256(
        "".join(f"{name}\0{sha}\n" for name, _, sha in digests).encode("utf-8", "surrogateescape")
    ).hexdigest()


def file_bytes(file: SourceFile) -> int:
    """Size of a file.

    Raises:
        MissingRequirement: it is not there.
    """
    return _size_and_digest(file.path)[0]


def _size_and_digest(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_size, digest_of(path)
    except OSError as error:
        raise _unreadable(path.name, error.strerror or str(error)) from error


def _unreadable(name: str, why: str) -> MissingRequirement:
    rule = "every file of the corpus must be readable"
    return MissingRequirement(rule, f"{name}: {why}", "correct it, or leave it out")


def _parquet_types(file: SourceFile) -> dict[str, bool]:
    """Column -> whether it holds texts."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(file.path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file.name, reason_of(error)) from error
    types = pa.types
    twice = sorted({name for name, times in Counter(schema.names).items() if times > 1})
    if twice:
        raise _unreadable(file.name, f"it has two columns {', '.join(map(repr, twice))}")
    return {
        field.name: types.is_string(field.type) or types.is_large_string(field.type) or types.is_string_view(field.type)
        for field in schema
    }


def _first_line_types(file: SourceFile) -> dict[str, bool]:
    try:
        line = next(read_lines(file.path), "")
        if line is None:
            raise _unreadable(file.name, f"its first line is longer than {LONGEST_LINE:,} characters")
        row = parse_json(line)
    except RepeatedKeyError as error:
        raise _unreadable(file.name, f"in its first line {error}") from error
    except (*UNREADABLE, ValueError, RecursionError) as error:
        raise _unreadable(file.name, f"its first line is no JSON ({reason_of(error)})") from error
    if not isinstance(row, dict):
        raise _unreadable(file.name, "its first line is no JSON object")
    return {name: isinstance(value, str) or value is None for name, value in row.items()}

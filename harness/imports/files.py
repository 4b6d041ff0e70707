"""Files from outside: which are read, within which bounds, and their digest. Standard library until rows are read.

Nothing is unpickled and nothing is run: JSON lines, Parquet and CSV, and of a checkpoint's folder the known files only.
"""

from __future__ import annotations

import csv
import gzip
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from harness.errors import DataError, HarnessError, RecipeError, reason_of
from harness.sources.files import column_bytes, is_of
from harness.sources.models import weight_files
from harness.sources.text_files import MOST_TIMES, MOST_UNPACKED, most_unpacked, parse_json
from harness.store.identity import file_digest, fingerprint

# Bounds that only a mistake or an attack passes: a small archive may unpack to more than any disk holds.
MOST_BYTES = 8 << 30
MOST_LINE = 64 << 20
MOST_ROWS = 20_000_000
MOST_JSON = 128 << 20  # a checkpoint's tokenizer or configuration
BATCH_ROWS = 1_000
LEAST_VALUE = 32  # bytes that a line or value counts for at least: many empty ones take memory and time as well

TABLES = (".jsonl", ".jsonl.gz", ".parquet")
FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"pool": TABLES, "pairs": TABLES, "scores": (*TABLES, ".csv"), "checkpoint": ()}
)
COLUMNS: Mapping[str, Set[str]] = MappingProxyType(
    {
        "pool": {"id", "cluster", "question", "candidates"}
        | {"problem", "index", "prompt", "text", "answer", "correct", "error_type", "seen", "source"},
        "pairs": {"id", "cluster", "prompt", "chosen", "rejected", "detail"},
        "scores": {"task", "problem", "candidate", "score"},
    }
)
NEEDED_FILES = ("config.json", "tokenizer.json")
OPTIONAL_FILES = (
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "reward_head.safetensors",
    "reward_model.json",
)


def content_files(kind: str, path: Path) -> dict[str, Path]:
    """{name: file} of everything that an import of this kind reads at `path`.

    Raises:
        RecipeError: there is no such file or folder, it has another form, or a link leads out of it.
    """
    if kind == "checkpoint":
        return _checkpoint_files(path)
    ending = next((one for one in FORMATS[kind] if path.name.endswith(one)), None)
    if not path.is_file():
        raise _wrong("the path must be a file", f"there is no file {path}", "correct it", path)
    if ending is None:
        raise _wrong(f"{kind} must be one of {', '.join(FORMATS[kind])}", f"it is {path.name}", "convert it", path)
    if path.stat().st_size > MOST_BYTES:
        raise _wrong(f"a file may hold {MOST_BYTES:,} bytes", f"it has {path.stat().st_size:,}", "split it", path)
    return {f"rows{ending}": path}


def _checkpoint_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise _wrong("a checkpoint must be a folder", f"there is no folder {folder}", "correct the path", folder)
    names = weight_files(folder)
    absent = [name for name in NEEDED_FILES if not (folder / name).is_file()]
    if absent:
        raise _wrong(
            f"a checkpoint must hold {' and '.join(NEEDED_FILES)}", f"{absent[0]} is missing", "add it", folder
        )
    files = {name: folder / name for name in (*NEEDED_FILES, *names)}
    files |= {name: folder / name for name in OPTIONAL_FILES if (folder / name).is_file()}
    # A hub's cache links the files of a snapshot to its blobs; any other way out of the folder is none of ours.
    inside = (folder.resolve(), folder.resolve().parent.parent / "blobs")
    for name, file in files.items():
        if not any(file.resolve().is_relative_to(place) for place in inside):
            raise _wrong("a checkpoint's files must lie in its folder", f"{name} links out of it", "copy it", folder)
        if not name.endswith(".safetensors") and file.stat().st_size > MOST_JSON:
            raise _wrong(f"{name} may hold {MOST_JSON:,} bytes", "it is larger", "look at the file", folder)
    return files


def content_digest(kind: str, path: Path) -> str:
    """SHA-256 of a file's bytes; of a checkpoint, of the names and digests of the files that are read.

    Raises:
        RecipeError: as `content_files`, or a file cannot be read.
    """
    try:
        digests = {name: file_digest(file) for name, file in content_files(kind, path).items()}
    except OSError as error:
        value = f"it is not ({error.strerror or reason_of(error)})"
        raise _wrong("what is imported must be readable", value, "correct it", path) from None
    return fingerprint(digests) if kind == "checkpoint" else next(iter(digests.values()))


def copy_content(kind: str, path: Path, target: Path) -> Path:
    """Copy what an import reads into the folder `target`, so that it cannot change while it is read.

    Returns:
        The copy: a file, or for a checkpoint `target` itself.
    """
    files = content_files(kind, path)
    target.mkdir()
    for name, file in files.items():
        shutil.copyfile(file, target / name)
    return target if kind == "checkpoint" else target / next(iter(files))


def read_rows(path: Path, kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place in the file, row) of a table, in order.

    Args:
        kind: of import; other columns than `COLUMNS` has for it are not read where the format allows.

    Raises:
        DataError: the file cannot be read, a row is no mapping, or a bound is passed.
    """
    number = 0
    for place, row in _READERS[path.name.partition(".")[2]](path, COLUMNS[kind]):
        number += 1
        if number > MOST_ROWS:
            raise DataError(f"a file may hold {MOST_ROWS:,} rows", "it holds more", "split it")
        if not isinstance(row, Mapping):
            raise DataError("a row must be a mapping", f"it is a {type(row).__name__}", "correct the file", place)
        yield place, row
    if not number:
        raise DataError("a file must hold rows", "it holds none", "look at the file")


def _json_lines(path: Path, columns: Set[str]) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file:
        yield from _lines(file, MOST_BYTES)


def _packed_json_lines(path: Path, columns: Set[str]) -> Iterator[tuple[str, Any]]:
    try:
        with gzip.open(path, "rb") as file:
            yield from _lines(file, _most_unpacked(path))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError("a .gz file must be whole", f"it is not ({reason_of(error)})", "fetch it again") from None


def _most_unpacked(path: Path) -> int:
    return min(MOST_BYTES, most_unpacked(path))


def _unpacks_to_more(most: int, place: str = "") -> DataError:
    return DataError(
        f"a file may unpack to {most:,} bytes ({MOST_UNPACKED >> 20} MiB or {MOST_TIMES} times its size)",
        "it holds more",
        "look at what it holds; if all is well, store it unpacked or in parts",
        place,
    )


def _lines(file: IO[bytes] | gzip.GzipFile, most: int) -> Iterator[tuple[str, Any]]:
    number = size = 0
    while line := file.readline(MOST_LINE + 1):
        number += 1
        size += max(len(line), LEAST_VALUE)
        place = f"line {number:,}"
        if len(line) > MOST_LINE:
            raise DataError(f"a line may hold {MOST_LINE:,} bytes", "it is longer", "split the file", place)
        if size > most:
            raise _unpacks_to_more(most, place)
        if line.strip():
            try:
                row = parse_json(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                value = f"it is not ({reason_of(error)})"
                raise DataError("a line must be JSON in UTF-8", value, "correct the file", place) from None
            yield place, row


def _parquet(path: Path, columns: Set[str]) -> Iterator[tuple[str, Any]]:
    """Rows of a Parquet file: the named columns alone, so that nothing else in it can be damaged or large."""
    import pyarrow
    import pyarrow.parquet

    number = size = 0
    most = _most_unpacked(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns(names)
            wanted = [name for name in names if name in columns]
            groups = (file.metadata.row_group(at) for at in range(file.metadata.num_row_groups))
            if sum(column_bytes(group, wanted) for group in groups) > most:
                raise _unpacks_to_more(most)
        for batch in _batches(path, wanted):
            size += sum(_unpacked(column) for column in batch.columns)
            if size > most:
                raise _unpacks_to_more(most)
            for at in range(batch.num_rows):
                number += 1
                yield f"row {number:,}", _parquet_row(batch, at, f"row {number:,}")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError("a .parquet file must be whole", f"it is not ({reason_of(error)})", "fetch it again") from None


def _batches(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """Record batches, in which texts stay dictionaries: in a small file one long text may stand in every row.

    Texts in lists whose dictionary was full cannot be read so; they come row by row.
    """
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as plain:
        leaves = (plain.schema.column(at) for at in range(len(plain.schema)))
        texts = [leaf.path for leaf in leaves if leaf.logical_type.type == "STRING" and is_of(leaf.path, columns)]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as packed:
            for group in range(plain.num_row_groups):
                read = 0
                try:
                    for batch in packed.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=columns):
                        read += batch.num_rows
                        yield batch
                except pyarrow.ArrowNotImplementedError:
                    rows = plain.iter_batches(batch_size=1, row_groups=[group], columns=columns)
                    yield from islice(rows, read, None)


def _unpacked(column: Any) -> int:
    """Bytes of an Arrow array once its dictionaries are texts; every value counts for `LEAST_VALUE` at least."""
    import pyarrow
    import pyarrow.compute

    kind = column.type
    size = len(column) * LEAST_VALUE
    if pyarrow.types.is_struct(kind):
        return size + sum(_unpacked(part) for part in column.flatten())
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        return size + _unpacked(column.flatten())
    if pyarrow.types.is_dictionary(kind):
        lengths = pyarrow.compute.binary_length(column.dictionary.cast(pyarrow.binary()))
        return size + (pyarrow.compute.sum(lengths.take(column.indices)).as_py() or 0)
    return max(size, int(column.nbytes))


def _parquet_row(batch: Any, at: int, place: str) -> dict[str, Any]:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[at].as_py()
        except (ValueError, OverflowError) as error:  # no UTF-8, a date beyond those of Python
            value = f"`{name}` is not ({reason_of(error)})"
            raise DataError("a value must be readable", value, "correct the file", place) from None
    return row


def _check_columns(names: Sequence[str]) -> None:
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise DataError("a column must stand once", f"{twice[0]!r} stands twice", "rename or drop one")


def _csv(path: Path, columns: Set[str]) -> Iterator[tuple[str, Any]]:
    """Rows of a CSV file with a header; numbers stay texts."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(reader.fieldnames or ())
            for row in reader:
                place = f"line {reader.line_num:,}"
                if None in row:  # where values without a column stand
                    value = f"it has {len(row[None]):,} more"
                    raise DataError("a line must have a value a column", value, "quote its commas", place)
                yield place, {key: row[key] for key in row if key in columns}
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError("a .csv file must be CSV in UTF-8", f"it is not ({reason_of(error)})", "convert it") from None


_READERS = {"jsonl": _json_lines, "jsonl.gz": _packed_json_lines, "parquet": _parquet, "csv": _csv}


def _wrong(rule: str, value: str, remedy: str, path: Path) -> HarnessError:
    return RecipeError(rule, value, remedy, str(path))

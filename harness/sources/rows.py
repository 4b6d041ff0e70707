"""Rows of tables from outside: JSON lines, JSON, Parquet and CSV, within bounds. Nothing is unpickled and nothing run.

pyarrow is imported when a Parquet file is read.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from harness.errors import DataError, reason_of
from harness.sources.files import column_bytes, is_of
from harness.sources.text_files import MOST_TIMES, MOST_UNPACKED, most_unpacked, parse_json

# Bounds that only a mistake or an attack passes: a small archive may unpack to more than any disk holds.
MOST_BYTES = 8 << 30
MOST_LINE = 64 << 20
MOST_ROWS = 20_000_000
MOST_JSON_FILE = 256 << 20  # it is read whole
BATCH_ROWS = 1_000
LEAST_VALUE = 32  # bytes that a line or value counts for at least: many empty ones take memory and time as well


def ending_of(path: Path) -> str:
    """Which of `ENDINGS` a file's name has, "" for none."""
    return next((ending for ending in _READERS if path.name.lower().endswith(ending)), "")


def read_rows(path: Path, columns: Set[str], ending: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place in the file, row) of a table, in order.

    Args:
        columns: others are not read where the format allows.
        ending: of `ENDINGS`, the format where the file's name does not tell it.

    Raises:
        DataError: the file cannot be read, a row is no mapping, or a bound is passed.
    """
    number = 0
    for place, row in _READERS[ending or ending_of(path)](path, columns):
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


def _json(path: Path, columns: Set[str]) -> Iterator[tuple[str, Any]]:
    """The members of a list in JSON; or lines of JSON, which are often called so."""
    if path.stat().st_size > MOST_JSON_FILE:
        raise DataError(f"a .json file may hold {MOST_JSON_FILE:,} bytes", "it is larger", "store it as .jsonl")
    try:
        rows = parse_json(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        rows = None
    if isinstance(rows, list):
        yield from ((f"row {number:,}", row) for number, row in enumerate(rows, 1))
    else:
        yield from _json_lines(path, columns)


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
        raise DataError("a column name must be unique", f"{twice[0]!r} appears twice", "rename or drop one")


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


_READERS: Mapping[str, Callable[[Path, Set[str]], Iterator[tuple[str, Any]]]] = MappingProxyType(
    {
        ".jsonl": _json_lines,
        ".jsonl.gz": _packed_json_lines,
        ".json": _json,
        ".parquet": _parquet,
        ".csv": _csv,
    }
)
ENDINGS = tuple(_READERS)
"""Of the files whose rows are read."""

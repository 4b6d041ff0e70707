"""Rows of Parquet and JSON-lines files as documents. One row group's pages or one line is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from harness.corpus.document import Document
from harness.corpus.tally import Tally
from harness.errors import DataError, reason_of
from harness.recipe.corpus import Columns
from harness.sources.files import SourceFile, column_bytes, is_of
from harness.sources.text_files import (
    LONGEST_LINE,
    UNREADABLE,
    RepeatedKeyError,
    most_unpacked,
    parse_json,
    read_lines,
    too_large,
    with_line_feeds,
)

Row = Mapping[str, Any]
Sizes = NDArray[np.int64]
_BATCH_BYTES = 64 << 20  # of a batch of Parquet rows, as far as its row group's mean tells
_BATCH_ROWS = 1_000
_LARGEST_ROW = 4 * LONGEST_LINE  # bytes; as much as a text and a description of the longest kind have at most
_LIST_VALUE = 8  # bytes that a value of a list counts for at least


def documents_of_rows(
    rows: Iterator[tuple[str, Row]], columns: Columns, language: str, counts: Tally
) -> Iterator[Document]:
    """A document for each row that has a text, still whole.

    Args:
        rows: (where the row is from, its values by column); a row without cluster is a cluster of its own.
        language: of rows that name none.
        counts: "rows", "rows_without_text" and "rows_too_large" are added to it.
    """
    for place, row in rows:
        counts["rows"] += 1
        text = row.get(columns.text)
        if not isinstance(text, str) or not text.strip():
            counts.pass_over("rows_without_text", place)
            continue
        description = _value(row, columns.description)
        if len(text) > LONGEST_LINE or len(description) > LONGEST_LINE:
            counts.pass_over("rows_too_large", place)
            continue
        yield Document(
            cluster=_value(row, columns.cluster) or place,
            path=place,
            language=(_value(row, columns.language) or language).lower(),
            licence=_value(row, columns.licence),
            description=with_line_feeds(description),
            text=with_line_feeds(text),
        )


def _value(row: Row, column: str | None) -> str:
    """A cell as text: several values with commas between them, nothing for nothing."""
    value = None if column is None else row.get(column)
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def read_parquet(
    files: Sequence[SourceFile], columns: Sequence[str], counts: Tally
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every row, in order; of a file with `groups` set, of these row groups.

    Args:
        columns: those read; what is in others is never looked at.
        counts: "rows_too_large" (never decoded, of row groups whose rows are huge on average all) and
            "rows_unreadable" (a value is damaged, or is none that Python has) are added to it.

    Raises:
        DataError: a file turns out to be damaged behind its beginning, or holds more than a file of its size may.
    """
    for file in files:
        number = 0
        most, held = most_unpacked(file.path), 0
        try:
            metadata = pyarrow.parquet.read_metadata(file.path)
            # As dictionaries texts stay what they are in the file, however often each is repeated.
            leaves = [metadata.schema.column(index) for index in range(len(metadata.schema))]
            texts = [one.path for one in leaves if one.physical_type == "BYTE_ARRAY" and is_of(one.path, columns)]
            with pyarrow.parquet.ParquetFile(file.path, metadata=metadata, read_dictionary=texts) as parquet:
                first, stop = file.groups or (0, parquet.num_row_groups)
                number = sum(metadata.row_group(group).num_rows for group in range(first))
                for group in range(first, stop):
                    rows = metadata.row_group(group).num_rows
                    size = column_bytes(metadata.row_group(group), columns)
                    mean = size // max(1, rows)
                    if mean > LONGEST_LINE:
                        counts.pass_over("rows_too_large", f"{file.name}:{number}", rows)
                        counts["rows"] += rows
                        number += rows
                        continue
                    if size > most:
                        raise too_large(file.name, most)
                    many = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, mean)))
                    batches = parquet.iter_batches(many, row_groups=[group], columns=list(columns), use_threads=False)
                    for batch in batches:
                        sizes = sizes_of(batch)
                        held += int(sizes.sum())
                        if held > most:
                            raise too_large(file.name, most)
                        for index, size in enumerate(sizes):
                            place = f"{file.name}:{number}"
                            number += 1
                            row = row_of(batch, index, size, place, counts)
                            if row is not None:
                                yield place, row
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, number, error) from error


def row_of(batch: pa.RecordBatch, index: int, size: int, place: str, counts: Tally) -> dict[str, Any] | None:
    """A row's values by column; None, and counted, where it is too large or a value is damaged."""
    reason = "rows_too_large"
    if size <= _LARGEST_ROW:
        try:
            return {name: column[index].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        except (ValueError, OverflowError):  # no UTF-8, or a date that Python has not
            reason = "rows_unreadable"
    counts.pass_over(reason, place)
    counts["rows"] += 1
    return None


def sizes_of(batch: pa.RecordBatch) -> Sizes:
    """Bytes of each row's texts."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        sizes += _lengths(column)
    return sizes


def _lengths(column: pa.Array) -> Sizes:
    """Bytes of the texts in each value, without decoding them; what is no text has none, but in a list a few."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        known = np.append(_lengths(column.dictionary), 0)  # the last for nothing
        places: NDArray[np.int64] = pa.compute.fill_null(column.indices.cast(pa.int64()), len(known) - 1).to_numpy()
        return known[places]
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
        lengths: Sizes = pa.compute.fill_null(pa.compute.binary_length(column).cast(pa.int64()), 0).to_numpy()
        return lengths
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        counts = pa.compute.fill_null(pa.compute.list_value_length(column).cast(pa.int64()), 0).to_numpy()
        before = np.concatenate([[0], np.cumsum(_lengths(column.flatten()) + _LIST_VALUE)])
        ends = np.cumsum(counts)
        summed: Sizes = before[ends] - before[ends - counts]
        return summed
    if pa.types.is_struct(kind):
        return sum((_lengths(part) for part in column.flatten()), start=np.zeros(len(column), np.int64))
    return np.zeros(len(column), np.int64)


def read_json_lines(files: Sequence[SourceFile], counts: Tally) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every line that holds a JSON object, in order.

    Args:
        counts: "lines_too_long" (never held), "lines_unreadable" and "lines_with_a_key_twice" are added to it.

    Raises:
        DataError: a packed file cannot be unpacked to its end, or unpacks to more than it may.
    """
    for file in files:
        number = 0
        try:
            for line in read_lines(file.path):
                number += 1
                place = f"{file.name}:{number}"
                if line is None:
                    counts.pass_over("lines_too_long", place)
                elif not line.isspace():
                    try:
                        row = parse_json(line)
                    except RepeatedKeyError:
                        counts.pass_over("lines_with_a_key_twice", place)
                        continue
                    except (ValueError, RecursionError):
                        row = None
                    if isinstance(row, dict):
                        yield place, row
                    else:
                        counts.pass_over("lines_unreadable", place)
        except UNREADABLE as error:
            raise _damaged(file, number, error) from error


def _damaged(file: SourceFile, number: int, error: Exception) -> DataError:
    return DataError(
        "every file of the corpus must be readable",
        f"{file.name} is not, after row {number:,} ({reason_of(error)})",
        "fetch it again, or leave it out",
    )

"""Rows of Parquet and JSON-lines files as documents. One row group's pages or one line is in memory at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from harness.corpus.document import Document
from harness.errors import DataError
from harness.plan.files import LONGEST_LINE, SourceFile, column_bytes, open_lines
from harness.recipe.corpus import Columns

Row = Mapping[str, Any]
_BATCH_BYTES = 64 << 20  # of a batch of Parquet rows, as far as its row group's mean tells
_BATCH_ROWS = 1_000


def documents_of_rows(
    rows: Iterator[tuple[str, Row]], columns: Columns, language: str, counts: Counter[str]
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
            counts["rows_without_text"] += 1
            continue
        description = _value(row, columns.description)
        if len(text) > LONGEST_LINE or len(description) > LONGEST_LINE:
            counts["rows_too_large"] += 1
            continue
        yield Document(
            cluster=_value(row, columns.cluster) or place,
            path=place,
            language=(_value(row, columns.language) or language).lower(),
            licence=_value(row, columns.licence),
            description=description,
            text=text,
        )


def _value(row: Row, column: str | None) -> str:
    """A cell as text: several values with commas between them, nothing for nothing."""
    value = None if column is None else row.get(column)
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def read_parquet(
    files: Sequence[SourceFile], columns: Sequence[str], counts: Counter[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every row, in order; of a file with `groups` set, of these row groups.

    Args:
        counts: "rows_too_large": those of row groups whose rows are huge on average, which are not decoded at all.

    Raises:
        DataError: a file turns out to be damaged behind its beginning.
    """
    for file in files:
        number = 0
        try:
            with pyarrow.parquet.ParquetFile(file.path) as parquet:
                first, stop = file.groups or (0, parquet.num_row_groups)
                number = sum(parquet.metadata.row_group(group).num_rows for group in range(first))
                for group in range(first, stop):
                    rows = parquet.metadata.row_group(group).num_rows
                    mean = column_bytes(parquet.metadata.row_group(group), columns) // max(1, rows)
                    if mean > LONGEST_LINE:
                        counts["rows_too_large"] += rows
                        counts["rows"] += rows
                        number += rows
                        continue
                    size = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, mean)))
                    batches = parquet.iter_batches(size, row_groups=[group], columns=list(columns), use_threads=False)
                    for batch in batches:
                        for row in batch.to_pylist():
                            yield f"{file.name}:{number}", row
                            number += 1
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, number, error) from error


def read_json_lines(files: Sequence[SourceFile], counts: Counter[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every line that holds a JSON object, in order.

    Args:
        counts: "lines_too_long" (passed over, never held) and "lines_unreadable" are added to it.

    Raises:
        DataError: a packed file cannot be unpacked to its end.
    """
    for file in files:
        number = 0
        try:
            with open_lines(file.path) as lines:
                while line := lines.readline(LONGEST_LINE):
                    number += 1
                    if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                        counts["lines_too_long"] += 1
                        while (rest := lines.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                            pass
                        continue
                    row = _parsed(line)
                    if row is None:
                        counts["lines_unreadable"] += bool(line.strip())
                    else:
                        yield f"{file.name}:{number}", row
        except (OSError, EOFError) as error:
            raise _damaged(file, number, error) from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _damaged(file: SourceFile, number: int, error: Exception) -> DataError:
    return DataError(
        "every file of the corpus must be readable",
        f"{file.name} is not behind row {number:,} ({str(error).splitlines()[0]})",
        "fetch it again, or leave it out",
    )

"""Tables on disk: Parquet, written and read a row group at a time, so that memory does not grow with the rows.

numpy and pyarrow are imported when something is read, not when this module is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Rows a Parquet row group: what a writer holds in memory, and what reading one row costs at most.
ROW_GROUP = 1_000

PIECE_BYTES = 256 << 20
"""Of a table that is put in another order: what is held at once, about."""
MOST_PIECES = 500  # files open at once


def link(path: Path, target: Path) -> None:
    """Have a finished artifact's file in another artifact too: it never changes, so it is copied only where the file
    system cannot link it."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


@dataclass(frozen=True)
class Artifact:
    """Something a finished stage left in `directory`. Of `numbers`, nothing is a text or a weight."""

    directory: Path
    numbers: ClassVar[bool] = False


class Table(Artifact):
    """Rows in Parquet (zstd). `columns` is the schema, checked when written; columns of `optional` may follow.

    A table written here is one file; one that gathers parts is the parts' files, read in order of name. Reading by
    `batches` or `stream` holds one row group at a time, whatever the table's size.
    """

    file: ClassVar[str] = "rows.parquet"
    columns: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()

    def files(self) -> list[Path]:
        return sorted(self.directory.glob("*.parquet"))

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows (each with exactly `columns`, and all with those of `optional` that the first has)."""
        import pyarrow as pa

        more = [name for name in self.optional if rows and name in rows[0]]
        table = pa.table({name: [row[name] for row in rows] for name in (*self.columns, *more)})
        self.write_table(table)

    def write_table(self, table: pa.Table) -> None:
        import pyarrow.parquet

        assert tuple(table.column_names[: len(self.columns)]) == self.columns, table.column_names
        assert set(table.column_names[len(self.columns) :]) <= set(self.optional), table.column_names
        pyarrow.parquet.write_table(table, self.directory / self.file, compression="zstd")

    def read(self, *, columns: Sequence[str] | None = None, encoded: Sequence[str] = ()) -> pa.Table:
        """All rows; only some columns, if named. `encoded` columns of texts stay in dictionaries, one a file."""
        import pyarrow as pa
        import pyarrow.parquet

        return pa.concat_tables(
            [pyarrow.parquet.read_table(path, columns=columns, read_dictionary=list(encoded)) for path in self.files()]
        )

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.read().to_pylist()
        return rows

    def count(self) -> int:
        """Number of rows, from the files' ends alone."""
        import pyarrow.parquet

        return sum(int(pyarrow.parquet.read_metadata(path).num_rows) for path in self.files())

    def bytes_unpacked(self) -> int:
        """Of all rows in memory, about; from the files' ends alone."""
        import pyarrow.parquet

        ends = [pyarrow.parquet.read_metadata(path) for path in self.files()]
        return sum(int(end.row_group(at).total_byte_size) for end in ends for at in range(end.num_row_groups))

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in order, at most `ROW_GROUP` at a time; `columns` reads only some."""
        import pyarrow.parquet

        for path in self.files():
            with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
                yield from file.iter_batches(
                    batch_size=ROW_GROUP, columns=None if columns is None else list(columns), use_threads=False
                )

    def stream(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows in order, one at a time."""
        for batch in self.batches(columns):
            yield from batch.to_pylist()

    @contextmanager
    def adding(self, schema: pa.Schema, *, plain: Sequence[str] = ()) -> Iterator[Callable[[pa.Table], None]]:
        """What takes some rows after others; the file is complete when the block is left.

        Its row groups do not depend on how many rows come at once; one of them is held at most.

        Args:
            schema: begins with `columns`.
            plain: columns neither packed nor put into a dictionary, because nothing in them repeats.
        """
        import pyarrow as pa
        import pyarrow.parquet

        assert tuple(schema.names) == self.columns, schema.names
        held = schema.empty_table()
        packed = [name for name in schema.names if name not in plain]
        codecs = {name: "NONE" if name in plain else "zstd" for name in schema.names}
        path = self.directory / self.file
        with pyarrow.parquet.ParquetWriter(path, schema, compression=codecs, use_dictionary=packed) as file:

            def add(rows: pa.Table) -> None:
                nonlocal held
                held = pa.concat_tables([held, rows])
                whole = len(held) // ROW_GROUP * ROW_GROUP
                if whole:
                    file.write_table(held.slice(0, whole), row_group_size=ROW_GROUP)
                    held = held.slice(whole)

            yield add
            if len(held):
                file.write_table(held)

    def link_parts(self, parts: Iterable[Table]) -> None:
        """Make this table of the files of others, in the order given."""
        for number, path in enumerate(path for part in parts for path in part.files()):
            link(path, self.directory / f"{Path(self.file).stem}-{number:05d}.parquet")


class TextTable(Table):
    """A table all of whose columns are texts, so that it can be written row after row in flat memory."""

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows (each with exactly `columns`) as they come."""
        import pyarrow as pa

        schema = pa.schema([(name, pa.string()) for name in self.columns])
        coming = iter(rows)
        with self.adding(schema) as add:
            while held := list(islice(coming, ROW_GROUP)):
                add(pa.table([[row[name] for row in held] for name in self.columns], schema=schema))


def rows_at(table: Table, numbers: np.ndarray[Any, Any], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Some rows of a table: each row group with any of them is read once.

    Args:
        numbers: ascending.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    at = 0
    for path in table.files():
        with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                first, last = np.searchsorted(numbers, [at, at + size])
                if first < last:
                    rows = file.read_row_group(group, columns=list(columns), use_threads=False)
                    yield from rows.take(pa.array(numbers[first:last] - at)).to_pylist()
                at += size


def rearranged(table: Table, places: np.ndarray[Any, Any], scratch: Path) -> Iterator[dict[str, Any]]:
    """Rows of a table in another order, whatever its size: through pieces on disk, each put in order by itself.

    Args:
        places: (rows,) where each row comes among those that are kept; -1 leaves it out.
        scratch: an existing folder; nothing stays there.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.ipc

    kept = int(np.count_nonzero(places >= 0))
    a_row = max(1, table.bytes_unpacked() // max(1, len(places)))
    held = max(ROW_GROUP, PIECE_BYTES // a_row, -(-kept // MOST_PIECES))  # rows a piece
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        pieces = [Path(folder) / str(number) for number in range(-(-kept // held))]
        with ExitStack() as open_files:
            writers: dict[int, pa.RecordBatchStreamWriter] = {}
            at = 0
            for rows in _in_bulk(table.batches(), held):
                where = places[at : at + len(rows)]
                at += len(rows)
                piece = np.where(where < 0, -1, where // held)
                for number in np.unique(piece[piece >= 0]).tolist():
                    chosen = np.flatnonzero(piece == number)
                    part = rows.take(pa.array(chosen)).append_column("place", pa.array(where[chosen]))
                    if number not in writers:
                        file = pa.ipc.new_stream(str(pieces[number]), part.schema)
                        writers[number] = open_files.enter_context(file)
                    writers[number].write_table(part)
        for path in pieces:
            with pa.ipc.open_stream(path.read_bytes()) as stream:
                piece_rows = stream.read_all()
            path.unlink()
            piece_rows = piece_rows.take(pa.array(np.argsort(piece_rows["place"].to_numpy()))).drop_columns("place")
            for batch in piece_rows.to_batches(max_chunksize=ROW_GROUP):
                yield from batch.to_pylist()


def _in_bulk(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Some batches as a table of at least so many rows, but for the last; so that each piece gets several at a time."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= rows:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)

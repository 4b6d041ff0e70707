"""The typed things stages hand on. Each class knows its own files; nobody else names a file inside an artifact.

numpy and pyarrow are imported when something is read, not when this module is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

UNKNOWN_ERROR = "unknown"
"""Error type of a wrong candidate of which nobody says what is wrong with it."""


@dataclass(frozen=True)
class Artifact:
    """Something a finished stage left in `directory`."""

    directory: Path


class Table(Artifact):
    """Rows in one Parquet file (zstd). `columns` is the schema, checked when written; `optional` may follow."""

    file: ClassVar[str] = "rows.parquet"
    columns: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows (each with exactly `columns`)."""
        import pyarrow as pa

        table = pa.table({name: [row[name] for row in rows] for name in self.columns})
        self.write_table(table)

    def write_table(self, table: pa.Table) -> None:
        import pyarrow.parquet

        assert tuple(table.column_names[: len(self.columns)]) == self.columns, table.column_names
        assert set(table.column_names[len(self.columns) :]) <= set(self.optional), table.column_names
        pyarrow.parquet.write_table(table, self.directory / self.file, compression="zstd")

    def read(self, *, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows; only some columns, if named."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self.directory / self.file, columns=columns)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.read().to_pylist()
        return rows

    def stream(self, *, batch: int = 1_024) -> Iterator[dict[str, Any]]:
        """The rows in order, a few at a time in memory."""
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.directory / self.file) as file:
            for part in file.iter_batches(batch_size=batch):
                yield from part.to_pylist()

    def __len__(self) -> int:
        import pyarrow.parquet

        return int(pyarrow.parquet.read_metadata(self.directory / self.file).num_rows)


class Corpus(Table):
    """Cleaned functions. `split` is train, base or heldout."""

    file = "functions.parquet"
    columns = ("split", "package", "module", "qualified_name", "docstring", "source")


class Problems(Table):
    """Problems of one task. `cluster` is what splits keep together; `metadata` is JSON text.

    `solution` is in the task's plain wording, `text` the whole problem with its solution as a policy would write it.
    """

    file = "problems.parquet"
    columns = ("id", "cluster", "split", "prompt", "answer", "solution", "text", "metadata")


class Pairs(Table):
    """Preferences: one prompt, a chosen and a rejected response; `detail` says how the rejected one came about.

    Whoever writes a text with a model may add how it ended ("stop" or "length") and its tokens.
    """

    file = "pairs.parquet"
    columns = ("id", "cluster", "prompt", "chosen", "rejected", "detail")
    optional = ("chosen_finish_reason", "rejected_finish_reason", "chosen_tokens", "rejected_tokens", "language")


class Judgements(Table):
    """A judge's answers on some rows of a pair set: the chance, 0 to 1, that the chosen side is the better one.

    Asked with the chosen side first and with the rejected side first; NaN where there was no answer.
    """

    file = "judgements.parquet"
    columns = ("row", "chosen_first", "rejected_first")


class PairQuality(Artifact):
    """What a pair set is worth: `numbers` as in the record, and `examples`, as JSON."""

    @property
    def path(self) -> Path:
        return self.directory / "quality.json"


class Writings(Table):
    """Texts a model wrote, a row a construction slot. `finish_reason` is stop or length (cut at the most tokens)."""

    file = "writings.parquet"
    columns = ("slot", "text", "finish_reason", "prompt_tokens_cut", "tokens")


class Candidates(Table):
    """Candidate solutions, problem after problem. `seen` is whether fine-tuning pairs show this error type.

    `source` is who wrote the text: an engine, or a published pool's model.
    """

    file = "candidates.parquet"
    columns = ("problem", "cluster", "prompt", "index", "text", "answer", "correct", "error_type", "seen", "source")


class Scores(Table):
    """One reward a response: `group` is the source row (pairs) or problem number (candidates)."""

    file = "scores.parquet"
    columns = ("group", "response", "score")


class CandidateScores(Table):
    """Scores from outside, by problem and candidate index; `task` is "" where the file names none."""

    file = "candidate_scores.parquet"
    columns = ("task", "problem", "candidate", "score")


class PoolSplits(Table):
    """Which problem of an imported pool is in which split, each split in its order."""

    file = "splits.parquet"
    columns = ("problem", "cluster", "split")


class ProblemValues(Table):
    """One value a problem (or pair) and metric: what analysis resamples."""

    file = "values.parquet"
    columns = ("metric", "problem", "cluster", "value")


class Analysis(Artifact):
    """Leaderboard rows and comparisons over many variants, as JSON."""

    file: ClassVar[str] = "analysis.json"

    @property
    def path(self) -> Path:
        return self.directory / self.file


class Comparison(Artifact):
    """Two rows against one another on every task both were judged on, as JSON."""

    file: ClassVar[str] = "comparison.json"

    @property
    def path(self) -> Path:
        return self.directory / self.file


class Tokenizer(Artifact):
    """A tokenizer in the `tokenizers` library's own JSON."""

    @property
    def path(self) -> Path:
        return self.directory / "tokenizer.json"


class Checkpoint(Artifact):
    """A causal language model with its scalar head, in safetensors."""

    @property
    def model(self) -> Path:
        return self.directory / "model"


class ImportedCheckpoint(Checkpoint):
    """A reward model from outside with its tokenizer, where `Tokenizer` has it too, and its chat template, if any."""

    @property
    def tokenizer(self) -> Path:
        return Tokenizer(self.directory).path

    @property
    def chat(self) -> Path:
        return self.directory / "chat.json"


class TrunkState(Checkpoint):
    """A checkpoint with everything needed to go on training (optimizer moments, position) under `state`."""

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def model(self) -> Path:
        return self.state / "model"


class Tokens(Artifact):
    """Groups of token ids, memory-mapped: one prompt and its responses each, in one array.

    `tokens.bin` holds ids; segment s (a prompt or a response) is ids[segments[s]:segments[s + 1]]; group g's segments
    are first_segment[g] (its prompt, may be empty) up to first_segment[g + 1]; rows[g] is its row in the source table.
    """

    def write(self, groups: Iterable[tuple[int, Sequence[Sequence[int]]]], vocabulary: int) -> None:
        """Write (source row, [prompt, response, ...]) groups in order, streaming."""
        import numpy as np

        dtype = np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")
        lengths: list[int] = []
        first_segment = [0]
        rows: list[int] = []
        with (self.directory / "tokens.bin").open("wb") as file:
            for row, segments in groups:
                rows.append(row)
                for segment in segments:
                    file.write(np.asarray(segment, dtype=dtype).tobytes())
                    lengths.append(len(segment))
                first_segment.append(len(lengths))
        boundaries = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)
        np.save(self.directory / "segments.npy", boundaries)
        np.save(self.directory / "first_segment.npy", np.asarray(first_segment, dtype=np.int64))
        np.save(self.directory / "rows.npy", np.asarray(rows, dtype=np.int64))

    def open(self, *, limit: int | None = None) -> TokenReader:
        """Map the arrays; `limit` shows only the first groups."""
        import numpy as np

        segments = np.load(self.directory / "segments.npy", mmap_mode="r")
        first_segment = np.load(self.directory / "first_segment.npy", mmap_mode="r")
        rows = np.load(self.directory / "rows.npy", mmap_mode="r")
        size = (self.directory / "tokens.bin").stat().st_size
        total = int(segments[-1])
        dtype = np.dtype("<u2") if size == 2 * total else np.dtype("<u4")
        ids: np.ndarray[Any, np.dtype[Any]] = (
            np.memmap(self.directory / "tokens.bin", dtype=dtype, mode="r") if total else np.zeros(0, dtype)
        )
        return TokenReader(ids=ids, segments=segments, first_segment=first_segment, rows=rows, limit=limit)


class TokenReader:
    """Random access to groups of a `Tokens` artifact."""

    def __init__(
        self,
        *,
        ids: np.ndarray[Any, Any],
        segments: np.ndarray[Any, Any],
        first_segment: np.ndarray[Any, Any],
        rows: np.ndarray[Any, Any],
        limit: int | None = None,
    ) -> None:
        self._ids = ids
        self._segments = segments
        self._first_segment = first_segment
        self._length = len(rows) if limit is None else min(limit, len(rows))
        self.rows = rows[: self._length]

    def __len__(self) -> int:
        return self._length

    def group(self, index: int) -> list[np.ndarray[Any, Any]]:
        """[prompt, response_0, ...] of one group, each (length,) int64."""
        first, last = int(self._first_segment[index]), int(self._first_segment[index + 1])
        bounds = self._segments[first : last + 1]
        return [self._ids[int(start) : int(stop)].astype("int64") for start, stop in itertools.pairwise(bounds)]

    def __iter__(self) -> Iterator[list[np.ndarray[Any, Any]]]:
        return (self.group(index) for index in range(len(self)))

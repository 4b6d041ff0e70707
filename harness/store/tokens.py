"""Token ids on disk: flat arrays, written in flat memory and memory-mapped by readers.

numpy is imported when something is read or written, not when this module is.
"""

from __future__ import annotations

import itertools
import mmap
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


_NUMBERS = ("segments", "first_segment", "rows")
# Groups read in order before pages already read are given back.
_RELEASE_EVERY = 1 << 16


def write_tokens(directory: Path, groups: Iterable[tuple[int, Sequence[Sequence[int]]]], vocabulary: int) -> None:
    """Write (source row, [prompt, response, ...]) groups as the files `harness.store.artifacts.Tokens` describes."""
    import numpy as np

    dtype = "<u2" if vocabulary <= 1 << 16 else "<u4"
    position = segment_count = 0
    with (
        (directory / "tokens.bin").open("wb") as file,
        _growing_array(directory / "segments.npy") as add_boundary,
        _growing_array(directory / "first_segment.npy") as add_first_segment,
        _growing_array(directory / "rows.npy") as add_row,
    ):
        add_boundary(0)
        add_first_segment(0)
        for row, segments in groups:
            add_row(row)
            for segment in segments:
                file.write(np.asarray(segment, dtype=dtype).tobytes())
                position += len(segment)
                add_boundary(position)
            segment_count += len(segments)
            add_first_segment(segment_count)


def open_tokens(directory: Path, *, limit: int | None) -> TokenReader:
    """Map the files of `write_tokens`; `limit` shows only the first groups."""
    import numpy as np

    arrays = {name: np.load(directory / f"{name}.npy", mmap_mode="r") for name in _NUMBERS}
    size = (directory / "tokens.bin").stat().st_size
    total = int(arrays["segments"][-1])
    dtype = np.dtype("<u2") if size == 2 * total else np.dtype("<u4")
    ids = np.memmap(directory / "tokens.bin", dtype=dtype, mode="r") if total else np.zeros(0, dtype)
    return TokenReader(ids=ids, **arrays, limit=limit)


@contextmanager
def _growing_array(path: Path) -> Iterator[Callable[[int], object]]:
    """What takes one number of a `.npy` file of int64 after another; the file is there when the block is left."""
    from numpy.lib import format as npy

    with tempfile.TemporaryFile(dir=path.parent) as raw:
        yield lambda number: raw.write(struct.pack("<q", number))
        description = {"descr": "<i8", "fortran_order": False, "shape": (raw.tell() // 8,)}
        raw.seek(0)
        with path.open("wb") as file:
            npy.write_array_header_1_0(file, description)  # type: ignore[no-untyped-call]
            shutil.copyfileobj(raw, file)


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
        import numpy as np

        # Views without numpy's memmap class, whose every slice costs microseconds; they keep the mapping.
        self._ids, self._segments, self._first_segment = map(np.asarray, (ids, segments, first_segment))
        self._maps = [array._mmap for array in (ids, segments, first_segment) if hasattr(array, "_mmap")]
        self._length = len(rows) if limit is None else min(limit, len(rows))
        self.rows = rows[: self._length]

    def __len__(self) -> int:
        return self._length

    def group(self, index: int) -> list[np.ndarray[Any, Any]]:
        """[prompt, response_0, ...] of one group, each (length,) int64."""
        first, last = self._first_segment[index : index + 2].tolist()
        bounds = self._segments[first : last + 1].tolist()
        ids = self._ids[bounds[0] : bounds[-1]].astype("int64")
        return [ids[start - bounds[0] : stop - bounds[0]] for start, stop in itertools.pairwise(bounds)]

    def __iter__(self) -> Iterator[list[np.ndarray[Any, Any]]]:
        """All groups in order; pages read stay in the system's cache but do not count as this process's memory."""
        for index in range(len(self)):
            yield self.group(index)
            if index % _RELEASE_EVERY == _RELEASE_EVERY - 1:
                for pages in self._maps:
                    pages.madvise(mmap.MADV_DONTNEED)

"""Near duplicates: candidates by MinHash, the decision exact, memory a kilobyte or two a kept text.

Only the index of sketches is held; what the exact decision needs, the texts' hashed shingles, lies in a scratch file.

Source: Broder, "On the resemblance and containment of documents" (1997).
"""

from __future__ import annotations

import os
import re
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash, RMinHashLSH

_TOKEN = re.compile(r"\w+|[^\w\s]")
_SHINGLE_TOKENS = 3
_PERMUTATIONS = 128
# The bands are the most selective ones that still let this share of pairs at the threshold meet.
_RECALL_AT_THRESHOLD = 0.99
# Candidates compared with one text at most: a corpus of half-alike texts must not take quadratic time.
_MOST_CANDIDATES = 256


class NearDuplicates:
    """Says of texts, one batch after another, which earlier one each repeats. A context manager: it has a file open.

    Args:
        threshold: least Jaccard similarity, in (0, 1], of the sets of three-token shingles (as 64-bit hashes).
        seed: of the MinHash permutations; it can only move a candidate's being seen (at least 99 % are at the
            threshold, more above it), never make two different texts the same.
        scratch: folder for the scratch file, which has no name there: nothing is left behind.
    """

    def __init__(self, *, threshold: float, seed: int, scratch: Path) -> None:
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"threshold must be in (0, 1], not {threshold}")
        self._threshold = threshold
        self._seed = seed
        self._index = RMinHashLSH(threshold, *_sketch(threshold))
        self._permutations = _sketch(threshold)[0]
        self._scratch = scratch
        self._ends = array("q", [0])  # of each kept text's shingles in the file
        self._numbers = array("q")  # of each kept text among all
        self._seen = 0

    def __enter__(self) -> NearDuplicates:
        self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def copies(self, texts: Sequence[str]) -> list[int | None]:
        """For each text the number (from 0, of all texts ever given) of the kept one it repeats; None: it is kept."""
        shingles = [_shingles(text) for text in texts]
        sketches = RMinHash.from_token_sets(shingles, self._permutations, self._seed)
        hashed = RMinHash.hash_token_sets(shingles)
        return [
            self._copy(sketch, np.unique(np.array(own, np.uint64)))
            for sketch, own in zip(sketches, hashed, strict=True)
        ]

    def _copy(self, sketch: RMinHash, own: NDArray[np.uint64]) -> int | None:
        number = self._seen
        self._seen += 1
        for candidate in sorted(self._index.query(sketch))[:_MOST_CANDIDATES]:
            other = self._shingles_of(candidate)
            shared = len(np.intersect1d(own, other, assume_unique=True))
            if shared >= self._threshold * (len(own) + len(other) - shared):
                earlier: int = self._numbers[candidate]
                return earlier
        self._index.insert(len(self._numbers), sketch)
        self._numbers.append(number)
        os.write(self._file.fileno(), own.tobytes())
        self._ends.append(self._ends[-1] + own.nbytes)
        return None

    def _shingles_of(self, candidate: int) -> NDArray[np.uint64]:
        start, end = self._ends[candidate : candidate + 2]
        return np.frombuffer(os.pread(self._file.fileno(), end - start, start), np.uint64)


def _shingles(text: str) -> list[str]:
    """Distinct runs of three tokens, in order of appearance; a shorter text is one shingle."""
    tokens = _TOKEN.findall(text)
    if len(tokens) <= _SHINGLE_TOKENS:
        return [" ".join(tokens)]
    runs = zip(*(tokens[offset:] for offset in range(_SHINGLE_TOKENS)), strict=False)
    return list(dict.fromkeys(map(" ".join, runs)))


def _sketch(threshold: float) -> tuple[int, int]:
    """(permutations, bands): the fewest bands, then permutations, whose recall 1 - (1 - t^rows)^bands is high enough.

    An index holds something for every band of every text, so bands are what memory goes by.
    """
    powers_of_two = [1 << power for power in range(_PERMUTATIONS.bit_length())]
    choices = [
        (bands * rows, bands)
        for rows in powers_of_two
        for bands in powers_of_two
        if bands * rows <= _PERMUTATIONS and 1.0 - (1.0 - threshold**rows) ** bands >= _RECALL_AT_THRESHOLD
    ]
    return max(choices, key=lambda choice: (choice[0] // choice[1], -choice[1]), default=(_PERMUTATIONS, _PERMUTATIONS))

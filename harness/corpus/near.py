"""Near duplicates: candidates by MinHash, the decision exact, memory a few hundred bytes a kept text.

Only the index of sketches is held; what the exact decision needs, the texts' hashed shingles, lies in a scratch file.
Hashing shingles is most of the work and needs the text alone, so it is done apart from comparing.

Source: Broder, "On the resemblance and containment of documents" (1997).
"""

from __future__ import annotations

import math
import os
import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from harness.corpus.bands import BandIndex
from harness.corpus.words import tokens_of

Hashes = NDArray[np.uint64]

_SHINGLE_TOKENS = 3
_PERMUTATIONS = 128
# The bands, and how many of them two texts must share, are the most selective ones that still let this share of pairs
# at the threshold meet.
_RECALL_AT_THRESHOLD = 0.99
# Candidates compared with one text at most, and earlier texts kept for one key: a corpus of half-alike texts must not
# take quadratic time.
_MOST_CANDIDATES = 256
# Odd numbers that spread bits (from splitmix64): keys of bands must differ in their high bits.
_SPREAD = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_BATCH = 1_000  # texts compared at once


def shingle_hashes(texts: Sequence[str]) -> list[Hashes]:
    """The 64-bit hashes of each text's distinct shingles, ascending: what near copies are found by."""
    hashed = RMinHash.hash_token_sets([_shingles(text) for text in texts])
    return [np.sort(np.array(own, np.uint64)) for own in hashed]


class NearDuplicates:
    """Says of texts, one after another, which earlier one each repeats. A context manager: it has a file open.

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
        self._permutations, self._bands = _sketch(threshold)
        self._fewest = _fewest_shared(threshold ** (self._permutations // self._bands), self._bands)
        self._index = BandIndex()
        self._scratch = scratch
        self._ends = array("q", [0])  # of each kept text's shingles in the file
        self._unwritten: list[Hashes] = []  # the last ones', not there yet
        self._numbers = array("q")  # of each kept text among all
        self._seen = 0

    def __enter__(self) -> NearDuplicates:
        self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def copies(self, shingles: Sequence[Hashes]) -> list[int | None]:
        """For each text the number (from 0, of all texts ever given) of the kept one it repeats; None: it is kept.

        Args:
            shingles: `shingle_hashes` of the texts.
        """
        batches = (shingles[start : start + _BATCH] for start in range(0, len(shingles), _BATCH))
        return list(chain.from_iterable(map(self._copies, batches)))

    def _copies(self, shingles: Sequence[Hashes]) -> list[int | None]:
        keys = self._keys(shingles)
        places, texts, free = self._index.find(keys.ravel())
        earlier: dict[int, list[int]] = defaultdict(list)  # row -> kept texts of earlier batches
        for place, text in zip(places.tolist(), texts.tolist(), strict=True):
            earlier[place // self._bands].append(text)
        among: dict[int, list[int]] = defaultdict(list)  # key -> kept texts of this batch
        repeated = set(_repeated(keys))
        rows = []
        found: list[int | None] = []
        for row, own in enumerate(shingles):
            shared = [key for key in keys[row].tolist() if key in repeated]
            met = Counter(chain(earlier.get(row, ()), *(among[key] for key in shared)))
            candidates = [text for text, bands in met.items() if bands >= self._fewest]
            copied = self._first_copied(own, sorted(candidates)[:_MOST_CANDIDATES])
            found.append(copied)
            if copied is None:
                for key in shared:
                    among[key].append(len(self._numbers))
                rows.append(row)
                self._keep(own)
            self._seen += 1
        os.write(self._file.fileno(), b"".join(own.tobytes() for own in self._unwritten))
        self._unwritten.clear()
        new = (np.bincount(places, minlength=keys.size) < _MOST_CANDIDATES).reshape(keys.shape)[rows].ravel()
        kept = np.arange(len(self._numbers) - len(rows), len(self._numbers), dtype=np.int32)
        where = free.reshape(keys.shape)[rows].ravel()
        self._index.add(keys[rows].ravel()[new], np.repeat(kept, self._bands)[new], where[new])
        return found

    def _first_copied(self, own: Hashes, candidates: Sequence[int]) -> int | None:
        for candidate in candidates:
            fewer, more = sorted((len(own), (self._ends[candidate + 1] - self._ends[candidate]) // own.itemsize))
            if fewer < self._threshold * more:
                continue  # even if it held all of the smaller one
            other = self._shingles_of(candidate)
            places = np.minimum(own.searchsorted(other), len(own) - 1)
            shared = np.count_nonzero(own[places] == other)
            if shared >= self._threshold * (fewer + more - shared):
                return self._numbers[candidate]
        return None

    def _keep(self, own: Hashes) -> None:
        self._numbers.append(self._seen)
        self._unwritten.append(own)
        self._ends.append(self._ends[-1] + own.nbytes)

    def _shingles_of(self, candidate: int) -> Hashes:
        unwritten = candidate - len(self._numbers)
        if unwritten >= -len(self._unwritten):
            return self._unwritten[unwritten]
        start, end = self._ends[candidate : candidate + 2]
        return np.frombuffer(os.pread(self._file.fileno(), end - start, start), np.uint64)

    def _keys(self, shingles: Sequence[Hashes]) -> Hashes:
        """A key a text and band, (texts, bands): texts that agree on a band of their sketches have the same one."""
        ends = np.cumsum([0, *map(len, shingles)], dtype=np.uint64)
        sketches = RMinHash.digest_matrix_from_flat_token_hashes(
            np.concatenate(shingles), ends, self._permutations, self._seed
        )
        digests = np.array(sketches.to_rows(), np.uint64).reshape(len(shingles), self._bands, -1)
        keys = np.broadcast_to(np.arange(1, self._bands + 1, dtype=np.uint64), digests.shape[:2])
        for row in range(digests.shape[2]):
            keys = (keys ^ digests[:, :, row]) * _SPREAD[0]
            keys = (keys ^ (keys >> np.uint64(31))) * _SPREAD[1]
        return keys


def _repeated(keys: Hashes) -> list[int]:
    """The keys that stand more than once in a batch."""
    ordered = np.sort(keys, axis=None)
    found: list[int] = ordered[1:][ordered[1:] == ordered[:-1]].tolist()
    return found


def _shingles(text: str) -> list[str]:
    """Distinct runs of three tokens, in order of appearance; a shorter text is one shingle."""
    tokens = tokens_of(text)
    if len(tokens) <= _SHINGLE_TOKENS:
        return [" ".join(tokens)]
    runs = zip(*(tokens[offset:] for offset in range(_SHINGLE_TOKENS)), strict=False)
    return list(dict.fromkeys(map(" ".join, runs)))


def _fewest_shared(chance: float, bands: int) -> int:
    """Of how many bands a pair at the threshold shares at least that many often enough; each is shared by `chance`."""
    missed = 0.0
    for shared in range(bands):
        missed += math.comb(bands, shared) * chance**shared * (1.0 - chance) ** (bands - shared)
        if missed > 1.0 - _RECALL_AT_THRESHOLD:
            return max(1, shared)
    return bands


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

"""Reading a corpus back as functions (or other documents in their shape): those of a range of construction slots."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from harness.corpus.python_packages import Function
from harness.errors import DataError
from harness.pairs.construct import slot_order
from harness.pipeline.pair_kinds import SpanSpec
from harness.stages.context import StageContext
from harness.store.artifacts import Corpus
from harness.store.tables import rows_at


class Functions:
    """What pairs of a split are made of, of which those of some slots are read, in one pass.

    Args:
        only_functions: leave out documents that are none; a side that mutates can do nothing with them.
        seed: of the order in which slots take functions.
        start, stop: the slots.

    Attributes:
        unfit: how many documents were left out.

    Raises:
        DataError: nothing is left.
    """

    def __init__(self, corpus: Corpus, split: str, *, only_functions: bool, seed: int, start: int, stop: int) -> None:
        numbers, self.unfit = _numbers(corpus, split, only_functions=only_functions)
        self._length = len(numbers)
        self._slots = range(start, stop)
        self._taken = slot_order(len(numbers), seed)[np.arange(start, stop) % len(numbers)]
        wanted = np.unique(self._taken)
        rows = rows_at(corpus, numbers[wanted], ["cluster", "path", "name", "description", "text"])
        self._functions = {
            index: Function(
                package=row["cluster"],
                module=row["path"],
                qualified_name=row["name"],
                docstring=row["description"],
                source=row["text"],
            )
            for index, row in zip(wanted.tolist(), rows, strict=True)
        }

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Function:
        return self._functions[index]

    def of_slots(self) -> Iterator[tuple[int, Function]]:
        """(slot, function) in order."""
        for slot, index in zip(self._slots, self._taken.tolist(), strict=True):
            yield slot, self._functions[index]


def functions_of(context: StageContext, spec: SpanSpec, *, only_functions: bool) -> Functions:
    """The functions of a part's slots, from the input `corpus`."""
    return Functions(
        context.input("corpus", Corpus),
        spec.split,
        only_functions=only_functions,
        seed=spec.seed,
        start=spec.start,
        stop=spec.stop,
    )


def _numbers(corpus: Corpus, split: str, *, only_functions: bool) -> tuple[NDArray[np.int64], int]:
    """Row numbers of the split's documents, and how many of its documents were left out."""
    kept, unfit, at = array("q"), 0, 0
    for batch in corpus.batches(["split", "unit"]):
        of_split = pa.compute.equal(batch["split"], split)
        fit = pa.compute.and_(of_split, pa.compute.equal(batch["unit"], "function")) if only_functions else of_split
        unfit += of_split.true_count - fit.true_count
        kept.frombytes((np.flatnonzero(fit.to_numpy(zero_copy_only=False)) + at).tobytes())
        at += len(batch)
    if not kept:
        raise DataError(
            "pairs need functions",
            f"the corpus has none in {split!r}" + (f" but {unfit:,} other documents" if unfit else ""),
            "of Python, set `corpus.language: python`; else take another corpus, or other sides than `mutation`",
        )
    return np.frombuffer(kept, np.int64), unfit

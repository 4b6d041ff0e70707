"""Reading a corpus back as functions, and which function a construction slot has."""

from __future__ import annotations

from collections.abc import Iterator

from harness.corpus.python_packages import Function
from harness.errors import DataError
from harness.pairs.construct import slot_order
from harness.store.artifacts import Corpus

FIELDS = ("package", "module", "qualified_name", "docstring", "source")


def read_functions(corpus: Corpus, split: str) -> list[Function]:
    """The functions of a split, in their stored order.

    Raises:
        DataError: there are none.
    """
    found = [Function(**{name: row[name] for name in FIELDS}) for row in corpus.rows() if row["split"] == split]
    if not found:
        raise DataError("pairs need functions", f"the corpus has none in {split!r}", "name other packages")
    return found


def functions_of_slots(corpus: Corpus, split: str, seed: int, start: int, stop: int) -> Iterator[tuple[int, Function]]:
    """(slot, function) of the slots from `start` to before `stop`."""
    functions = read_functions(corpus, split)
    order = slot_order(len(functions), seed)
    for slot in range(start, stop):
        yield slot, functions[int(order[slot % len(functions)])]

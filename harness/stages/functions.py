"""Reading a corpus back as functions (or other documents in their shape), and which one a construction slot has."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from harness.corpus.python_packages import Function
from harness.errors import DataError
from harness.pairs.construct import slot_order
from harness.store.artifacts import Corpus
from harness.store.tables import RowReader


class Functions(Sequence[Function]):
    """What pairs of a split are made of, read when it is asked for.

    Args:
        only_functions: leave out documents that are none; a side that mutates can do nothing with them.

    Attributes:
        unfit: how many were left out.

    Raises:
        DataError: nothing is left.
    """

    def __init__(self, corpus: Corpus, split: str, *, only_functions: bool) -> None:
        self.unfit = 0
        self._numbers = array("q")
        for number, row in enumerate(corpus.stream(["split", "unit"])):
            if row["split"] == split:
                if only_functions and row["unit"] != "function":
                    self.unfit += 1
                else:
                    self._numbers.append(number)
        if not self._numbers:
            raise DataError(
                "pairs need functions",
                f"the corpus has none in {split!r}" + (f" but {self.unfit:,} other documents" if self.unfit else ""),
                "take another corpus or, for documents, other sides than `mutation`",
            )
        self._reader = RowReader(corpus, ["cluster", "path", "name", "description", "text"])

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Function:  # type: ignore[override]
        row = self._reader[self._numbers[index]]
        return Function(
            package=row["cluster"],
            module=row["path"],
            qualified_name=row["name"],
            docstring=row["description"],
            source=row["text"],
        )


def functions_of_slots(functions: Functions, seed: int, start: int, stop: int) -> Iterator[tuple[int, Function]]:
    """(slot, function) of the slots from `start` to before `stop`."""
    order = slot_order(len(functions), seed)
    for slot in range(start, stop):
        yield slot, functions[int(order[slot % len(functions)])]

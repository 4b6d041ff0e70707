"""pairs_part: the preference pairs of a range of construction slots."""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Sequence
from typing import Any

from harness.corpus.python_packages import Function
from harness.errors import DataError
from harness.pairs.construct import Mutated, Reference, Side, construct
from harness.stages.context import StageContext
from harness.store.artifacts import Corpus, Pairs
from harness.store.tables import RowReader


def run(context: StageContext) -> dict[str, Any]:
    """Construct the slots' pairs; the result counts slots without a pair, by reason."""
    spec = context.spec
    functions, unfit = _functions(context)
    if not functions:
        raise DataError(
            "pairs need functions",
            f"the corpus has none in {spec['split']!r}" + (f" but {unfit:,} other documents" if unfit else ""),
            "take another corpus or, for documents, other sides than `mutation`",
        )
    pairs, counts = construct(
        functions,
        start=spec["start"],
        stop=spec["stop"],
        seed=spec["seed"],
        chosen=_side(spec["chosen"]),
        rejected=_side(spec["rejected"]),
        description_characters=spec["prompt"]["max_characters"],
    )
    rows = [
        {
            "id": f"{spec['split']}-{pair.slot}",
            "cluster": pair.module,  # functions of one file are not independent
            "prompt": pair.prompt,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
            "detail": "; ".join(pair.edits),
        }
        for pair in pairs
    ]
    Pairs(context.directory).write(rows)
    return {"groups": len(rows), "counts": dict(sorted({**counts, "documents_unfit": unfit}.items()))}


def _functions(context: StageContext) -> tuple[Sequence[Function], int]:
    """What pairs are made of, and how many documents of the split are no functions although a side mutates them."""
    spec = context.spec
    mutates = "mutation" in (spec["chosen"]["from"], spec["rejected"]["from"])
    corpus = context.input("corpus", Corpus)
    numbers = array("q")
    unfit = 0
    for number, row in enumerate(corpus.stream(["split", "unit"])):
        if row["split"] == spec["split"]:
            if mutates and row["unit"] != "function":
                unfit += 1
            else:
                numbers.append(number)
    return _Functions(corpus, numbers), unfit


class _Functions(Sequence[Function]):
    """Some rows of a corpus, read when they are asked for."""

    def __init__(self, corpus: Corpus, numbers: Sequence[int]) -> None:
        self._reader = RowReader(corpus, ["cluster", "path", "name", "description", "text"])
        self._numbers = numbers

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


def _side(spec: dict[str, Any]) -> Side:
    if spec["from"] == "reference":
        return Reference()
    if spec["from"] == "mutation":
        return Mutated(kinds=tuple(spec["kinds"]), min_edits=spec["edits"][0], max_edits=spec["edits"][1])
    module, _, name = spec["from"].partition(":")
    made: Side = getattr(importlib.import_module(module), name)(**spec["options"])
    return made

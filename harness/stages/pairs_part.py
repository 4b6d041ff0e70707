"""pairs_part: the preference pairs of a range of construction slots."""

from __future__ import annotations

import importlib
from typing import Any

from harness.corpus.python_packages import Function
from harness.errors import DataError
from harness.pairs.construct import Mutated, Reference, Side, construct
from harness.stages.context import StageContext
from harness.store.artifacts import Corpus, Pairs


def run(context: StageContext) -> dict[str, Any]:
    """Construct the slots' pairs; the result counts slots without a pair, by reason."""
    spec = context.spec
    functions = [
        Function(**{name: row[name] for name in ("package", "module", "qualified_name", "docstring", "source")})
        for row in context.input("corpus", Corpus).rows()
        if row["split"] == spec["split"]
    ]
    if not functions:
        raise DataError("pairs need functions", f"the corpus has none in {spec['split']!r}", "name other packages")
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
    return {"groups": len(rows), "counts": dict(sorted(counts.items()))}


def _side(spec: dict[str, Any]) -> Side:
    if spec["from"] == "reference":
        return Reference()
    if spec["from"] == "mutation":
        return Mutated(kinds=tuple(spec["kinds"]), min_edits=spec["edits"][0], max_edits=spec["edits"][1])
    module, _, name = spec["from"].partition(":")
    made: Side = getattr(importlib.import_module(module), name)(**spec["options"])
    return made

"""pairs_part: the preference pairs of a range of construction slots."""

from __future__ import annotations

import importlib
from typing import Any

from harness.pairs.construct import Mutated, Reference, Side, Written, construct
from harness.stages.context import StageContext
from harness.stages.functions import read_functions
from harness.stages.slot_descriptions import slot_descriptions
from harness.store.artifacts import Corpus, Pairs, Writings


def run(context: StageContext) -> dict[str, Any]:
    """Construct the slots' pairs; the result counts slots without a pair, by reason."""
    spec = context.spec
    pairs, counts = construct(
        read_functions(context.input("corpus", Corpus), spec["split"]),
        start=spec["start"],
        stop=spec["stop"],
        seed=spec["seed"],
        chosen=_side(context, "chosen"),
        rejected=_side(context, "rejected"),
        descriptions=slot_descriptions(context),
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


def _side(context: StageContext, name: str) -> Side:
    spec = context.spec[name]
    if spec["from"] == "reference":
        return Reference()
    if spec["from"] == "mutation":
        return Mutated(kinds=tuple(spec["kinds"]), min_edits=spec["edits"][0], max_edits=spec["edits"][1])
    if spec["from"] == "model":
        return Written(answers={row["slot"]: row["text"] for row in context.input(name, Writings).rows()})
    module, _, factory = spec["from"].partition(":")
    made: Side = getattr(importlib.import_module(module), factory)(**spec["options"])
    return made

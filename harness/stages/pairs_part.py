"""pairs_part: the preference pairs of a range of construction slots."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from harness.pairs.construct import Mutated, Reference, Side, Written, construct
from harness.stages.context import StageContext
from harness.stages.functions import Functions
from harness.stages.slot_descriptions import slot_descriptions
from harness.store.artifacts import Corpus, Pairs, Writings

HOW_WRITTEN = {"finish_reason": pa.string(), "tokens": pa.int64()}  # of a text that a model wrote, kept beside it


def run(context: StageContext) -> dict[str, Any]:
    """Construct the slots' pairs; the result counts slots without a pair, by reason."""
    spec = context.spec
    functions = Functions(context.input("corpus", Corpus), spec["split"], only_functions=_mutates(spec))
    pairs, counts = construct(
        functions,
        start=spec["start"],
        stop=spec["stop"],
        seed=spec["seed"],
        chosen=_side(context, "chosen"),
        rejected=_side(context, "rejected"),
        descriptions=slot_descriptions(context),
    )
    written = _written(context)
    rows = [
        {
            "id": f"{spec['split']}-{pair.slot}",
            "cluster": pair.module,  # functions of one file are not independent
            "prompt": pair.prompt,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
            "detail": "; ".join(pair.edits),
            **{f"{side}_{name}": of[pair.slot][name] for side, of in written.items() for name in HOW_WRITTEN},
        }
        for pair in pairs
    ]
    more = {f"{side}_{name}": kind for side in written for name, kind in HOW_WRITTEN.items()}
    schema = pa.schema([*((name, pa.string()) for name in Pairs.columns), *more.items()])
    Pairs(context.directory).write_table(pa.Table.from_pylist(rows, schema=schema))
    return {"groups": len(rows), "counts": dict(sorted({**counts, "documents_unfit": functions.unfit}.items()))}


def _written(context: StageContext) -> dict[str, dict[int, dict[str, Any]]]:
    """Side -> slot -> what its model wrote, for the sides that models write."""
    sides = [name for name in ("chosen", "rejected") if context.spec[name]["from"] == "model"]
    return {name: {row["slot"]: row for row in context.input(name, Writings).stream()} for name in sides}


def _mutates(spec: Mapping[str, Any]) -> bool:
    return "mutation" in (spec["chosen"]["from"], spec["rejected"]["from"])


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

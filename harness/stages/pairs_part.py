"""pairs_part: the preference pairs of a range of construction slots."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from harness.errors import DataError
from harness.pairs.construct import (
    LengthMatch,
    Mutated,
    Pair,
    Plugged,
    Reference,
    Shuffled,
    Side,
    Written,
    construct,
)
from harness.pairs.properties import flipped
from harness.pipeline.pair_kinds import (
    PAIRS_PART,
    MutationSpec,
    PairsPartSpec,
    PluginSpec,
    ReferenceSpec,
    ShuffledSpec,
    SideSpec,
    WrittenSpec,
)
from harness.stages.context import StageContext
from harness.stages.functions import functions_of
from harness.stages.slot_descriptions import slot_descriptions
from harness.store.artifacts import Pairs, Writings

HOW_WRITTEN = {"finish_reason": pa.string(), "tokens": pa.int64()}  # of a text that a model wrote, kept beside it


def run(context: StageContext) -> dict[str, Any]:
    """Construct the slots' pairs; the result counts slots without a pair, by reason."""
    spec = PAIRS_PART.read(context.spec)
    functions = functions_of(context, spec, only_functions=spec.mutates)
    match = spec.match_length
    pairs, counts = construct(
        functions,
        start=spec.start,
        stop=spec.stop,
        seed=spec.seed,
        chosen=_side(context, "chosen", spec.chosen),
        rejected=_side(context, "rejected", spec.rejected),
        descriptions=slot_descriptions(context, spec.prompt),
        match_length=None if match is None else LengthMatch(drafts=match.drafts, tolerance=match.tolerance),
    )
    written = _written(context, spec)
    rows = [_row(pair, spec.split, written) for pair in pairs]
    if spec.flip_rate:
        turned = [flipped(row, rate=spec.flip_rate, seed=spec.seed) for row in rows]
        counts["flipped"] = sum(row["chosen"] != other["chosen"] for row, other in zip(rows, turned, strict=True))
        rows = turned
    more = {f"{side}_{name}": kind for side in written for name, kind in HOW_WRITTEN.items()}
    schema = pa.schema([*((name, pa.string()) for name in Pairs.columns), *more.items()])
    Pairs(context.directory).write_table(pa.Table.from_pylist(rows, schema=schema))
    return {"groups": len(rows), "counts": dict(sorted({**counts, "documents_unfit": functions.unfit}.items()))}


def _row(pair: Pair, split: str, written: Mapping[str, Mapping[tuple[int, int], Mapping[str, Any]]]) -> dict[str, Any]:
    row = {
        "id": f"{split}-{pair.slot}",
        "cluster": pair.module,  # functions of one file are not independent
        "prompt": pair.prompt,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "detail": "; ".join(pair.edits),
    }
    for side, draft in zip(("chosen", "rejected"), pair.drafts, strict=True):
        if side in written:
            row |= {f"{side}_{name}": written[side][pair.slot, draft][name] for name in HOW_WRITTEN}
    return row


def _written(context: StageContext, spec: PairsPartSpec) -> dict[str, dict[tuple[int, int], dict[str, Any]]]:
    """Side -> (slot, draft) -> what its model wrote, for the sides that models write."""
    sides = {"chosen": spec.chosen, "rejected": spec.rejected}
    return {
        name: {(row["slot"], row["draft"]): row for row in context.input(name, Writings).stream()}
        for name, side in sides.items()
        if isinstance(side, WrittenSpec)
    }


def _side(context: StageContext, name: str, spec: SideSpec) -> Side:
    match spec:
        case ReferenceSpec():
            return Reference()
        case MutationSpec(edits=(least, most)):
            return Mutated(kinds=spec.kinds, min_edits=least, max_edits=most)
        case WrittenSpec():
            rows = context.input(name, Writings).rows()
            drafts = 1 + max((row["draft"] for row in rows), default=0)
            return Written(answers={(row["slot"], row["draft"]): row["text"] for row in rows}, drafts=drafts)
        case ShuffledSpec():
            return Shuffled()
        case PluginSpec():
            return _plugged(spec)


def _plugged(spec: PluginSpec) -> Plugged:
    """
    Raises:
        DataError: its module has no such function.
    """
    module, _, name = spec.origin.partition(":")
    make = getattr(importlib.import_module(module), name, None)
    if not callable(make):
        raise DataError(
            "a side of one's own is a function", f"{module} has no function {name!r}", "see docs/extending.md"
        )
    return Plugged(name=spec.origin, make=make, options=spec.options)

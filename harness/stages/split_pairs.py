"""split_pairs: imported preference pairs for training, or held out; a stream in an order of the data seed."""

from __future__ import annotations

from typing import Any

from harness.imports.deal import split_pairs
from harness.pairs.properties import flipped
from harness.pipeline.pair_kinds import SPLIT_PAIRS
from harness.stages.context import StageContext
from harness.store.artifacts import Pairs


def run(context: StageContext) -> dict[str, Any]:
    """Split by cluster and write one split."""
    spec = SPLIT_PAIRS.read(context.spec)
    rows = split_pairs(context.input("pairs", Pairs).rows(), spec.heldout, spec.seed, dev=spec.dev)[spec.split]
    if spec.flip_rate:
        rows = [flipped(row, rate=spec.flip_rate, seed=spec.seed) for row in rows]
    Pairs(context.directory).write(rows)
    return {
        "groups": len(rows),
        "clusters": len({row["cluster"] for row in rows}),
        "characters": sum(len(row[side]) for row in rows for side in ("prompt", "chosen", "rejected")),
    }

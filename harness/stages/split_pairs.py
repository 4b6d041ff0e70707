"""split_pairs: imported preference pairs for training, or held out; a stream in an order of the data seed."""

from __future__ import annotations

from typing import Any

from harness.imports.deal import split_places
from harness.imports.pairs import facts_of
from harness.pairs.properties import flipped
from harness.pipeline.pair_kinds import SPLIT_PAIRS
from harness.stages.context import StageContext
from harness.store.artifacts import Pairs
from harness.store.tables import rearranged


def run(context: StageContext) -> dict[str, Any]:
    """Split by cluster and write one split."""
    spec = SPLIT_PAIRS.read(context.spec)
    pairs, written = context.input("pairs", Pairs), Pairs(context.directory)
    clusters = pairs.read(columns=["cluster"])["cluster"]
    places = split_places(clusters, spec.split, spec.heldout, spec.seed, dev=spec.dev)
    rows = rearranged(pairs, places, context.directory)
    if spec.flip_rate:
        rows = (flipped(row, rate=spec.flip_rate, seed=spec.seed) for row in rows)
    written.write(rows)
    return facts_of(written)

"""imported_pairs: published preference pairs in our own columns."""

from __future__ import annotations

from typing import Any

from harness.imports.files import COLUMNS
from harness.imports.pairs import facts_of, write_pairs
from harness.stages.context import StageContext
from harness.stages.incoming import incoming, provenance, rows_of
from harness.store.artifacts import Pairs

SHOWN_EVERY = 10_000


def run(context: StageContext) -> dict[str, Any]:
    """Check and write."""

    def show(pairs: int) -> None:
        if pairs % SHOWN_EVERY == 0:
            context.progress(pairs, 0, "pairs")

    written = Pairs(context.directory)
    with incoming(context, "pairs") as path:
        write_pairs(lambda: rows_of(path, COLUMNS["pairs"]), written, show)
    return {**provenance(context), **facts_of(written)}

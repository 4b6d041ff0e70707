"""imported_pairs: published preference pairs in our own columns."""

from __future__ import annotations

from typing import Any

from harness.imports.files import COLUMNS
from harness.imports.tables import read_pairs
from harness.sources.rows import read_rows
from harness.stages.context import StageContext
from harness.stages.incoming import incoming, provenance
from harness.store.artifacts import Pairs


def run(context: StageContext) -> dict[str, Any]:
    """Check and write."""
    with incoming(context, "pairs") as path:
        rows = read_pairs(read_rows(path, COLUMNS["pairs"]))
    Pairs(context.directory).write(rows)
    return {
        **provenance(context),
        "groups": len(rows),
        "clusters": len({row["cluster"] for row in rows}),
        "characters": sum(len(row[side]) for row in rows for side in ("prompt", "chosen", "rejected")),
    }

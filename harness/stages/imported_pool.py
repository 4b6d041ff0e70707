"""imported_pool: a published candidate pool in our own columns."""

from __future__ import annotations

from typing import Any

from harness.imports.files import COLUMNS
from harness.imports.tables import kept, pool_facts, read_pool
from harness.pipeline.imports import IMPORTED_POOL
from harness.sources.rows import read_rows
from harness.stages.context import StageContext
from harness.stages.incoming import incoming, provenance
from harness.store.artifacts import Candidates


def run(context: StageContext) -> dict[str, Any]:
    """Check and write; the result says what a plan must know of the pool."""
    spec = IMPORTED_POOL.read(context.spec)
    with incoming(context, "pool") as path:
        rows = kept(read_pool(read_rows(path, COLUMNS["pool"])), spec.models, spec.first)
    Candidates(context.directory).write(rows)
    return {**provenance(context), **pool_facts(rows)}

"""What stages that gather parts have in common. Nothing here holds a table in memory."""

from __future__ import annotations

from typing import TypeVar

from harness.stages.context import StageContext
from harness.store.artifacts import Table

AnyTable = TypeVar("AnyTable", bound=Table)


def gather_parts(context: StageContext, kind: type[AnyTable]) -> AnyTable:
    """Join the inputs `part-...` in part order as one artifact of `kind`, without reading them."""
    table = kind(context.directory)
    table.link_parts(artifact for _, artifact in context.inputs_like("part", kind))
    return table


def characters(table: Table, columns: tuple[str, ...]) -> int:
    """Characters of all texts in these columns."""
    import pyarrow.compute

    total = 0
    for batch in table.batches(columns):
        for name in columns:
            total += pyarrow.compute.sum(pyarrow.compute.utf8_length(batch[name])).as_py() or 0
    return total

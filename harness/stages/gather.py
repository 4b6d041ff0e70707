"""What stages that gather parts have in common."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from harness.stages.context import StageContext
from harness.store.artifacts import Table


def gather_parts(context: StageContext, kind: type[Table]) -> pa.Table:
    """Join the inputs `part-...` in part order and write them as one artifact of `kind`."""
    parts = [artifact.read() for _, artifact in context.inputs_like("part", kind)]
    table = pa.concat_tables(parts).combine_chunks()
    kind(context.directory).write_table(table)
    return table


def characters(table: pa.Table, columns: tuple[str, ...]) -> int:
    """Characters of all texts in these columns."""
    import pyarrow.compute

    total: Any = sum(pyarrow.compute.sum(pyarrow.compute.utf8_length(table[name])).as_py() or 0 for name in columns)
    return int(total)

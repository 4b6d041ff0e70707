"""pairs: the parts' pairs in part order."""

from __future__ import annotations

from typing import Any

from harness.stages.context import StageContext
from harness.stages.gather import characters, gather_parts
from harness.store.artifacts import Pairs


def run(context: StageContext) -> dict[str, Any]:
    """Gather; the result gives the number of pairs and their size."""
    table = gather_parts(context, Pairs)
    return {"groups": table.count(), "characters": characters(table, ("prompt", "chosen", "rejected"))}

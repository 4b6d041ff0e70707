"""imported_checkpoint: a published reward model with its tokenizer, in our own form."""

from __future__ import annotations

from typing import Any

from harness.imports.checkpoint import convert_checkpoint
from harness.stages.context import StageContext
from harness.stages.incoming import incoming, provenance
from harness.store.artifacts import ImportedCheckpoint


def run(context: StageContext) -> dict[str, Any]:
    """Check, convert and write."""
    made = ImportedCheckpoint(context.directory)
    with incoming(context, "checkpoint") as folder:
        facts = convert_checkpoint(folder, model=made.model, tokenizer=made.tokenizer, chat=made.chat)
    if "chat_day" in facts:
        context.warn(f"its chat template uses the current date; it is always given {facts['chat_day']}")
    return {**provenance(context), **facts}

"""writings_part: what a model writes from the descriptions of a range of construction slots."""

from __future__ import annotations

from typing import Any

from harness.pairs.answers import clipped, signature_of
from harness.pairs.writing import filled, write
from harness.pipeline.pair_kinds import WRITINGS_PART
from harness.stages.context import StageContext
from harness.stages.functions import functions_of
from harness.stages.slot_descriptions import slot_descriptions
from harness.stages.writer import facts_of, open_writer, sampling_of
from harness.store.artifacts import Writings


def run(context: StageContext) -> dict[str, Any]:
    """Ask the model for the code of each slot that has a description."""
    spec = WRITINGS_PART.read(context.spec)
    describe = slot_descriptions(context, spec.prompt)
    prompts = []
    for slot, function in functions_of(context, spec, only_functions=spec.only_functions).of_slots():
        description = describe(function, slot)
        if description:
            parts = {
                "description": clipped(description, spec.description_share),
                "signature": signature_of(function),
            }
            prompts.append((slot, filled(spec.writer.prompt, parts)))
    rows = write(
        open_writer(context, spec.writer),
        prompts,
        sampling=sampling_of(spec.writer),
        seed=spec.seed,
        purpose=f"{spec.split} text",
        drafts=spec.drafts,
    )
    Writings(context.directory).write(rows)
    return facts_of(rows)

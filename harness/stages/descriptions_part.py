"""descriptions_part: what a model says the code of a range of construction slots is for."""

from __future__ import annotations

from typing import Any

from harness.pairs.writing import filled, write
from harness.pipeline.pair_kinds import DESCRIPTIONS_PART
from harness.stages.context import StageContext
from harness.stages.functions import functions_of
from harness.stages.writer import facts_of, open_writer, sampling_of
from harness.store.artifacts import Writings


def run(context: StageContext) -> dict[str, Any]:
    """Show the model each slot's code and keep what it writes."""
    spec = DESCRIPTIONS_PART.read(context.spec)
    functions = functions_of(context, spec, only_functions=spec.only_functions).of_slots()
    prompts = [(slot, filled(spec.writer.prompt, {"code": function.source})) for slot, function in functions]
    rows = write(
        open_writer(context, spec.writer),
        prompts,
        sampling=sampling_of(spec.writer),
        seed=spec.seed,
        purpose=f"{spec.split} code",
    )
    Writings(context.directory).write(rows)
    return facts_of(rows)

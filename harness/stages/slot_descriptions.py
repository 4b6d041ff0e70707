"""What construction slots are described by: the docstring, or what a model wrote."""

from __future__ import annotations

from harness.pairs.answers import descriptions_of
from harness.pairs.construct import Descriptions, by_docstring
from harness.pipeline.pair_kinds import PromptSpec
from harness.stages.context import StageContext
from harness.store.artifacts import Writings


def slot_descriptions(context: StageContext, prompt: PromptSpec) -> Descriptions:
    """The descriptions that a prompt asks for, from the input `descriptions` where a model wrote them."""
    if prompt.origin == "docstring":
        return by_docstring(prompt.max_characters)
    written = descriptions_of(context.input("descriptions", Writings).rows(), prompt.max_characters)
    return lambda function, slot: written.get(slot, "")

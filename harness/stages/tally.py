"""tally: how many tokens of each segment groups have, by which arms are matched before any is trained."""

from __future__ import annotations

from typing import Any

from harness.stages.context import StageContext
from harness.store.artifacts import Tokens


def run(context: StageContext) -> dict[str, Any]:
    """Count; the result gives the groups and the tokens of each of their segments, the prompt first."""
    reader = context.input("tokens", Tokens).open()
    segments: list[int] = []
    for index in range(len(reader)):
        group = reader.group(index)
        segments += [0] * (len(group) - len(segments))
        for place, tokens in enumerate(group):
            segments[place] += len(tokens)
    return {"groups": len(reader), "segments": segments}

"""pair_gate: fails where pairs are found wanting, so that nothing is pretrained on them."""

from __future__ import annotations

import json
from typing import Any

from harness.errors import DataError
from harness.stages.context import StageContext
from harness.store.artifacts import PairQuality


def run(context: StageContext) -> dict[str, Any]:
    """Pass pairs that are consistent, or undecided, and not degenerate; the result repeats the verdict."""
    path = context.input("quality", PairQuality).path
    numbers = json.loads(path.read_text(encoding="utf-8"))["numbers"]
    if numbers["reasons"]:
        raise DataError(
            "pairs must be worth training on with `pairs.quality.on_fail: stop`",
            "; ".join(numbers["reasons"]),
            "make other pairs, or set `on_fail: warn`",
        )
    return {"verdict": numbers["verdict"]}

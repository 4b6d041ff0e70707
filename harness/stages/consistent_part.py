"""consistent_part: the pairs of a part whose judges agree with their labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import DataError
from harness.pairs.judging import Judgements as Answers
from harness.pairs.properties import consistent
from harness.pairs.static_judge import answers_of, static_scores
from harness.pipeline.pair_kinds import CONSISTENT_PART
from harness.stages.context import StageContext
from harness.store.artifacts import Judgements, Pairs


def run(context: StageContext) -> dict[str, Any]:
    """Keep and count."""
    spec = CONSISTENT_PART.read(context.spec)
    pairs = context.input("pairs", Pairs)
    rows = pairs.rows()
    agreement = []
    if spec.static:
        scores = (static_scores(rows, side) for side in ("chosen", "rejected"))
        agreement.append(answers_of(*scores).agreement)
    for name, table in context.inputs_like("judgements", Judgements):
        judged = table.rows()
        if [row["row"] for row in judged] != list(range(len(rows))):
            raise DataError(f"judge {name!r} must have judged every pair", f"it has {len(judged)} of {len(rows)}")
        first, second = (np.array([row[order] for row in judged]) for order in ("chosen_first", "rejected_first"))
        agreement.append(Answers(chosen_first=first, rejected_first=second).agreement)
    kept = consistent(np.array(agreement), threshold=spec.min_agreement)
    table = pairs.read()
    Pairs(context.directory).write_table(table.filter(kept))
    return {"groups": int(kept.sum()), "dropped": int((~kept).sum())}

"""aligned_scores: imported scores in the order of a pool's candidates."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from harness.errors import DataError
from harness.stages.context import StageContext
from harness.stages.write_scores import write_scores
from harness.store.artifacts import Candidates, CandidateScores, Scores


def run(context: StageContext) -> dict[str, Any]:
    """Find every candidate's score by problem and index; scores of other problems are left alone.

    Raises:
        DataError: a candidate has none, since nothing may fall out of a denominator.
    """
    task = context.spec["task"]
    table = context.input("scores", CandidateScores).rows()
    known = {(row["problem"], row["candidate"]): row["score"] for row in table if row["task"] == task}
    rows = context.input("candidates", Candidates).read().select(["problem", "index"]).to_pylist()
    absent = [row for row in rows if (row["problem"], row["index"]) not in known]
    if absent:
        raise DataError(
            "every candidate must have a score",
            f"candidate {absent[0]['index']} of {absent[0]['problem']} and {len(absent) - 1:,} others of {len(rows):,} "
            "have none",
            "import scores of the whole pool",
        )
    pools = [list(pool) for _, pool in groupby(rows, key=lambda row: row["problem"])]
    scores = [np.array([known[row["problem"], row["index"]] for row in pool]) for pool in pools]
    write_scores(Scores(context.directory), list(range(len(pools))), scores)
    return {"groups": len(pools), "responses": len(rows), "unused": len(known) - len(rows)}

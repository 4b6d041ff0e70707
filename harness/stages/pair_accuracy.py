"""pair_accuracy: how often the chosen side scores above the rejected one, ties half."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.evaluation.pair_accuracy import margin_mean, pair_values
from harness.stages.context import StageContext
from harness.stages.pools import Values
from harness.store.artifacts import Pairs, ProblemValues, Scores


def run(context: StageContext) -> dict[str, Any]:
    """One value a scored pair."""
    pairs = context.input("pairs", Pairs).read().select(["id", "cluster"]).to_pylist()
    table = context.input("scores", Scores).read()
    groups, response, score = (table[name].to_numpy() for name in ("group", "response", "score"))
    chosen, rejected = score[response == 0], score[response == 1]
    rows = [pairs[group] for group in groups[response == 0]]
    assert np.array_equal(groups[response == 0], groups[response == 1])
    values = Values(context)
    ids, clusters = [row["id"] for row in rows], [row["cluster"] for row in rows]
    values.add("pair_accuracy", ids, clusters, pair_values(chosen, rejected))
    values.write(ProblemValues(context.directory))
    return {
        "pairs": len(rows),
        "trained_on": values.left_out,
        "means": values.means(),
        "margin": round(margin_mean(chosen, rejected), 6),
    }

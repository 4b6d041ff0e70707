"""pair_accuracy: how often the chosen side scores above the rejected one, ties half."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.evaluation import Floats
from harness.evaluation.pair_accuracy import Couples, length_bins, margin_mean, pair_values, source_balanced
from harness.stages.context import StageContext
from harness.stages.pools import Values, numbered, side_facts
from harness.store.artifacts import Candidates, Pairs, ProblemValues, Scores

COLUMNS = ["id", "cluster", "chosen", "rejected"]


def run(context: StageContext) -> dict[str, Any]:
    """One value a scored pair, also apart by length and balanced over who wrote the sides."""
    pairs = context.input("pairs", Pairs).read(columns=COLUMNS).to_pylist()
    table = context.input("scores", Scores).read()
    groups, response, score = (table[name].to_numpy() for name in ("group", "response", "score"))
    chosen, rejected = score[response == 0], score[response == 1]
    rows = [pairs[group] for group in groups[response == 0]]
    assert np.array_equal(groups[response == 0], groups[response == 1])
    values = Values(context)
    ids, clusters = [row["id"] for row in rows], [row["cluster"] for row in rows]
    accuracy = pair_values(chosen, rejected)
    values.add("pair_accuracy", ids, clusters, accuracy)
    sides = ([len(row[side]) for row in rows] for side in ("chosen", "rejected"))
    for name, mask in length_bins(*sides).items():
        values.add(f"chosen_{name}", ids, clusters, np.where(mask, accuracy, np.nan))
    if "candidates" in context.inputs:
        kept = [at for at, name in enumerate(ids) if values.keeps(name)]
        balanced = _source_balanced(
            side_facts(context.input("candidates", Candidates), "source"), [rows[at] for at in kept], accuracy[kept]
        )
        if balanced is not None:
            values.add("source_balanced", [ids[at] for at in kept], [clusters[at] for at in kept], balanced)
    values.write(ProblemValues(context.directory))
    return {
        "pairs": len(rows),
        "trained_on": values.left_out,
        "means": values.means(),
        "margin": round(margin_mean(chosen, rejected), 6),
    }


def _source_balanced(
    sources: dict[tuple[str, str], str], rows: list[dict[str, Any]], accuracy: Floats
) -> Floats | None:
    known: dict[str, int] = {}
    right, wrong = (
        numbered([sources[row["id"].rpartition("#")[0], row[side]] for row in rows], known)
        for side in ("chosen", "rejected")
    )
    couples = Couples(
        unit=np.arange(len(rows)), right=right, wrong=wrong, count=np.ones(len(rows)), wins=np.asarray(accuracy)
    )
    return source_balanced(couples, len(rows))

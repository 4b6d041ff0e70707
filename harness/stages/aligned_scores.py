"""aligned_scores: imported scores in the order of a pool's candidates, or of pairs of its candidates."""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from harness.errors import DataError
from harness.pipeline.scores import ALIGNED_SCORES
from harness.stages.context import StageContext
from harness.stages.write_scores import write_scores
from harness.store.artifacts import Candidates, CandidateScores, Pairs, Scores, Tokens

Group = list[tuple[str, int]]  # (problem, index of a candidate)


def run(context: StageContext) -> dict[str, Any]:
    """Find every candidate's score by problem and index; scores of other problems are left alone.

    Problems whose candidates are all right or all wrong need none, as in `stages/score.py`.

    Raises:
        DataError: any other candidate has none, since nothing may fall out of a denominator.
    """
    task = ALIGNED_SCORES.read(context.spec).task
    table = context.input("scores", CandidateScores).rows()
    known = {(row["problem"], row["candidate"]): row["score"] for row in table if row["task"] == task}
    groups = _pairs(context) if "pairs" in context.inputs else _pools(context, known)
    wanted = [candidate for group in groups.values() for candidate in group]
    absent = [candidate for candidate in wanted if candidate not in known]
    if absent:
        problem, index = absent[0]
        raise DataError(
            "every candidate must have a score",
            f"{len(absent):,} of {len(wanted):,} have none, the first of them candidate {index} of {problem}",
            "import scores of the whole pool",
        )
    flat = np.array([known[candidate] for candidate in wanted])
    bounds = np.cumsum([0, *map(len, groups.values())])
    write_scores(Scores(context.directory), list(groups), [flat[start:stop] for start, stop in pairwise(bounds)])
    return {"groups": len(groups), "responses": len(wanted), "unused": len(known) - len(set(wanted))}


def _pools(context: StageContext, known: Collection[tuple[str, int]]) -> dict[int, Group]:
    """Place of a problem -> its candidates, of problems that are scored or have both right and wrong candidates."""
    rows = context.input("candidates", Candidates).read(columns=["problem", "index", "correct"]).to_pylist()
    groups: dict[int, Group] = {}
    for place, (_, pool) in enumerate(groupby(rows, key=lambda row: row["problem"])):
        candidates = list(pool)
        group = [(row["problem"], row["index"]) for row in candidates]
        if len({row["correct"] for row in candidates}) > 1 or all(one in known for one in group):
            groups[place] = group
    return groups


def _pairs(context: StageContext) -> dict[int, Group]:
    """Row -> the chosen and the rejected candidate, of the pairs that the recipe's own arms are judged on (`tokens`).

    A side is the first candidate of its problem with that text, as when pairs are made.
    """
    candidates: dict[tuple[str, str], int] = {}
    for row in context.input("candidates", Candidates).read(columns=["problem", "index", "text"]).to_pylist():
        candidates.setdefault((row["problem"], row["text"]), row["index"])
    pairs = context.input("pairs", Pairs).rows()
    groups: dict[int, Group] = {}
    for row in context.input("tokens", Tokens).open().rows.tolist():
        problem = pairs[row]["id"].rpartition("#")[0]
        groups[row] = [(problem, candidates[problem, pairs[row][side]]) for side in ("chosen", "rejected")]
    return groups

"""shallow_score: reference scorers that understand nothing, fitted on exactly the pairs a training sees."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any

import numpy as np

from harness.evaluation.shallow import LengthScorer, NgramScorer, fit_length, fit_ngrams
from harness.pipeline.scores import SHALLOW_SCORE, ShallowScoreSpec
from harness.stages.context import StageContext
from harness.stages.order import Order, subset_order
from harness.stages.write_scores import write_scores
from harness.store.artifacts import Candidates, Pairs, Scores, Tokens


def run(context: StageContext) -> dict[str, Any]:
    """Fit on the training's subset and score the target's responses: those rows that models score, and no others."""
    spec = SHALLOW_SCORE.read(context.spec)
    chosen, rejected = _training_texts(context, spec)
    scorer: LengthScorer | NgramScorer
    if spec.scorer == "length":
        scorer = fit_length(chosen, rejected)
    else:
        scorer = fit_ngrams(chosen, rejected, seed=spec.seed or 0)
    rows = context.input("target_tokens", Tokens).open().rows.tolist()
    everything = _target(context, spec)
    groups = [everything[row] for row in rows]
    flat = scorer.score([text for texts in groups for text in texts])
    bounds = np.cumsum([0, *map(len, groups)])
    scores = [flat[start:stop] for start, stop in pairwise(bounds)]
    write_scores(Scores(context.directory), rows, scores)
    return {"groups": len(groups), "fitted_on": len(chosen)}


def _training_texts(context: StageContext, spec: ShallowScoreSpec) -> tuple[list[str], list[str]]:
    tables = [context.input(f"pairs-{name}", Pairs).read() for name in spec.tasks]
    readers = [context.input(f"tokens-{name}", Tokens).open() for name in spec.tasks]
    order: Order
    if spec.seed is None:  # PMP in row order
        order = np.stack([np.zeros(spec.samples, dtype=np.int64), np.arange(spec.samples)], axis=1)
    else:
        order = subset_order(spec.seed, [len(reader) for reader in readers], spec.samples)
    texts = [(table["chosen"].to_pylist(), table["rejected"].to_pylist()) for table in tables]
    rows = [(source, int(readers[source].rows[index])) for source, index in order.tolist()]
    return [texts[source][0][row] for source, row in rows], [texts[source][1][row] for source, row in rows]


def _target(context: StageContext, spec: ShallowScoreSpec) -> list[list[str]]:
    if spec.content == "candidates":
        rows = context.input("target", Candidates).rows()
        return [[row["text"] for row in pool] for _, pool in groupby(rows, key=lambda row: row["problem"])]
    table = context.input("target", Pairs).read()
    return [list(pair) for pair in zip(table["chosen"].to_pylist(), table["rejected"].to_pylist(), strict=True)]

"""shallow_score: reference scorers that understand nothing, fitted on exactly the pairs a training sees."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any

import numpy as np

from harness.evaluation import Floats
from harness.evaluation.shallow import fit_length, fit_ngrams, fit_overlap
from harness.pipeline.scores import SHALLOW_SCORE, ShallowScoreSpec
from harness.stages.context import StageContext
from harness.stages.order import Order, subset_order
from harness.stages.write_scores import write_scores
from harness.store.artifacts import Candidates, Pairs, Scores, Tokens

Triple = tuple[str, str, str]  # prompt, chosen, rejected
Group = tuple[str, list[str]]  # prompt, responses


def run(context: StageContext) -> dict[str, Any]:
    """Fit on the training's subset and score the target's responses: those rows that models score, and no others."""
    spec = SHALLOW_SCORE.read(context.spec)
    pairs = _training_pairs(context, spec)
    rows = context.input("target_tokens", Tokens).open().rows.tolist()
    everything = _target(context, spec)
    groups = [everything[row] for row in rows]
    flat = _scores(spec, pairs, groups)
    bounds = np.cumsum([0, *(len(texts) for _, texts in groups)])
    scores = [flat[start:stop] for start, stop in pairwise(bounds)]
    write_scores(Scores(context.directory), rows, scores)
    return {"groups": len(groups), "fitted_on": len(pairs)}


def _scores(spec: ShallowScoreSpec, pairs: list[Triple], groups: list[Group]) -> Floats:
    """(responses,) of all groups, in order."""
    prompts, chosen, rejected = (list(column) for column in zip(*pairs, strict=True))
    texts = [text for _, responses in groups for text in responses]
    if spec.scorer == "length":
        return fit_length(chosen, rejected).score(texts)
    if spec.scorer == "ngrams":
        return fit_ngrams(chosen, rejected, seed=spec.seed or 0).score(texts)
    scorer = fit_overlap(prompts, chosen, rejected, seed=spec.seed or 0)
    return scorer.score([prompt for prompt, responses in groups for _ in responses], texts)


def _training_pairs(context: StageContext, spec: ShallowScoreSpec) -> list[Triple]:
    tables = [context.input(f"pairs-{name}", Pairs).read() for name in spec.tasks]
    readers = [context.input(f"tokens-{name}", Tokens).open() for name in spec.tasks]
    order: Order
    if spec.seed is None:  # PMP in row order
        order = np.stack([np.zeros(spec.samples, dtype=np.int64), np.arange(spec.samples)], axis=1)
    else:
        order = subset_order(spec.seed, [len(reader) for reader in readers], spec.samples)
    columns = ("prompt", "chosen", "rejected")
    pairs = [list(zip(*(table[name].to_pylist() for name in columns), strict=True)) for table in tables]
    return [pairs[source][int(readers[source].rows[index])] for source, index in order.tolist()]


def _target(context: StageContext, spec: ShallowScoreSpec) -> list[Group]:
    if spec.content == "candidates":
        pools = groupby(context.input("target", Candidates).rows(), key=lambda row: row["problem"])
        candidates = [list(pool) for _, pool in pools]
        return [(pool[0]["prompt"], [row["text"] for row in pool]) for pool in candidates]
    rows = context.input("target", Pairs).read(columns=["prompt", "chosen", "rejected"]).to_pylist()
    return [(row["prompt"], [row["chosen"], row["rejected"]]) for row in rows]

"""shallow_score: reference scorers that understand nothing, fitted on exactly the pairs a training sees."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation import Floats
from harness.evaluation.shallow import fit_length, fit_ngrams, fit_overlap
from harness.pipeline.scores import SHALLOW_SCORE, ShallowScoreSpec
from harness.stages.context import StageContext
from harness.stages.order import Order, subset_order
from harness.stages.pools import side_facts
from harness.stages.write_scores import write_scores
from harness.store.artifacts import Candidates, Pairs, Problems, Scores, Tokens

SIDES = ("chosen", "rejected")
Triple = tuple[str, str, str]  # prompt, chosen, rejected
Group = tuple[str, list[str]]  # prompt, responses


def run(context: StageContext) -> dict[str, Any]:
    """Fit on the training's subset and score the target's responses: those rows that models score, and no others."""
    spec = SHALLOW_SCORE.read(context.spec)
    rows = context.input("target_tokens", Tokens).open().rows.tolist()
    if spec.scorer == "source_prior":
        scores, fitted_on = _priors(context, spec, rows)
    elif spec.scorer == "logprob":
        scores, fitted_on = [np.array(one, dtype=np.float64) for one in _facts(context, spec, rows, "logprob")], 0
    else:
        pairs = _training_pairs(context, spec)
        everything = _target(context, spec)
        scores, fitted_on = _scores(spec, pairs, [everything[row] for row in rows]), len(pairs)
    write_scores(Scores(context.directory), rows, scores)
    return {"groups": len(scores), "fitted_on": fitted_on}


def _priors(context: StageContext, spec: ShallowScoreSpec, rows: list[int]) -> tuple[list[Floats], int]:
    """By group, how often who wrote a response is right on the fine-tuning problems; and of how many candidates.

    A writer that has no candidate there is as good as all of them together.
    """
    labels: dict[str, list[bool]] = {}
    for name in spec.tasks:
        problems = {row["id"] for row in context.input(f"problems-{name}", Problems).stream(["id"])}
        for row in context.input(f"pool-{name}", Candidates).stream(["problem", "source", "correct"]):
            if row["problem"] in problems:
                labels.setdefault(row["source"], []).append(row["correct"])
    everyone = [label for one in labels.values() for label in one]
    prior = {source: float(np.mean(one)) for source, one in labels.items()}
    overall = float(np.mean(everyone))
    sources = _facts(context, spec, rows, "source")
    return [np.array([prior.get(source, overall) for source in of_group]) for of_group in sources], len(everyone)


def _facts(context: StageContext, spec: ShallowScoreSpec, rows: list[int], column: str) -> list[list[Any]]:
    """By group, what a column of the candidates says of each response."""
    if spec.content == "candidates":
        table = context.input("target", Candidates).stream(["problem", column])
        found = [[row[column] for row in pool] for _, pool in groupby(table, key=lambda row: row["problem"])]
    else:
        of = side_facts(context.input("candidates", Candidates), column)
        pairs = context.input("target", Pairs).read(columns=["id", *SIDES]).to_pylist()
        found = [[of[row["id"].rpartition("#")[0], row[side]] for side in SIDES] for row in pairs]
    return [found[row] for row in rows]


def _scores(spec: ShallowScoreSpec, pairs: list[Triple], groups: list[Group]) -> list[Floats]:
    """By group, (responses,)."""
    prompts, chosen, rejected = (list(column) for column in zip(*pairs, strict=True))
    texts = [text for _, responses in groups for text in responses]
    if spec.scorer == "length":
        flat = fit_length(chosen, rejected).score(texts)
    elif spec.scorer == "ngrams":
        flat = fit_ngrams(chosen, rejected, seed=spec.seed or 0).score(texts)
    else:
        overlap = fit_overlap(prompts, chosen, rejected, seed=spec.seed or 0)
        flat = overlap.score([prompt for prompt, responses in groups for _ in responses], texts)
    bounds = np.cumsum([0, *(len(responses) for _, responses in groups)])
    return [flat[start:stop] for start, stop in pairwise(bounds)]


def _training_pairs(context: StageContext, spec: ShallowScoreSpec) -> list[Triple]:
    readers = [context.input(f"tokens-{name}", Tokens).open() for name in spec.tasks]
    order: Order
    if spec.seed is None:  # PMP in row order
        order = np.stack([np.zeros(spec.samples, dtype=np.int64), np.arange(spec.samples)], axis=1)
    else:
        order = subset_order(spec.seed, [len(reader) for reader in readers], spec.samples)
    rows = [readers[source].rows[order[order[:, 0] == source, 1]] for source in range(len(readers))]
    tables = [context.input(f"pairs-{name}", Pairs) for name in spec.tasks]
    found = [_picked(table, np.unique(asked)) for table, asked in zip(tables, rows, strict=True)]
    return [found[source][int(readers[source].rows[index])] for source, index in order.tolist()]


def _picked(table: Pairs, rows: NDArray[np.int64]) -> dict[int, Triple]:
    """Rows of a table by number, which rises; nothing beyond the last of them is read."""
    found: dict[int, Triple] = {}
    columns, start = ("prompt", *SIDES), 0
    for batch in table.batches(columns):
        here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + batch.num_rows)]
        picked = batch.take(here - start)
        texts = zip(*(picked[name].to_pylist() for name in columns), strict=True)
        found.update(zip(here.tolist(), texts, strict=True))
        start += batch.num_rows
        if len(found) == len(rows):
            break
    return found


def _target(context: StageContext, spec: ShallowScoreSpec) -> list[Group]:
    if spec.content == "candidates":
        pools = groupby(context.input("target", Candidates).rows(), key=lambda row: row["problem"])
        candidates = [list(pool) for _, pool in pools]
        return [(pool[0]["prompt"], [row["text"] for row in pool]) for pool in candidates]
    rows = context.input("target", Pairs).read(columns=["prompt", *SIDES]).to_pylist()
    return [(row["prompt"], [row["chosen"], row["rejected"]]) for row in rows]

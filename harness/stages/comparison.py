"""comparison: two rows of a workdir against one another, task by task, with problems on which they disagree. No torch.

A row's value on a problem is the mean over its seeds. What a row picks is the candidate with the highest reward of a
whole pool; where several candidates share it and are not equally right, there is no pick.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError
from harness.evaluation.seeds import contrast
from harness.pipeline.comparing import COMPARISON, MatchSpec, SideSpec
from harness.pipeline.evaluations import evaluation_named, headline
from harness.stages.context import StageContext
from harness.stages.outcome_tables import (
    Table,
    accuracy_json,
    below,
    on_common_problems,
    read_outcomes,
    runs_of,
)
from harness.stages.scored_rows import pool_starts, scores_by_row
from harness.store.artifacts import Candidates, Comparison, Pairs, ProblemValues, Scores

MOST_DISAGREEMENTS = 3  # each way
SAME = 1e-12  # means of equal values over seeds may differ by their rounding
SIDES = ("first", "second")

NO_TEXTS = "the problems' texts were dropped"
NO_SCORES = "the scores were dropped"
NO_CHOICE = "this evaluation picks no candidate"
NO_PICK = "what a pool gives without a scorer picks no candidate"


def run(context: StageContext) -> dict[str, Any]:
    """Compare on every task of the spec; where the two cannot be compared, say why."""
    compared: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    spec = COMPARISON.read(context.spec)
    for match in spec.matches:
        about = {"task": match.task, "evaluation": match.evaluation}
        sides = {name: _table(context, side) for name, side in zip(SIDES, (match.first, match.second), strict=True)}
        first, second = on_common_problems(sides).values()
        why = _why_not(first, second, headline(match.evaluation))
        if why:
            refused.append({**about, "why": why})
        else:
            compared.append({**about, **_compare(context, match, first, second, spec.seed)})
    found = {"compared": compared, "refused": refused}
    Comparison(context.directory).path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {name: len(rows) for name, rows in found.items()}


def _table(context: StageContext, side: SideSpec) -> Table:
    artifacts = [context.input(seed.values, ProblemValues) for seed in side.seeds]
    table = read_outcomes(artifacts, runs_of(side.seeds), "a row", data="")
    return below(table, f"{side.pool}/") if side.pool else table


def _why_not(first: Table, second: Table, metric: str) -> str:
    """Why two rows judged on the same data cannot be compared all the same; "" where they can."""
    if metric not in first.values or metric not in second.values:
        return f"one of them has no {metric.replace('_', ' ')}"
    if first.problems[metric] != second.problems[metric]:
        shared = len(set(first.problems[metric]) & set(second.problems[metric]))
        counts = " and ".join(f"{len(table.problems[metric]):,}" for table in (first, second))
        return f"judged on other problems ({counts}, {shared:,} of them the same)"
    if len(set(first.clusters[metric])) < 2:
        return "all problems fall in one cluster, so there is no interval"
    return ""


def _compare(context: StageContext, match: MatchSpec, first: Table, second: Table, seed: int) -> dict[str, Any]:
    metric = headline(match.evaluation)
    rows, clusters = (first.values[metric], second.values[metric]), first.clusters[metric]
    gaps = rows[0].mean - rows[1].mean
    estimates = [
        {**accuracy_json(contrast(row).interval(clusters, seed=seed)), "by_seed": row.by_run()} for row in rows
    ]
    between = contrast(*rows)
    difference = between.interval(clusters, seed=seed).as_json()
    examples, without = _disagreements(context, match, first, second)
    return {
        "metric": metric,
        "problems": len(first.problems[metric]),
        "first": estimates[0],
        "second": estimates[1],
        "difference": {**difference, "p_value": round(between.p_value(clusters), 6)},
        "lacking": [row.lacking for row in rows],
        "won": int((gaps > SAME).sum()),
        "lost": int((gaps < -SAME).sum()),
        "tied": int((np.abs(gaps) <= SAME).sum()),
        "disagreements": examples,
        "without_disagreements": without,
    }


# --------------------------------------------------------------------------------------------- disagreements


def _disagreements(
    context: StageContext, match: MatchSpec, first: Table, second: Table
) -> tuple[list[dict[str, Any]], str]:
    """A few problems that one row gets right and the other wrong, clearest first; or why there are none to show."""
    if match.texts is None:
        return [], NO_TEXTS
    evaluation = evaluation_named(match.evaluation)
    if evaluation.content == "pairs" and evaluation.rewards:
        return _pair_disagreements(context.input(match.texts, Pairs), headline(match.evaluation), first, second), ""
    if not evaluation.picks:
        return [], NO_CHOICE
    if match.first.pool or match.second.pool:
        return [], NO_PICK
    if any(seed.scores is None for side in (match.first, match.second) for seed in side.seeds):
        return [], NO_SCORES
    return _pool_disagreements(context, match, first, second), ""


def _pair_disagreements(artifact: Pairs, metric: str, first: Table, second: Table) -> list[dict[str, Any]]:
    ids, values = first.problems[metric], [first.mean(metric), second.mean(metric)]
    right = [one > 0.5 for one in values]
    apart = [
        _Apart(index, "first" if right[0][index] else "second", 1.0)
        for index in np.flatnonzero(right[0] != right[1]).tolist()
    ]
    table = artifact.read(columns=["id", "prompt", "chosen", "rejected"])
    places = {name: row for row, name in enumerate(table["id"].to_pylist())}
    return [
        {
            "problem": ids[one.index],
            "winner": one.winner,
            "values": [float(side[one.index]) for side in values],
            **{name: table[name][places[ids[one.index]]].as_py() for name in ("prompt", "chosen", "rejected")},
        }
        for one in _clearest(apart, values)
    ]


def _pool_disagreements(context: StageContext, match: MatchSpec, first: Table, second: Table) -> list[dict[str, Any]]:
    metric = headline(match.evaluation)
    assert match.texts is not None
    artifact = context.input(match.texts, Candidates)
    table = artifact.read(columns=["problem", "correct"])
    problems = table["problem"].to_pylist()
    starts, correct = pool_starts(problems), table["correct"].to_numpy()
    picks = [
        _picks([context.input(seed.scores, Scores) for seed in side.seeds if seed.scores], starts, correct)
        for side in (match.first, match.second)
    ]
    places = {problems[start]: pool for pool, start in enumerate(starts[:-1].tolist())}
    ids, values = first.problems[metric], [first.mean(metric), second.mean(metric)]
    apart = []
    for index, problem in enumerate(ids):
        mine, theirs = (side.get(places[problem]) for side in picks)
        if mine is not None and theirs is not None and correct[mine.row] != correct[theirs.row]:
            agreement = mine.seeds * theirs.seeds / (len(match.first.seeds) * len(match.second.seeds))
            apart.append(_Apart(index, "first" if correct[mine.row] else "second", agreement))
    texts = artifact.read(columns=["prompt", "text"])
    found = []
    for one in _clearest(apart, values):
        pool = places[ids[one.index]]
        shown = {
            side: {
                "text": texts["text"][pick.row].as_py(),
                "correct": bool(correct[pick.row]),
                "seeds": pick.seeds,
                "of": len(of.seeds),
            }
            for side, of, pick in (
                (side, of, chosen[pool])
                for side, of, chosen in zip(SIDES, (match.first, match.second), picks, strict=True)
            )
        }
        found.append(
            {
                "problem": ids[one.index],
                "winner": one.winner,
                "values": [float(side[one.index]) for side in values],
                "prompt": texts["prompt"][int(starts[pool])].as_py(),
                **shown,
            }
        )
    return found


def _clearest(apart: Sequence[_Apart], values: Sequence[NDArray[np.float64]]) -> list[_Apart]:
    """A few each way: where the seeds agree most, then the widest gaps, then in stored order."""
    found: list[_Apart] = []
    for side, sign in zip(SIDES, (1, -1), strict=True):
        of_side = [one for one in apart if one.winner == side]
        of_side.sort(key=lambda one: (-one.agreement, -sign * float(values[0][one.index] - values[1][one.index])))
        found += of_side[:MOST_DISAGREEMENTS]
    return found


@dataclass(frozen=True)
class _Apart:
    """A problem by its place among the values, which side is right, and how far each side's seeds agree (0 to 1)."""

    index: int
    winner: str
    agreement: float


@dataclass(frozen=True)
class _Pick:
    """The candidate that most seeds of a row pick, by its row in the pools, and how many do."""

    row: int
    seeds: int


def _picks(artifacts: Sequence[Scores], starts: NDArray[np.int64], correct: NDArray[np.bool_]) -> dict[int, _Pick]:
    """What a row picks, by pool; of equally frequent picks the one of the earlier seed."""
    by_seed = [
        _top(_whole(scores_by_row(artifact, starts), starts, correct), starts, correct) for artifact in artifacts
    ]
    found = {}
    for pool, rows in enumerate(np.stack(by_seed, axis=1).tolist()):
        counts = Counter(row for row in rows if row >= 0)
        if counts:
            row, seeds = counts.most_common(1)[0]
            found[pool] = _Pick(row, seeds)
    return found


def _whole(scores: NDArray[np.float64], starts: NDArray[np.int64], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scores in which problems with only right or only wrong candidates have 0 where they were not scored."""
    sizes = np.diff(starts)
    right = np.add.reduceat(correct.astype(np.int64), starts[:-1])
    decided = np.repeat((right == 0) | (right == sizes), sizes)
    return np.where(decided & np.isnan(scores), 0.0, scores)


def _top(scores: NDArray[np.float64], starts: NDArray[np.int64], correct: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(pools,): the row with the highest score; -1 where several have it and are not equally right.

    Raises:
        DataError: a candidate has no score.
    """
    if np.isnan(scores).any():
        raise DataError(
            "every candidate must have a score", f"{int(np.isnan(scores).sum())} have none", "look at the score stage"
        )
    pools = len(starts) - 1
    owner = np.repeat(np.arange(pools), np.diff(starts))
    top = np.flatnonzero(scores == np.maximum.reduceat(scores, starts[:-1])[owner])
    tied = np.bincount(owner[top], minlength=pools)
    right = np.bincount(owner[top], weights=correct[top], minlength=pools)
    _, first = np.unique(owner[top], return_index=True)
    return np.where((right == 0) | (right == tied), top[first], -1)

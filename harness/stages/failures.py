"""failures: where the models of one row fail on a task's candidates, from stored rewards alone."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation import Floats
from harness.evaluation.failures import (
    CONFIDENCES,
    DIFFICULTIES,
    FEATURES,
    FREQUENCIES,
    couples_a_problem,
    difficulty,
    frequency,
    margins,
    picked,
    quantiles,
    reliability,
    temperature,
)
from harness.evaluation.pair_accuracy import right_over_wrong_pools
from harness.evaluation.ratios import ratio_values
from harness.pipeline.failures import FAILURES, FailureRunSpec
from harness.stages.context import StageContext
from harness.stages.estimates import SIGNED, Estimates
from harness.stages.failure_seeds import SUBSETS, Row, alarms, disagreements, ensembles
from harness.stages.outcome_tables import runs_of
from harness.stages.pools import Pool, Values, read_pool_scores, read_pools
from harness.store.artifacts import UNKNOWN_ERROR, Candidates, Failures, Scores
from harness.tasks.grading import answer_classes

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_TYPES = 8
OTHER_TYPES = "other types"
MOST_EXAMPLES = 20
MOST_CHARACTERS = 1_200
"""Of a prompt or a candidate in an example."""


def run(context: StageContext) -> dict[str, Any]:
    """Length and style, margins, errors, calibration, disagreement, ensembles, alarms and the worst examples."""
    spec = FAILURES.read(context.spec)
    artifact = context.input("candidates", Candidates)
    everything, values = read_pools(artifact), Values(context)
    at = [place for place, pool in enumerate(everything) if values.keeps(pool.problem)]
    pools = [everything[place] for place in at]
    if not pools:
        context.warn("every problem is in the training data, so there are none to analyse")
    row = Row.of(pools, _rewards(context, spec.runs, everything, at), runs_of(spec.runs), spec.n)
    base = Row.of(pools, _rewards(context, spec.against, everything, at), runs_of(spec.against), spec.n)
    estimates = Estimates(row.runs, [pool.cluster for pool in pools], spec.seed)
    columns = artifact.read(columns=["problem", "error_type", "prompt"]).to_pydict()
    types: dict[str, list[str]] = {}
    prompts: dict[str, str] = {}
    for problem, error, prompt in zip(columns["problem"], columns["error_type"], columns["prompt"], strict=True):
        types.setdefault(problem, []).append(error)
        prompts.setdefault(problem, prompt)
    content: dict[str, Any] = {}
    if any(one is not None for one in row.difficulties):
        content = {
            "bias": _bias(row, estimates),
            "margins": _margins(row, estimates),
            "errors": _errors(row, estimates, [types[pool.problem] for pool in pools]),
            "calibration": _calibration(row, estimates, _temperatures(context, spec.runs)),
            "disagreement": disagreements(row, base, estimates),
            "ensembles": ensembles(row, estimates),
        }
    found = alarms(row, base, [pool.cluster for pool in pools], spec.seed) if pools else []
    estimates.fill()
    content |= {"key_size": row.key_size, "worst": _worst(row, prompts)}
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    Failures(context.directory).path.write_text(text + "\n", encoding="utf-8")
    return {
        "problems": len(pools),
        "trained_on": values.left_out,
        "with_right_and_wrong": sum(one is not None for one in row.difficulties),
        "models": len(spec.runs),
        "worst": len(content["worst"]),
        "alarms": found,
    }


def _rewards(
    context: StageContext, runs: Sequence[FailureRunSpec], pools: Sequence[Pool], at: Sequence[int]
) -> list[list[Floats]]:
    """Rewards by run and problem. Infinite ones, which only scores from outside have, become the pool's extremes."""
    found = []
    for run in runs:
        scores = read_pool_scores(context.input(run.scores, Scores), pools)
        found.append([_finite(scores[place]) for place in at])
    return found


def _finite(rewards: Floats) -> Floats:
    known = rewards[np.isfinite(rewards)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    beyond = (high - low) or 1.0
    return np.clip(rewards, low - beyond, high + beyond)  # NaN stays, and is refused with the pool's other checks


# ------------------------------------------------------------------------------------ length, style and margins


def _bias(row: Row, estimates: Estimates) -> list[dict[str, Any]]:
    """Rank correlations of reward and features within problems, among all, right and wrong candidates."""
    found = {subset: row.correlations(subset) for subset in SUBSETS}
    return [
        {"feature": name, **{subset: estimates.of(found[subset][:, :, at], SIGNED) for subset in SUBSETS}}
        for at, name in enumerate(FEATURES)
    ]


def _margins(row: Row, estimates: Estimates) -> dict[str, Any]:
    """Right minus wrong rewards: how often below zero, and quantiles in units of the spread within problems."""
    correct = [pool.correct for pool in row.pools]
    negative = [1 - right_over_wrong_pools(rewards, correct, None).accuracy for rewards in row.rewards]
    found = np.mean([quantiles(row.margins(at), QUANTILES) / scale for at, scale in enumerate(row.spreads)], axis=0)
    return {
        "negative": estimates.of(np.array(negative)),
        "quantiles": {str(at): float(value) for at, value in zip(QUANTILES, found, strict=True)},
        "spread": float(np.mean(row.spreads)),
    }


# -------------------------------------------------------------------------------------------------------- errors


def _errors(row: Row, estimates: Estimates, types: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Where the pick is wrong although a right candidate is there, of problems with right and wrong ones."""
    rate = np.full((len(row.rewards), len(row.pools)), np.nan)
    for at in row.mixed:
        for run, rewards in enumerate(row.rewards):
            rate[run, at] = picked(rewards[at])[~row.pools[at].correct].sum()
    chance = np.array([1 - pool.correct.mean() for pool in row.pools])
    bins = []
    for number, (low, high) in enumerate(itertools.pairwise(DIFFICULTIES)):
        inside = np.array([one == number for one in row.difficulties])
        if inside.any():
            bins.append(
                {
                    "from": low,
                    "to": high,
                    "random_pick": float(chance[inside].mean()),
                    "rate": estimates.of(np.where(inside, rate, np.nan)),
                }
            )
    return {
        "rate": estimates.of(rate),
        "random_pick": float(chance[row.mixed].mean()),
        "by_difficulty": bins,
        "by_type": _by_type(row, estimates, types),
        "by_frequency": _by_frequency(row, estimates),
    }


def _by_type(row: Row, estimates: Estimates, types: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Nothing where no wrong candidate's type is known."""
    counts = Counter(
        error
        for at in row.mixed
        for error, correct in zip(types[at], row.pools[at].correct.tolist(), strict=True)
        if not correct
    )
    if set(counts) <= {UNKNOWN_ERROR}:
        return []
    names = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_TYPES]]
    places = {name: place for place, name in enumerate(names)}
    codes = {at: np.array([places.get(error, len(names)) for error in types[at]]) for at in row.mixed}
    return _by_category(row, estimates, codes, [*names, *([OTHER_TYPES] if len(counts) > len(names) else [])])


def _by_frequency(row: Row, estimates: Estimates) -> list[dict[str, Any]]:
    """Nothing where no candidate states an answer."""
    if not any(answer is not None for pool in row.pools for answer in pool.answers):
        return []
    codes = {at: frequency(answer_classes(row.pools[at].answers)) for at in row.mixed}
    return _by_category(row, estimates, codes, FREQUENCIES)


def _by_category(
    row: Row, estimates: Estimates, codes: dict[int, NDArray[np.int64]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """What the wrong picks of all models are, as shares; and what wrong candidates in their places would be."""
    shape = (len(names), len(row.rewards), len(row.pools))
    of_picks, drawn = np.zeros(shape), np.zeros(shape)
    for at, code in codes.items():
        wrong = ~row.pools[at].correct
        usual = np.bincount(code[wrong], minlength=len(names)) / wrong.sum()
        for run, rewards in enumerate(row.rewards):
            of_picks[:, run, at] = np.bincount(code[wrong], weights=picked(rewards[at])[wrong], minlength=len(names))
            drawn[:, run, at] = of_picks[:, run, at].sum() * usual
    errors = of_picks.sum(axis=(0, 1))
    if not errors.any():
        return []
    return [
        {
            "name": name,
            "picked": estimates.of(ratio_values(of_picks[place].sum(axis=0), errors)),
            "drawn": float(drawn[place].sum() / errors.sum()),
        }
        for place, name in enumerate(names)
        if of_picks[place].any() or drawn[place].any()
    ]


# --------------------------------------------------------------------------------------------------- calibration


def _temperatures(context: StageContext, runs: Sequence[FailureRunSpec]) -> list[float] | None:
    """Of every model on the dev candidates; None where those were not scored, or none is both right and wrong there."""
    if "dev" not in context.inputs:
        return None
    kept = Values(context)
    pools = read_pools(context.input("dev", Candidates))
    at = [
        place for place, pool in enumerate(pools) if difficulty(pool.correct) is not None and kept.keeps(pool.problem)
    ]
    if not at:
        return None
    most, found = couples_a_problem(len(at)), []
    for run in runs:
        assert run.dev is not None
        scores = read_pool_scores(context.input(run.dev, Scores), pools)
        found.append(temperature([margins(scores[place], pools[place].correct, most) for place in at]))
    return found


def _calibration(row: Row, estimates: Estimates, fitted: Sequence[float] | None) -> list[dict[str, Any]]:
    """How sure models are of a preference and how often they are right: as trained, and at the dev temperature."""
    scales = {"as trained": [1.0] * len(row.rewards)}
    if fitted is not None:
        scales["dev temperature"] = list(fitted)
    found = []
    for name, temperatures in scales.items():
        tables = [reliability(row.margins(run), scale) for run, scale in enumerate(temperatures)]
        weight, sure, right = (_spread_out(row, [table[which] for table in tables]) for which in range(3))
        gaps = np.abs(np.nansum(sure - right, axis=2)).sum(axis=0)
        bins = []
        for number, (low, high) in enumerate(itertools.pairwise(CONFIDENCES)):
            total = float(np.nansum(weight[number]))
            if total:
                bins.append(
                    {
                        "from": low,
                        "to": high,
                        "share": total / (len(row.mixed) * len(row.rewards)),
                        "confidence": float(np.nansum(sure[number])) / total,
                        "right": estimates.of(
                            ratio_values(np.nansum(right[number], axis=0), np.nansum(weight[number], axis=0))
                        ),
                    }
                )
        found.append(
            {
                "name": name,
                "temperatures": temperatures,
                "error": float(gaps.mean()) / len(row.mixed),
                "overconfidence": estimates.of((sure - right).sum(axis=0), SIGNED),
                "bins": bins,
            }
        )
    return found


def _spread_out(row: Row, tables: Sequence[Floats]) -> Floats:
    """(bins, runs, problems) of (bins, mixed problems) a run; NaN for problems without right or wrong candidates."""
    found = np.full((len(tables[0]), len(tables), len(row.pools)), np.nan)
    for run, table in enumerate(tables):
        found[:, run, row.mixed] = table
    return found


# ------------------------------------------------------------------------------------------------ worst examples


def _worst(row: Row, prompts: dict[str, str]) -> list[dict[str, Any]]:
    """The problems where a wrong candidate is furthest above all right ones, each by the model that it is furthest in.

    Distances are in units of a model's spread within problems, so that models are on one scale.
    """
    found: list[tuple[float, int, int]] = []
    for at in row.mixed:
        correct = row.pools[at].correct
        gaps = [
            float(rewards[at][~correct].max() - rewards[at][correct].max()) / scale
            for rewards, scale in zip(row.rewards, row.spreads, strict=True)
        ]
        run = int(np.argmax(gaps))
        if gaps[run] > 0:
            found.append((gaps[run], at, run))
    found.sort(key=lambda one: (-one[0], one[1]))
    return [_example(row, prompts, *one) for one in found[:MOST_EXAMPLES]]


def _example(row: Row, prompts: dict[str, str], gap: float, at: int, run: int) -> dict[str, Any]:
    pool, rewards = row.pools[at], row.rewards[run][at]
    sides = {
        side: int(np.where(mask, rewards, -np.inf).argmax())
        for side, mask in (("right", pool.correct), ("wrong", ~pool.correct))
    }
    return {
        "problem": pool.problem,
        "prompt": _cut(prompts[pool.problem]),
        "gap": gap,
        "pretrain_seed": row.runs[run][0],
        "finetune_seed": row.runs[run][1],
        **{
            side: {
                "text": _cut(pool.texts[place]),
                "reward": float(rewards[place]),
                "answer": _cut(pool.answers[place]),
            }
            for side, place in sides.items()
        },
    }


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} …"

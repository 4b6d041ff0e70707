"""effects: contrasts between a recipe's settings, by which claims are judged and axes described. No torch.

A contrast is a mean over differences that are paired by problem and seed. One difference of two settings takes the seed
variance pooled over all settings, as the analysis does, so that both say the same; any other takes its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import DataError
from harness.evaluation.efficiency import sample_efficiency
from harness.evaluation.scaling import fit_law
from harness.evaluation.seeds import Contrast, Pooled, Pools, SeededValues, contrast, mean_of
from harness.pipeline.comparing import EFFECTS, ContrastSpec, CurveSpec, PairSpec
from harness.pipeline.evaluations import evaluation_of, headline
from harness.stages.context import StageContext
from harness.stages.outcome_tables import SETTING_KIND, Key, Table, accuracy_json, read_rows
from harness.store.artifacts import Effects

LEVEL, EQUIVALENCE_LEVEL = 0.95, 0.90  # the second is that of two one-sided tests at 5 %


def run(context: StageContext) -> dict[str, Any]:
    """Estimate every contrast of the spec; where one cannot be, say why."""
    spec = EFFECTS.read(context.spec)
    tables = {key: one for key, one in read_rows(context, spec.rows).items() if not one.retracted}
    pools: dict[tuple[str, str, str, str], Pools] = {}  # by task, evaluation, data and metric
    found = [_contrast(one, tables, pools, spec.seed) for one in spec.contrasts]
    curves = [_curve(one, tables, spec.seed) for one in spec.curves]
    text = json.dumps({"contrasts": found, "curves": curves}, indent=1, sort_keys=True)
    Effects(context.directory).path.write_text(text + "\n", encoding="utf-8")
    refused = sum(bool(one["why"]) for one in (*found, *curves))
    return {"contrasts": len(found), "curves": len(curves), "refused": refused}


def _contrast(
    spec: ContrastSpec, tables: Mapping[Key, Table], pools: dict[tuple[str, str, str, str], Pools], seed: int
) -> dict[str, Any]:
    metric = spec.metric or headline(spec.evaluation)
    about = _about(spec, metric)
    names = list(dict.fromkeys(name for pair in spec.pairs for name in (*pair.more, *pair.less)))
    there, why = _rows(spec, metric, names, tables)
    if why:
        return {**about, "why": why}
    first = next(iter(there.values()))
    clusters = first.clusters[metric]
    where = (spec.task, spec.evaluation, first.data)
    pool = (*where, metric)
    if pool not in pools:
        pools[pool] = Pools(_alike(tables, where, metric))
    values = {name: table.values[metric] for name, table in there.items()}
    try:
        sides = [_sides(pair, values, spec.times) for pair in spec.pairs]
        whole = contrast(*(mean_of(side) for side in zip(*sides, strict=True)))
    except DataError as error:
        return {**about, "why": error.rule}

    def told(between: Contrast, pooled: Pooled | None) -> dict[str, Any]:
        found = between.interval(clusters, seed=seed, level=LEVEL, pooled=pooled).as_json()
        narrow = between.interval(clusters, seed=seed, level=EQUIVALENCE_LEVEL, pooled=pooled)
        inner = {"low_90": narrow.low, "high_90": narrow.high}
        return {**found, **inner, "p_value": round(between.p_value(clusters, pooled), 6)}

    parts = []
    for pair, side in zip(spec.pairs, sides, strict=True):
        alone = len(pair.more) == len(pair.less) == spec.times == 1
        pooled = pools[pool].of(*side) if alone else None
        parts.append({"more": pair.more, "less": pair.less, **told(contrast(*side), pooled)})
    mean = {key: value for key, value in parts[0].items() if key not in ("more", "less")}
    return {
        **about,
        "why": "",
        "lacking": whole.row.lacking or (whole.other.lacking if whole.other else ""),
        "problems": len(first.problems[metric]),
        "seeds": [len(axis) for axis in whole.paired.seeds],
        "pairs": parts,
        "mean": mean if len(parts) == 1 else told(whole, None),
    }


def _curve(spec: CurveSpec, tables: Mapping[Key, Table], seed: int) -> dict[str, Any]:
    """Means along a numeric axis with the law through them and, against settings without PMP, the samples needed."""
    metric = headline(spec.evaluation)
    about = _about(spec, metric)
    there, why = _rows(spec, metric, [name for _, name in (*spec.points, *spec.baseline)], tables)
    if why:
        return {**about, "why": why}
    clusters = next(iter(there.values())).clusters[metric]
    values = {name: table.values[metric] for name, table in there.items()}
    points = []
    for x, name in spec.points:
        found = contrast(values[name]).interval(clusters, seed=seed, level=LEVEL)
        points.append({"x": x, "row": name, **accuracy_json(found, evaluation_of(spec.evaluation).bounds(metric))})
    law, no_law = fit_law({x: values[name] for x, name in spec.points}, clusters, exclude=spec.excluded)
    efficiency, no_efficiency = None, ""
    if spec.baseline:
        arm, bare = ({int(x): values[name] for x, name in side} for side in (spec.points, spec.baseline))
        efficiency, no_efficiency = sample_efficiency(arm, bare, clusters, seed=seed)
    return {
        **about,
        "why": "",
        "points": points,
        "law": None if law is None else law.as_json(),
        "no_law": no_law,
        "line": [] if law is None else [[x, float(law.predict([x])[0])] for x, _ in spec.points],
        "efficiency": None if efficiency is None else efficiency.as_json(),
        "no_efficiency": no_efficiency,
        "baseline": [name for _, name in spec.baseline],
    }


def _about(spec: ContrastSpec | CurveSpec, metric: str) -> dict[str, Any]:
    return {"key": spec.key, "task": spec.task, "evaluation": spec.evaluation, "metric": metric}


def _rows(
    spec: ContrastSpec | CurveSpec, metric: str, names: Sequence[str], tables: Mapping[Key, Table]
) -> tuple[dict[str, Table], str]:
    """Tables of settings on a task by name, and why they cannot be compared; "" where they can."""
    rows = {name: tables.get((spec.task, spec.evaluation, SETTING_KIND, name)) for name in names}
    there = {name: table for name, table in rows.items() if table is not None and metric in table.values}
    return there, _why_not(names, there, metric)


def _why_not(names: Sequence[str], there: Mapping[str, Table], metric: str) -> str:
    """Why rows cannot be compared, "" where they can."""
    missing = [name for name in names if name not in there]
    if missing:
        return f"{missing[0]} has no value"
    first = next(iter(there.values()))
    if len({table.data for table in there.values()}) > 1:
        return "the settings are judged on different data"
    if len(set(first.clusters[metric])) < 2:
        return "all problems fall in one cluster"
    return ""


def _alike(tables: Mapping[Key, Table], where: tuple[str, str, str], metric: str) -> list[SeededValues]:
    """Every setting judged on the same data."""
    task, evaluation, data = where
    return [
        table.values[metric]
        for (its_task, its_evaluation, kind, _), table in tables.items()
        if (its_task, its_evaluation, kind, table.data) == (task, evaluation, SETTING_KIND, data)
        and metric in table.values
    ]


def _sides(pair: PairSpec, values: Mapping[str, SeededValues], times: int) -> tuple[SeededValues, SeededValues]:
    more, less = (mean_of([values[name] for name in side]) for side in (pair.more, pair.less))
    if times == 1:
        return more, less
    return replace(more, values=more.values * times), replace(less, values=less.values * times)

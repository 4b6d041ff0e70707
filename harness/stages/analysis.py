"""analysis: from many variants' per-problem values to estimates with intervals, differences and ranks. No torch.

The report and comparisons read what this writes and compute nothing themselves.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from harness.errors import DataError
from harness.evaluation.ranks import holm, rank_groups
from harness.evaluation.seeds import Contrast, Pools, SeededValues, contrast
from harness.evaluation.statistics import Interval, cluster_bootstrap_means
from harness.pipeline.comparing import ANALYSIS
from harness.pipeline.evaluations import evaluation_named, evaluation_of, headline
from harness.stages.context import StageContext
from harness.stages.outcome_tables import (
    IMPORTED_KIND,
    POOL_KIND,
    SETTING_KIND,
    SHALLOW_KIND,
    Key,
    Table,
    accuracy_json,
    chosen,
    read_rows,
)
from harness.store.artifacts import Analysis

LEVEL = 0.95


def run(context: StageContext) -> dict[str, Any]:
    """Read every outcome, estimate, compare, rank."""
    spec = ANALYSIS.read(context.spec)
    tables, left_out = _with_clusters(read_rows(context, spec.rows))
    trusted = {key: table for key, table in tables.items() if not table.retracted}
    for one in left_out:
        context.warn(
            "{task}: {metric} of {row} falls in one cluster and so has no interval; it is left out".format(**one)
        )
    for message in _incomparable(trusted):
        context.warn(message)
    analysis = {
        "estimates": _estimates(tables, spec.seed),
        "differences": _differences(trusted, spec.baseline, spec.seed),
        "above_chance": _above_chance(trusted, spec.seed),
        "ranks": _ranks(trusted),
        "left_out": left_out,
    }
    Analysis(context.directory).path.write_text(json.dumps(analysis, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {name: len(rows) for name, rows in analysis.items()}


def _with_clusters(tables: Mapping[Key, Table]) -> tuple[dict[Key, Table], list[dict[str, str]]]:
    """The tables without metrics that fall in one cluster, which have no interval; and what was left out."""
    kept, left_out = {}, []
    for key, table in tables.items():
        metrics = [metric for metric in table.values if len(set(table.clusters[metric])) > 1]
        row = dict(zip(("task", "evaluation", "kind", "row"), key, strict=True))
        left_out += [{**row, "metric": metric} for metric in sorted(table.values.keys() - set(metrics))]
        if metrics:
            kept[key] = chosen(table, {metric: metric for metric in metrics})
    return kept, left_out


def _incomparable(tables: Mapping[Key, Table]) -> list[str]:
    """Tasks on which the settings were not judged on the same data, in words: they have estimates and no comparison."""
    data: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (task, evaluation, kind, _), table in tables.items():
        if kind == SETTING_KIND:
            data[(task, evaluation)].add(table.data)
    return [
        f"{task}: the settings' {evaluation.replace('_', ' ')} is on {len(found)} different sets of data, so they are "
        "compared only where theirs is the same, and none is ranked"
        for (task, evaluation), found in data.items()
        if len(found) > 1
    ]


def _estimates(tables: Mapping[Key, Table], seed: int) -> list[dict[str, Any]]:
    estimates = []
    for (task, evaluation, kind, name), table in tables.items():
        intervals = _over_problems(table, seed)
        for metric, values in table.values.items():
            if metric not in intervals:
                intervals[metric] = contrast(values).interval(table.clusters[metric], seed=seed)
            estimates.append(
                {
                    "task": task,
                    "evaluation": evaluation,
                    "kind": kind,
                    "row": name,
                    "metric": metric,
                    "problems": len(table.problems[metric]),
                    "by_seed": values.by_run(),
                    **accuracy_json(intervals[metric], evaluation_of(evaluation).bounds(metric)),
                }
            )
    return estimates


def _over_problems(table: Table, seed: int) -> dict[str, Interval]:
    """Intervals of the metrics in which no seed counts: those over the same problems share their resamples."""
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for metric, values in table.values.items():
        if not any(contrast(values).varies(axis) for axis in (0, 1)):
            alike[table.problems[metric]].append(metric)
    intervals: dict[str, Interval] = {}
    for metrics in alike.values():
        columns = np.stack([table.mean(metric) for metric in metrics], axis=1)
        words = contrast(table.values[metrics[0]]).covers()
        found = cluster_bootstrap_means(columns, table.clusters[metrics[0]], seed=seed, covers=words)
        intervals.update(zip(metrics, found, strict=True))
    return intervals


def _settings(tables: Mapping[Key, Table], task: str, evaluation: str, metric: str) -> dict[str, Table]:
    """Settings with a metric on a task, by name."""
    return {
        name: table
        for (its_task, its_evaluation, kind, name), table in tables.items()
        if (its_task, its_evaluation, kind) == (task, evaluation, SETTING_KIND) and metric in table.values
    }


def _differences(tables: Mapping[Key, Table], baseline: str, seed: int) -> list[dict[str, Any]]:
    """Every setting and every row from outside against the baseline setting, paired over problems."""
    differences = []
    pools: dict[tuple[str, str, str], Pools] = {}
    for (task, evaluation, kind, name), table in tables.items():
        base = tables.get((task, evaluation, SETTING_KIND, baseline))
        metric = headline(evaluation)
        if kind not in (SETTING_KIND, IMPORTED_KIND) or table is base or base is None or metric not in table.values:
            continue
        if base.data != table.data:
            continue
        between = _between(table, base, metric)
        pooled = None
        if kind == SETTING_KIND:
            where = (task, evaluation, table.data)
            if where not in pools:
                alike = _comparable(_settings(tables, task, evaluation, metric), table)
                pools[where] = Pools([one.values[metric] for one in alike.values()])
            pooled = pools[where].of(table.values[metric], base.values[metric])
        differences.append(
            {
                "task": task,
                "evaluation": evaluation,
                "kind": kind,
                "row": name,
                "against": baseline,
                "metric": metric,
                "p_value": round(between.p_value(table.clusters[metric], pooled), 6),
                "lacking": _lacking(table, base, metric),
                "problems": len(table.problems[metric]),
                "components": between.spread(table.clusters[metric]),
                **between.interval(table.clusters[metric], seed=seed, pooled=pooled).as_json(),
            }
        )
    return differences


def _comparable(settings: Mapping[str, Table], table: Table) -> dict[str, Table]:
    return {name: one for name, one in settings.items() if one.data == table.data}


def _lacking(table: Table, other: Table, metric: str) -> str:
    """Why a difference claims nothing, in words: too few seeds on one side; "" where it may claim something."""
    return table.values[metric].lacking or other.values[metric].lacking


def _between(table: Table, other: Table, metric: str) -> Contrast:
    if table.problems[metric] != other.problems[metric]:
        raise DataError("paired rows must share their problems", "they do not", "report this")
    return contrast(table.values[metric], other.values[metric])


def _above_chance(tables: Mapping[Key, Table], seed: int) -> list[dict[str, Any]]:
    """Whether a setting beats every reference that understands nothing: a random pick, length, n-grams.

    Beating the best of them is beating each (an intersection-union test). The looks at all settings and tasks are
    corrected by Holm. `above` is None for a setting with too few seeds, which claims nothing.
    """
    verdicts: list[dict[str, Any]] = []
    p_values: list[float] = []
    for (task, evaluation, kind, name), table in tables.items():
        metric = headline(evaluation)
        if kind != SETTING_KIND or metric not in table.values:
            continue
        values, clusters, asked = table.values[metric], table.clusters[metric], evaluation_named(evaluation)
        references = {
            other: replace(_between(table, found, metric), of_row=True)
            for (its_task, its_evaluation, its_kind, other), found in tables.items()
            if its_task == task
            and its_evaluation == evaluation
            and metric in found.values
            and found.data == table.data
            and (its_kind == SHALLOW_KIND or (its_kind == POOL_KIND and other == asked.random_pick))
        }
        if asked.chance is not None:
            coin = SeededValues(values=np.full((1, 1, values.values.shape[2]), asked.chance), seeds=((), ()))
            references["coin"] = replace(contrast(values, coin), of_row=True)
        if not references:
            continue
        means = {other: float(one.other.mean.mean()) for other, one in references.items() if one.other is not None}
        best = max(means, key=means.__getitem__)
        worst = max(one.p_value(clusters) if one.paired.mean.mean() > 0 else 1.0 for one in references.values())
        if not values.lacking:
            p_values.append(worst)
        interval = references[best].interval(clusters, seed=seed).as_json()
        verdicts.append(
            {
                "task": task,
                "evaluation": evaluation,
                "row": name,
                "metric": metric,
                "above": None,
                "lacking": values.lacking,
                "best_reference": best,
                "difference": {key: interval[key] for key in ("estimate", "low", "high", "covers")}
                | {"reference_estimate": means[best]},
                "references": sorted(references),
            }
        )
    judged = [verdict for verdict in verdicts if not verdict["lacking"]]
    for verdict, p_value in zip(judged, holm(p_values).tolist(), strict=True):
        verdict.update(above=p_value <= 1 - LEVEL, p_value=round(p_value, 6), looks=len(judged))
    return verdicts


def _ranks(tables: Mapping[Key, Table]) -> list[dict[str, Any]]:
    """Rank ranges of the settings on each task; arms whose ranges overlap are tied.

    Settings with too few seeds, and those whose estimate has no spread, have no place.
    """
    ranks = []
    for task, evaluation in dict.fromkeys((task, evaluation) for task, evaluation, *_ in tables):
        metric = headline(evaluation)
        settings = _settings(tables, task, evaluation, metric)
        if len({table.data for table in settings.values()}) > 1:
            continue
        arms = {
            name: table
            for name, table in settings.items()
            if not table.values[metric].lacking and contrast(table.values[metric]).has_spread(table.clusters[metric])
        }
        if len(arms) < 2:
            continue
        pools, clusters = (
            Pools([one.values[metric] for one in arms.values()]),
            next(iter(arms.values())).clusters[metric],
        )
        p_values = {
            (one, other): _between(arms[one], arms[other], metric).p_value(
                clusters, pools.of(arms[one].values[metric], arms[other].values[metric])
            )
            for one, other in combinations(arms, 2)
        }
        means = {name: float(table.mean(metric).mean()) for name, table in arms.items()}
        for place in rank_groups(means, p_values, level=LEVEL):
            ranks.append(
                {
                    "task": task,
                    "evaluation": evaluation,
                    "metric": metric,
                    "row": place.name,
                    "low": place.low,
                    "high": place.high,
                    "tied_with": list(place.tied_with),
                }
            )
    return ranks

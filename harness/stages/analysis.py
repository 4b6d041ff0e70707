"""analysis: from many variants' per-problem values to estimates with intervals, differences and ranks. No torch.

The report and comparisons read what this writes and compute nothing themselves.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.errors import DataError
from harness.evaluation.ranks import rank_groups
from harness.evaluation.statistics import cluster_bootstrap_means, paired_difference
from harness.stages.context import StageContext
from harness.stages.outcome_tables import (
    HEADLINE,
    Table,
    accuracy_json,
    below,
    chosen,
    covers,
    p_value,
    read_outcomes,
    seeds_in_words,
)
from harness.stages.pool_baselines import BASELINES
from harness.store.artifacts import Analysis, ProblemValues

CHANCE = {"best_of_n": "mean", "pair_accuracy": "coin"}
SHALLOW_KIND, SETTING_KIND, POOL_KIND, IMPORTED_KIND = "shallow", "setting", "pool", "imported"


Key = tuple[str, str, str, str]  # task, evaluation, kind of row, row


def run(context: StageContext) -> dict[str, Any]:
    """Read every outcome, estimate, compare, rank."""
    tables, left_out = _with_clusters(_tables(context))
    trusted = {key: table for key, table in tables.items() if not table.retracted}
    for message in (*left_out, *_incomparable(trusted)):
        context.warn(message)
    seed = int(context.spec["seed"])
    analysis = {
        "estimates": _estimates(tables, seed),
        "differences": _differences(trusted, context.spec["baseline"], seed),
        "above_chance": _above_chance(trusted, seed),
        "ranks": _ranks(trusted),
    }
    Analysis(context.directory).path.write_text(json.dumps(analysis, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {name: len(rows) for name, rows in analysis.items()}


def _tables(context: StageContext) -> dict[Key, Table]:
    grouped: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
    for row in context.spec["rows"]:
        grouped[(row["task"], row["evaluation"], row["kind"], row["row"])].append(row)
    tables: dict[Key, Table] = {}
    for (task, evaluation, kind, name), rows in grouped.items():
        artifacts = [context.input(row["input"], ProblemValues) for row in rows]
        retracted = any(row.get("retracted", False) for row in rows)
        table = read_outcomes(artifacts, seeds_in_words(rows), name, data=rows[0]["data"], retracted=retracted)
        if kind == POOL_KIND:
            for baseline in BASELINES:
                tables[(task, "best_of_n", POOL_KIND, baseline)] = below(table, f"{baseline}/")
        else:
            tables[(task, evaluation, kind, name)] = table
    return tables


def _with_clusters(tables: Mapping[Key, Table]) -> tuple[dict[Key, Table], list[str]]:
    """The tables without metrics that fall in one cluster, which have no interval; and what was left out, in words."""
    kept, left_out = {}, []
    for key, table in tables.items():
        metrics = [metric for metric in table.values if len(set(table.clusters[metric])) > 1]
        for metric in table.values.keys() - set(metrics):
            left_out.append(
                f"{key[0]}: {metric} of {key[3]} falls in one cluster and so has no interval; it is left out"
            )
        if metrics:
            kept[key] = chosen(table, {metric: metric for metric in metrics})
    return kept, sorted(left_out)


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
        by_problems: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for metric in table.values:
            by_problems[table.problems[metric]].append(metric)
        for problems, metrics in by_problems.items():
            columns = np.stack([table.mean(metric) for metric in metrics], axis=1)
            clusters = table.clusters[metrics[0]]
            intervals = cluster_bootstrap_means(columns, clusters, seed=seed, covers=covers(table))
            for metric, interval in zip(metrics, intervals, strict=True):
                estimates.append(
                    {
                        "task": task,
                        "evaluation": evaluation,
                        "kind": kind,
                        "row": name,
                        "metric": metric,
                        "problems": len(problems),
                        "by_seed": [round(float(one), 6) for one in table.values[metric].mean(axis=1)],
                        **accuracy_json(interval),
                    }
                )
    return estimates


def _differences(tables: Mapping[Key, Table], baseline: str, seed: int) -> list[dict[str, Any]]:
    """Every setting and every row from outside against the baseline setting, paired over problems."""
    differences = []
    for (task, evaluation, kind, name), table in tables.items():
        base = tables.get((task, evaluation, SETTING_KIND, baseline))
        metric = HEADLINE[evaluation]
        if kind not in (SETTING_KIND, IMPORTED_KIND) or table is base or base is None or metric not in table.values:
            continue
        if base.data != table.data:
            continue
        differences.append(
            {
                "task": task,
                "evaluation": evaluation,
                "kind": kind,
                "row": name,
                "against": baseline,
                "metric": metric,
                "p_value": p_value(table, base, metric),
                **_difference(table, base, metric, seed),
            }
        )
    return differences


def _difference(table: Table, other: Table, metric: str, seed: int) -> dict[str, Any]:
    if table.problems[metric] != other.problems[metric]:
        raise DataError("paired rows must share their problems", "they do not", "report this")
    interval = paired_difference(
        table.mean(metric), other.mean(metric), table.clusters[metric], seed=seed, covers=covers(table)
    )
    return interval.as_json()


def _above_chance(tables: Mapping[Key, Table], seed: int) -> list[dict[str, Any]]:
    """Whether a setting beats every reference that understands nothing: a random pick, length, n-grams.

    Beating the best of them is beating each (an intersection-union test, so no correction is needed).
    """
    verdicts = []
    for (task, evaluation, kind, name), table in tables.items():
        metric = HEADLINE[evaluation]
        if kind != SETTING_KIND or metric not in table.values:
            continue
        references = {
            other: found
            for (its_task, its_evaluation, its_kind, other), found in tables.items()
            if its_task == task
            and its_evaluation == evaluation
            and metric in found.values
            and found.data == table.data
            and (its_kind == SHALLOW_KIND or (its_kind == POOL_KIND and other == CHANCE["best_of_n"]))
        }
        against: list[dict[str, Any]] = [
            {"reference": other, "reference_estimate": float(found.mean(metric).mean())}
            | _difference(table, found, metric, seed)
            for other, found in references.items()
        ]
        if evaluation == "pair_accuracy":
            coin = np.full_like(table.mean(metric), 0.5)
            interval = paired_difference(
                table.mean(metric), coin, table.clusters[metric], seed=seed, covers=covers(table)
            )
            against.append({"reference": "coin", "reference_estimate": 0.5} | interval.as_json())
        if not against:
            continue
        best = max(against, key=lambda one: one["reference_estimate"])
        verdicts.append(
            {
                "task": task,
                "evaluation": evaluation,
                "row": name,
                "metric": metric,
                "above": all(one["low"] > 0 for one in against),
                "best_reference": best["reference"],
                "difference": {key: best[key] for key in ("estimate", "low", "high", "covers", "reference_estimate")},
                "references": sorted(one["reference"] for one in against),
            }
        )
    return verdicts


def _ranks(tables: Mapping[Key, Table]) -> list[dict[str, Any]]:
    """Rank ranges of the settings on each task; arms whose ranges overlap are tied."""
    ranks = []
    arms: dict[tuple[str, str], list[str]] = defaultdict(list)
    for task, evaluation, kind, name in tables:
        if kind == SETTING_KIND and HEADLINE[evaluation] in tables[(task, evaluation, kind, name)].values:
            arms[(task, evaluation)].append(name)
    for (task, evaluation), names in arms.items():
        metric = HEADLINE[evaluation]
        arms_tables = [tables[(task, evaluation, SETTING_KIND, name)] for name in names]
        if len({table.data for table in arms_tables}) > 1:
            continue
        values = np.stack([table.mean(metric) for table in arms_tables])
        for place in rank_groups(names, values, arms_tables[0].clusters[metric]):
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

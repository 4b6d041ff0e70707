"""Rows of a board as tables of per-problem values: read from outcomes, averaged over seeds, compared in pairs.

What several stages that compare share, so that they say the same of the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError
from harness.evaluation.seeds import SeededValues
from harness.evaluation.statistics import Interval
from harness.pipeline.comparing import OutcomeSpec, RunSpec
from harness.pipeline.evaluation import RANGE
from harness.pipeline.evaluations import evaluation_of
from harness.stages.context import StageContext
from harness.stages.pool_baselines import BASELINES
from harness.store.artifacts import ProblemValues

K = TypeVar("K")
Run = tuple[int | None, int | None]
"""PMP seed and fine-tuning seed."""
Names = tuple[str, ...]
"""Of problems or clusters, in the order of the values."""
SHALLOW_KIND, SETTING_KIND, POOL_KIND, IMPORTED_KIND = "shallow", "setting", "pool", "imported"
Key = tuple[str, str, str, str]
"""Task, evaluation, kind of row, row."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Values of one row of the board on one task by metric, problems in one order.

    `data` names what was scored: two rows are comparable where it is equal, and neither is `retracted`.
    """

    data: str
    values: Mapping[str, SeededValues]
    problems: Mapping[str, tuple[str, ...]]
    clusters: Mapping[str, tuple[str, ...]]
    retracted: bool = False

    def mean(self, metric: str) -> NDArray[np.float64]:
        return self.values[metric].mean


def read_rows(context: StageContext, outcomes: Sequence[OutcomeSpec]) -> dict[Key, Table]:
    """Rows of a board by task and evaluation, those judged on the same data by the problems that all of them have."""
    grouped: dict[Key, list[OutcomeSpec]] = defaultdict(list)
    for row in outcomes:
        grouped[(row.task, row.evaluation, row.kind, row.row)].append(row)
    tables: dict[Key, Table] = {}
    known: dict[Names, Names] = {}
    for (task, evaluation, kind, name), rows in grouped.items():
        artifacts = [context.input(row.input, ProblemValues) for row in rows]
        retracted = any(row.retracted for row in rows)
        table = read_outcomes(artifacts, runs_of(rows), name, data=rows[0].data, retracted=retracted, known=known)
        if kind == POOL_KIND:
            for baseline in BASELINES:
                tables[(task, evaluation_of(evaluation).name, POOL_KIND, baseline)] = below(table, f"{baseline}/")
        else:
            tables[(task, evaluation, kind, name)] = table
    return _comparable_problems(tables)


def _comparable_problems(tables: Mapping[Key, Table]) -> dict[Key, Table]:
    judged: dict[tuple[str, str, str], dict[Key, Table]] = defaultdict(dict)
    for key, table in tables.items():
        judged[(*key[:2], table.data)][key] = table
    alike = {key: table for rows in judged.values() for key, table in on_common_problems(rows).items()}
    return {key: alike[key] for key in tables}


def read_outcomes(
    artifacts: Sequence[ProblemValues],
    runs: Sequence[Run],
    name: str,
    *,
    data: str,
    retracted: bool = False,
    known: dict[Names, Names] | None = None,
) -> Table:
    """The outcomes of one row on one task, one a run, as a table.

    Args:
        known: lists of problems and of clusters that several calls share, so that equal ones are one object: thousands
            of outcomes with a list each would fill the memory.

    Raises:
        DataError: the seeds were not judged on the same problems.
    """
    shared: dict[Names, Names] = {} if known is None else known
    read = [_by_metric(artifact, shared) for artifact in artifacts]
    metrics = list(read[0])
    values, problems, clusters = {}, {}, {}
    for metric in metrics:
        first = read[0][metric]
        for other in read[1:]:
            if other[metric][0] != first[0]:
                raise DataError("seeds of one setting must share their problems", f"{name} does not", "report this")
        problems[metric], clusters[metric] = first[0], first[1]
        values[metric] = SeededValues.of_runs([one[metric][2] for one in read], runs)
    return Table(data=data, values=values, problems=problems, clusters=clusters, retracted=retracted)


def _by_metric(
    artifact: ProblemValues, known: dict[Names, Names]
) -> dict[str, tuple[Names, Names, NDArray[np.float64]]]:
    """Metric -> problems, their clusters, values; metrics in the order of the file."""
    columns = ("metric", "problem", "cluster")
    table = artifact.read(encoded=columns).unify_dictionaries()
    value = table["value"].to_numpy()
    texts = {}
    for column in columns:
        encoded = table[column].combine_chunks()
        texts[column] = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    metric, names = texts["metric"]
    lists: dict[tuple[str, bytes], Names] = {}

    def listed(column: str, rows: NDArray[np.intp]) -> Names:
        codes, words = texts[column]
        key = (column, codes[rows].tobytes())
        if key not in lists:
            found = tuple(words[code] for code in codes[rows].tolist())
            lists[key] = known.setdefault(found, found)
        return lists[key]

    places = [np.flatnonzero(metric == number) for number in range(len(names))]
    return {
        names[metric[rows[0]]]: (listed("problem", rows), listed("cluster", rows), value[rows])
        for rows in sorted((rows for rows in places if len(rows)), key=lambda rows: int(rows[0]))
    }


def below(table: Table, prefix: str) -> Table:
    """The metrics that begin with a prefix, without it."""
    return chosen(table, {name: name.removeprefix(prefix) for name in table.values if name.startswith(prefix)})


def chosen(table: Table, names: Mapping[str, str]) -> Table:
    """Some of a table's metrics, under new names."""
    return Table(
        data=table.data,
        values={new: table.values[old] for old, new in names.items()},
        problems={new: table.problems[old] for old, new in names.items()},
        clusters={new: table.clusters[old] for old, new in names.items()},
        retracted=table.retracted,
    )


def on_common_problems(tables: Mapping[K, Table]) -> dict[K, Table]:
    """Rows judged on the same data, by the problems that all of them have: each leaves out those it was trained on."""
    common: dict[str, set[str]] = {}
    seen: set[tuple[str, int]] = set()  # by identity: most tables share one list
    for table in tables.values():
        for metric, problems in table.problems.items():
            if (metric, id(problems)) not in seen:
                seen.add((metric, id(problems)))
                common[metric] = common[metric] & set(problems) if metric in common else set(problems)
    return {key: _restricted(table, common) for key, table in tables.items()}


def _restricted(table: Table, common: Mapping[str, set[str]]) -> Table:
    if all(len(common[metric]) == len(problems) for metric, problems in table.problems.items()):
        return table
    kept = {
        metric: [place for place, problem in enumerate(problems) if problem in common[metric]]
        for metric, problems in table.problems.items()
    }
    return replace(
        table,
        values={metric: replace(one, values=one.values[:, :, kept[metric]]) for metric, one in table.values.items()},
        problems={metric: tuple(ids[place] for place in kept[metric]) for metric, ids in table.problems.items()},
        clusters={metric: tuple(ids[place] for place in kept[metric]) for metric, ids in table.clusters.items()},
    )


def runs_of(rows: Sequence[RunSpec]) -> list[Run]:
    """(PMP seed, fine-tuning seed) of the runs that a row of the board is made of."""
    return [(row.pretrain_seed, row.finetune_seed) for row in rows]


def accuracy_json(interval: Interval, bounds: tuple[float, float] = RANGE) -> dict[str, Any]:
    """A metric with its interval, no limit of which lies outside what the metric can be: an accuracy's is [0, 1]."""
    low, high = bounds
    return {**interval.as_json(), "low": max(low, interval.low), "high": min(high, interval.high)}

"""A workdir's results as pandas tables, for notebooks: from records and the files beside reports. Computes nothing."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import StoreError
from harness.report.board import HEADLINE
from harness.report.index import Index, read_index, read_indexes
from harness.report.rows import Row, retraction, rows_of
from harness.report.scores import COLUMNS, SCORES
from harness.store.identity import SHORT
from harness.store.record import Record
from harness.store.retractions import Retraction, read_retractions
from harness.store.store import Snapshot, Store

if TYPE_CHECKING:
    import pandas as pd

STORE, REPORTS = "store", "reports"
SEEDS = ("pretrain_seed", "finetune_seed")


def results(workdir: str | Path = "workdir", recipe: str | None = None) -> pd.DataFrame:
    """See `harness.results`."""
    import pandas as pd

    folder = Path(workdir)
    indexes = _indexes(folder, recipe)
    axes = list(dict.fromkeys(axis for index in indexes for entry in index.outcomes for axis in entry.axes))
    snapshot, retractions = Snapshot(Store(folder / STORE)), read_retractions(folder / STORE)
    lines = [line for index in indexes for row in rows_of(index) for line in _lines(row, axes, snapshot, retractions)]
    columns = [
        *("recipe", "kind", "row"),
        *(f"axis.{axis}" for axis in axes),
        *(*SEEDS, "task", "evaluation", "metric", "value", "problems", "stage", "done", "retracted"),
    ]
    table = pd.DataFrame(lines, columns=columns)
    whole = {name: "Int64" for name in (*SEEDS, "problems")}
    return table.astype({**whole, "value": "float64", "done": "bool"})


def scores(workdir: str | Path, recipe: str, task: str | None = None) -> pd.DataFrame:
    """See `harness.scores`."""
    import pyarrow as pa
    import pyarrow.parquet

    folder = Path(workdir) / REPORTS / recipe / SCORES
    files = sorted(folder.glob("*/*.parquet" if task is None else f"{glob.escape(task)}/*.parquet"))
    if not files:
        what = f"there are none of {recipe!r}" + ("" if task is None else f" on {task!r}") + f" in {workdir}"
        raise StoreError("scores must be written", what, "`harness report` of the recipe writes them")
    table = pa.concat_tables([pyarrow.parquet.ParquetFile(file).read() for file in files])
    frame: pd.DataFrame = table.select(COLUMNS).to_pandas()
    return frame.astype({name: "Int64" for name in SEEDS})


def _indexes(workdir: Path, recipe: str | None) -> list[Index]:
    if recipe is not None:
        return [read_index(workdir / REPORTS / recipe)]
    found = list(read_indexes(workdir / REPORTS))
    if not found:
        raise StoreError(
            "a workdir must know its rows", f"there is no report in {workdir}", "`harness report` of a recipe"
        )
    return found


def _lines(
    row: Row, axes: list[str], snapshot: Snapshot, retractions: Mapping[str, Retraction]
) -> Iterator[tuple[Any, ...]]:
    for entry in row.outcomes:
        evaluation = "best_of_n" if row.pool else entry.evaluation
        kind = row.index.stages[entry.stage].kind
        record = snapshot.record(kind, entry.stage)
        head = (
            *(row.index.recipe, row.kind, row.name),
            *(entry.axes.get(axis) for axis in axes),
            *(entry.pretrain_seed, entry.finetune_seed, entry.task, evaluation),
        )
        tail = (f"{kind}/{entry.stage[:SHORT]}", record is not None, retraction(row, entry, retractions))
        if record is None:
            yield (*head, HEADLINE[evaluation], None, None, *tail)
            continue
        problems = record.result.get("problems", record.result.get("pairs"))
        for metric, value in _means(record, row.pool):
            yield (*head, metric, value, problems, *tail)


def _means(record: Record, pool: str) -> Iterator[tuple[str, float]]:
    """(metric, mean over problems) of an evaluation; of the pools' table only what is of one baseline."""
    means: Mapping[str, float] = record.result["means"]
    for metric, value in means.items():
        if not pool:
            yield metric, value
        elif metric.startswith(f"{pool}/"):
            yield metric.removeprefix(f"{pool}/"), value

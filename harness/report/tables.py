"""The board as tidy CSV and the whole report as JSON: the numbers of the page, each with the records it came from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from harness.pipeline.evaluations import evaluation_of, evaluation_with, headline, metric_label
from harness.pipeline.graph import Stage
from harness.recipe.axes import Axis
from harness.report.board import Board, Row
from harness.report.collect import ReportData
from harness.report.comparison import Estimate
from harness.report.version import harness_version
from harness.report.words import RETRACTED

COLUMNS = (
    *("task", "split", "metric", "kind", "row", "label", "state"),
    *("estimate", "low", "high", "level", "covers", "problems", "clusters", "method"),
    *("seeds", "by_seed", "beyond_quarter_of_pool", "records"),
)

AXIS, FIRST_AXIS = "axis.", COLUMNS.index("state")


def leaderboard(data: ReportData) -> str:
    """CSV with one line a row, task and metric, and a column an axis, with numbers where it is numeric.

    A missing number has a line too, whose `state` says why.
    """
    file = io.StringIO()
    axes = [f"{AXIS}{axis.name}" for axis in data.axes]
    columns = (*COLUMNS[:FIRST_AXIS], *axes, *COLUMNS[FIRST_AXIS:])
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for board in data.overview.boards:
        for row in board.rows:
            writer.writerows(_lines(data.axes, board, row))
    return file.getvalue()


def _lines(axes: Iterable[Axis], board: Board, row: Row) -> Iterator[dict[str, Any]]:
    common: dict[str, Any] = {
        "task": board.task,
        "split": board.split,
        "kind": row.kind,
        "row": row.name,
        "label": row.label,
    }
    common |= {"seeds": row.seeds, **{f"{AXIS}{axis.name}": axis.plain(row.axes) for axis in axes}}
    for metric, estimate in row.estimates.items():
        yield {
            **common,
            **_plain(estimate),
            "metric": metric,
            "state": f"{RETRACTED}: {row.doubt(metric)}" if row.doubt(metric) else "done",
            "by_seed": " ".join(map(str, estimate.by_seed)),
            "beyond_quarter_of_pool": bool(board.mark(metric)),
            "records": _records(row, metric),
        }
    for evaluation, why in row.gaps.items():
        metric = headline(evaluation)
        yield {**common, "metric": metric, "state": why, "records": _records(row, metric)}


def _records(row: Row, metric: str) -> str:
    """The evaluation stages that a row's metric comes from."""
    evaluation = evaluation_with(metric)
    return " ".join(outcome.stage.name for outcome in row.outcomes if evaluation_of(outcome.metric) is evaluation)


def report_json(data: ReportData) -> str:
    """Everything the page says, but for examples and curves."""
    seen = data.overview
    content = {
        **{name: value for name, value in _plain(data).items() if name not in LEFT_OUT},
        "recipe": data.name,
        "harness": harness_version(),
        "facts": dict(data.facts),
        "ranks_something": seen.ranks_something,
        "analysis": seen.analysis,
        "claims": [one.as_json() for found in seen.findings for one in found.results],
        "failures": {task: found.tables for task, found in data.failures.items()},
        "boards": [_board(data.axes, board) for board in seen.boards],
    }
    if data.search is not None:
        content["search"] = {name: value for name, value in _plain(data.search).items() if name not in IN_SEARCH_JSON}
    return json.dumps(content, default=_plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


LEFT_OUT = ("name", "overview", "parameters", "curves", "pairs", "judged_pairs", "pools", "search", "damaged")
IN_SEARCH_JSON = ("state", "space", "trials")


def _plain(value: Any) -> Any:
    """What JSON cannot hold: dataclasses by their fields, stages by name."""
    if isinstance(value, Stage):
        return value.name
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return dict(value) if isinstance(value, Mapping) else list(value)


def _board(axes: Iterable[Axis], board: Board) -> dict[str, Any]:
    return {
        "task": board.task,
        "split": board.split,
        "baseline": board.baseline,
        "baseline_chosen": board.baseline_chosen,
        "pool_size": board.pool_size,
        "sizes": board.sizes,
        "area_sizes": board.area_sizes,
        "key_size": board.key_size,
        "rows": [_row(axes, row) for row in board.rows],
    }


def _row(axes: Iterable[Axis], row: Row) -> dict[str, Any]:
    estimates: Mapping[str, Estimate] = row.estimates
    return {
        "kind": row.kind,
        "row": row.name,
        "label": row.label,
        "note": row.note,
        "axes": {axis.name: axis.plain(row.axes) for axis in axes if axis.name in row.axes},
        "seeds": row.seeds,
        "gaps": row.gaps,
        "retracted": row.retracted,
        "records": row.stages,
        "estimates": {metric: {"label": metric_label(metric), **_plain(one)} for metric, one in estimates.items()},
        "differences": row.differences,
        "above_chance": row.above,
        "order": row.places,
    }

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
    *("differs", "tokens_trained", "device", "device_hours_alone", "device_hours_with_shared"),
)

MOST_DEPTH = 4
"""Of JSON with a line an entry: boards, a board, its rows, a row."""

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
    costs = _costs(data)
    for board in data.overview.boards:
        for row in board.rows:
            writer.writerows(_lines(data.axes, board, row, costs.get(row.name, {}) if row.is_setting else {}))
    return file.getvalue()


def _costs(data: ReportData) -> dict[str, dict[str, Any]]:
    """What differs of each setting in words, and what it cost, under the names that CSV and JSON have."""
    return {
        one.name: {
            "differs": one.words,
            "tokens_trained": data.spent[one.name].tokens,
            "device": data.device,
            "device_hours_alone": round(data.spent[one.name].alone, 6),
            "device_hours_with_shared": round(data.spent[one.name].together, 6),
        }
        for one in data.settings
    }


def _lines(axes: Iterable[Axis], board: Board, row: Row, cost: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    common: dict[str, Any] = {
        "task": board.task,
        "split": board.split,
        "kind": row.kind,
        "row": row.name,
        "label": row.label,
        **cost,
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
        "boards": [_board(data.axes, board, _costs(data)) for board in seen.boards],
    }
    searches = {
        recipe: {name: value for name, value in _plain(search).items() if name not in IN_SEARCH_JSON}
        for recipe, search in data.searched
    }
    if searches:
        content["search"] = searches if data.parts else searches[""]
    return _spread(content) + "\n"


def _spread(content: Any, depth: int = 0) -> str:
    """JSON with an entry a line down to the rows of a board, so that versions of a report can be told apart.

    The encoder's own indenting is many times slower, and would give every number a line.
    """
    if is_dataclass(content) or isinstance(content, tuple | Mapping):
        content = _plain(content)
    if depth == MOST_DEPTH or not isinstance(content, dict | list) or not content:
        return json.dumps(content, default=_plain, sort_keys=True, ensure_ascii=False)
    pad = " " * (depth + 1)
    named = isinstance(content, dict)
    items = [content[key] for key in sorted(content)] if named else content
    keys = [f"{json.dumps(str(key), ensure_ascii=False)}: " for key in sorted(content)] if named else [""] * len(items)
    lines = ",\n".join(f"{pad}{key}{_spread(item, depth + 1)}" for key, item in zip(keys, items, strict=True))
    start, end = "{}" if named else "[]"
    return f"{start}\n{lines}\n{' ' * depth}{end}"


LEFT_OUT = (
    *("name", "overview", "parameters", "curves", "pairs", "judged_pairs", "pools", "search", "damaged", "parts"),
    *("spent", "device"),  # they stand in each row
)
IN_SEARCH_JSON = ("state", "space", "trials")


def _plain(value: Any) -> Any:
    """What JSON cannot hold: dataclasses by their fields, stages by name."""
    if isinstance(value, Stage):
        return value.name
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return dict(value) if isinstance(value, Mapping) else list(value)


def _board(axes: Iterable[Axis], board: Board, costs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "task": board.task,
        "split": board.split,
        "baseline": board.baseline,
        "baseline_chosen": board.baseline_chosen,
        "pool_size": board.pool_size,
        "sizes": board.sizes,
        "area_sizes": board.area_sizes,
        "key_size": board.key_size,
        "rows": [{**_row(axes, row), **(costs[row.name] if row.is_setting else {})} for row in board.rows],
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
        "order": {name: {"low": one.low, "high": one.high, "of": one.of} for name, one in row.places.items()},
    }

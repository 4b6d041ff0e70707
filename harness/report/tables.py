"""The leaderboard as tidy CSV and as JSON: the same numbers as the page, each with the records it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from harness.pipeline.evaluation import PAIR_ACCURACY
from harness.pipeline.graph import Stage
from harness.report.board import BON, HEADLINE, Board, Row
from harness.report.collect import ReportData
from harness.report.comparison import Estimate
from harness.report.words import RETRACTED, metric_label

COLUMNS = (
    "task",
    "metric",
    "kind",
    "row",
    "label",
    "state",
    "estimate",
    "low",
    "high",
    "level",
    "covers",
    "problems",
    "clusters",
    "method",
    "seeds",
    "by_seed",
    "beyond_quarter_of_pool",
    "records",
)


def leaderboard(data: ReportData) -> pd.DataFrame:
    """One line a row, task and metric; a missing number has a line too, whose `state` says why."""
    lines = [line for board in data.overview.boards for row in board.rows for line in _lines(board, row)]
    frame = pd.DataFrame(lines, columns=list(COLUMNS))
    return frame.astype({"problems": "Int64", "clusters": "Int64"})


def _lines(board: Board, row: Row) -> list[dict[str, Any]]:
    common = {"task": board.task, "kind": row.kind, "row": row.name, "label": row.label, "seeds": row.seeds}
    lines = []
    for metric, estimate in row.estimates.items():
        beyond = metric.startswith(BON) and board.overlaps(int(metric.removeprefix(BON)))
        lines.append(
            {
                **common,
                **_numbers(estimate),
                "metric": metric,
                "state": f"{RETRACTED}: {row.doubt(metric)}" if row.doubt(metric) else "done",
                "by_seed": " ".join(str(value) for value in estimate.by_seed),
                "beyond_quarter_of_pool": beyond,
                "records": " ".join(stage.name for stage in stages_of(row, metric)),
            }
        )
    for evaluation, why in row.gaps.items():
        records = " ".join(stage.name for stage in stages_of(row, HEADLINE[evaluation]))
        lines.append({**common, "metric": HEADLINE[evaluation], "state": why, "records": records})
    return lines


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {name: value for name, value in asdict(estimate).items() if name in COLUMNS and name != "by_seed"}


def stages_of(row: Row, metric: str) -> list[Stage]:
    """The evaluation stages that a row's metric comes from."""
    pairs = metric == "pair_accuracy"
    return [stage for stage in row.stages if (stage.kind is PAIR_ACCURACY) == pairs]


def report_json(data: ReportData) -> dict[str, Any]:
    """Everything the page says in numbers, as plain data."""
    return {
        "recipe": data.name,
        "notes": data.notes,
        "facts": dict(data.facts),
        "ranks_something": data.overview.ranks_something,
        "analysis": None if data.overview.analysis is None else data.overview.analysis.name,
        "cautions": [asdict(caution) for caution in data.cautions],
        "findings": [asdict(finding) for finding in data.overview.findings],
        "boards": [_board(board) for board in data.overview.boards],
        "settings": [asdict(setting) for setting in data.settings],
        "training": _facts(data.training),
        "probes": _facts(data.probes),
        "data": [_facts(table) for table in data.data],
        "shared": list(data.shared),
        "times": [_facts(table) for table in data.times],
        "methods": list(data.methods),
        "origins": [asdict(origin) for origin in data.origins],
        "data_stages": [asdict(link) for link in data.data_stages],
        "unfinished": _facts(data.unfinished),
    }


def _board(board: Board) -> dict[str, Any]:
    return {
        "task": board.task,
        "baseline": board.baseline,
        "pool_size": board.pool_size,
        "sizes": list(board.sizes),
        "area_sizes": list(board.area_sizes),
        "key_size": board.key_size,
        "rows": [_row(row) for row in board.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    by_evaluation: Mapping[str, Mapping[str, Any]] = {
        "differences": row.differences,
        "above_chance": row.above,
        "order": row.places,
    }
    return {
        "kind": row.kind,
        "row": row.name,
        "label": row.label,
        "note": row.note,
        "seeds": row.seeds,
        "gaps": dict(row.gaps),
        "retracted": dict(row.retracted),
        "records": [stage.name for stage in row.stages],
        "estimates": {
            metric: {"label": metric_label(metric), **asdict(estimate)} for metric, estimate in row.estimates.items()
        },
        **{name: {key: asdict(value) for key, value in found.items()} for name, found in by_evaluation.items()},
    }


def _facts(table: Any) -> dict[str, Any]:
    return {"title": table.title, "columns": list(table.columns), "rows": [list(row) for row in table.rows]}

"""The page: one file that needs nothing else, from `ReportData`. Everything that came from outside is escaped.

Only this file's own scripts may run (a content security policy names their digests), and nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from harness.pipeline.evaluation import RANGE
from harness.report.board import Board, Row
from harness.report.collect import ReportData
from harness.report.figures import COLOURS, best_of_n_figure, loss_figures
from harness.report.methods import levels
from harness.report.provenance import anchor
from harness.report.render import TEMPLATES, environment
from harness.report.search_figures import search_figures


def render_html(data: ReportData) -> str:
    """The whole page."""
    boards = data.overview.boards
    curves = {board.task: best_of_n_figure(board) for board in boards}
    losses = loss_figures(data.curves, [setting.name for setting in data.settings])
    searched = [] if data.search is None else search_figures(data.search)
    figures = [figure for figure in (*searched, *curves.values(), *losses) if figure is not None]
    scripts = {"plotly": _script(get_plotlyjs()), "page": _script((TEMPLATES / "report.js").read_text("utf-8"))}
    if not figures:
        del scripts["plotly"]
    jinja = environment(escape=True)
    jinja.globals.update(anchor=anchor, colours=COLOURS, percent=percent)
    return jinja.get_template("report.html").render(
        data=data,
        boards=boards,
        glance=_glance(boards),
        level=levels(one for board in boards for row in board.rows for one in row.estimates.values()),
        curves=curves,
        losses=losses,
        searched=searched,
        plots={figure.title: json_for_script(figure.plot) for figure in figures},
        figure_ids={figure.title: f"figure-{index}" for index, figure in enumerate(figures)},
        scripts=scripts,
        policy=_policy(scripts),
        style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
    )


def percent(value: float) -> str:
    """Where a value lies on an axis over the range of the metrics."""
    low, high = RANGE
    return f"{100 * (min(high, max(low, value)) - low) / (high - low):.2f}%"


def _glance(boards: Sequence[Board]) -> list[list[tuple[int, list[tuple[Board, Row | None]]]]]:
    """All rows over all tasks, settings first: (position, the row on each task).

    Empty where there is one task only, whose own leaderboard says it all, or nothing is compared yet.
    """
    if len(boards) < 2 or not any(row.estimates for board in boards for row in board.rows):
        return []
    by_task = [{(row.kind, row.name): row for row in board.rows} for board in boards]
    keys = list(dict.fromkeys(key for rows in by_task for key in rows))
    groups: dict[tuple[bool, bool], list[tuple[int, list[tuple[Board, Row | None]]]]] = {}
    for at, key in enumerate(keys):
        cells = [(board, rows.get(key)) for board, rows in zip(boards, by_task, strict=True)]
        row = next(row for _, row in cells if row is not None)
        groups.setdefault((row.is_setting, row.is_reference), []).append((at, cells))
    return list(groups.values())


def json_for_script(data: Mapping[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in, whatever its strings hold."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _script(source: str) -> Markup:
    assert "</script" not in source.lower()
    return Markup(source)


def _policy(scripts: Mapping[str, Markup]) -> str:
    hashed = (base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode() for text in scripts.values())
    digests = " ".join(f"'sha256-{digest}'" for digest in hashed)
    return f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:"

"""The page: one file that needs nothing else, from `ReportData`. Everything that came from outside is escaped.

Only this file's own scripts may run (a content security policy names their digests), and nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from harness.pipeline.evaluations import headline
from harness.report.axis_figures import axis_figures
from harness.report.board import NOT_ASKED, Board, Row
from harness.report.collect import ReportData
from harness.report.comparison import Difference
from harness.report.figures import COLOURS, best_of_n_figure, loss_figures
from harness.report.methods import levels
from harness.report.provenance import anchor
from harness.report.render import TEMPLATES, environment
from harness.report.search_figures import search_figures
from harness.report.verdicts import Contrast


def render_html(data: ReportData) -> str:
    """The whole page."""
    boards = data.overview.boards
    curves = {board.task: best_of_n_figure(board) for board in boards}
    losses = loss_figures(data.curves, [setting.name for setting in data.settings])
    searched = [] if data.search is None else search_figures(data.search)
    along = axis_figures(data.overview.effects, data.axes)
    figures = [figure for figure in (*searched, *along, *curves.values(), *losses) if figure is not None]
    scripts = {"plotly": _script(get_plotlyjs()), "page": _script((TEMPLATES / "report.js").read_text("utf-8"))}
    if not figures:
        del scripts["plotly"]
    jinja = environment(escape=True)
    limits = {board.task: _limit_of(board) for board in boards}
    found = data.overview.findings
    jinja.globals.update(
        anchor=anchor, colours=COLOURS, around=around, distance=_distance, limits=limits, not_asked=NOT_ASKED
    )
    return jinja.get_template("report.html").render(
        data=data,
        boards=boards,
        glance=_glance(boards),
        findings=found,
        claims_limit=_limit(one.difference for finding in found for one in finding.results),
        level=levels(one for board in boards for row in board.rows for one in row.estimates.values()),
        curves=curves,
        losses=losses,
        along=along,
        searched=searched,
        plots={figure.title: json_for_script(figure.plot) for figure in figures},
        figure_ids={figure.title: f"figure-{index}" for index, figure in enumerate(figures)},
        scripts=scripts,
        policy=_policy(scripts),
        style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
    )


def around(value: float, limit: float) -> str:
    """Where a difference lies on an axis from -limit to limit; what lies beyond is drawn at its end."""
    return f"{50 + 50 * min(1.0, max(-1.0, value / limit)):.2f}%"


def _limit(gaps: Iterable[Difference | Contrast | None]) -> float:
    """The end of an axis around 0 that holds every interval; 0 where there is none."""
    ends = [abs(end) for gap in gaps if gap is not None for end in (gap.low, gap.high)]
    return math.ceil(max(ends) * 100) / 100 if any(ends) else 0.0


def _limit_of(board: Board) -> float:
    """That of a board's strips: every interval and every reference's point, but the oracle's, which is far off."""
    gaps = _limit(row.differences.get(board.main) for row in board.rows)
    points = [_distance(board, row) for row in board.rows if row.name != "oracle"]
    return max(gaps, *(math.ceil(abs(point) * 100) / 100 for point in points if point is not None)) if gaps else 0.0


def _distance(board: Board, row: Row) -> float | None:
    """How far a row without an interval of its own lies from the baseline, by the main metric."""
    metric = headline(board.main)
    base = next((one for one in board.settings if one.name == board.baseline), None)
    if base is None or metric not in base.estimates or metric not in row.estimates:
        return None
    return row.estimates[metric].estimate - base.estimates[metric].estimate


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

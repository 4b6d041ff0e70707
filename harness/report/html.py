"""The page: one file that needs nothing else, from `ReportData`. Everything that came from outside is escaped.

Only this file's own scripts may run (a content security policy names their digests), and nothing is fetched. The
library that draws stands in it compressed: 2.0 MB for the 4.8 of plotly.js, which the browser unpacks.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from harness.pipeline.evaluations import evaluation_with, headline
from harness.pipeline.evaluations.pair_accuracy import PairAccuracy
from harness.pipeline.evaluations.retention import Retention
from harness.report.axis_figures import axis_figures
from harness.report.board import NOT_ASKED, Board, Row
from harness.report.collect import ReportData
from harness.report.comparison import TIED, Difference
from harness.report.figures import COLOURS, Figure, best_of_n_figure, loss_figures
from harness.report.joint import SEPARATOR
from harness.report.methods import levels
from harness.report.provenance import Origin, anchor
from harness.report.render import TEMPLATES, environment
from harness.report.retention_figures import retention_figures, retention_table
from harness.report.search_figures import search_figures
from harness.report.verdicts import Contrast
from harness.report.words import score

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
MIDDLE_DOT = "\N{MIDDLE DOT}"
BESIDE = {PairAccuracy.headline: "pairs", Retention.headline: "1/perplexity"}


def render_html(data: ReportData) -> str:
    """The whole page."""
    boards = data.overview.boards
    curves = {board.task: best_of_n_figure(board) for board in boards}
    losses = loss_figures(data.curves, [setting.name for setting in data.settings])
    searched = [(recipe, search, _of(recipe, search_figures(search))) for recipe, search in data.searched]
    along = [
        figure for recipe, own in data.recipes for figure in _of(recipe, axis_figures(own.overview.effects, own.axes))
    ]
    kept = retention_figures(boards)
    drawn = [figure for _, _, figures in searched for figure in figures]
    figures = [figure for figure in (*drawn, *along, *kept, *curves.values(), *losses) if figure is not None]
    script = _script((TEMPLATES / "report.js").read_text("utf-8"))
    jinja = environment(escape=True)
    limits = {board.task: _limit_of(board) for board in boards}
    found = data.overview.findings
    jinja.globals.update(
        anchor=anchor,
        beside=_beside,
        colours=COLOURS,
        around=around,
        distance=_distance,
        limits=limits,
        missing=_missing,
        not_asked=NOT_ASKED,
    )
    return jinja.get_template("report.html").render(
        data=data,
        boards=boards,
        glance=_glance(boards),
        findings=[one for one in found if one.tested],
        untested=[one for one in found if not one.tested],
        claims_limit=_limit(one.difference for finding in found for one in finding.results),
        level=levels(one for board in boards for row in board.rows for one in row.estimates.values()),
        curves=curves,
        losses=losses,
        along=along,
        kept=kept,
        retention=retention_table(boards),
        searched=searched,
        plots={figure.title: json_for_script(figure.plot) for figure in figures},
        figure_ids={figure.title: f"figure-{index}" for index, figure in enumerate(figures)},
        library=_packed_library() if figures else "",
        script=script,
        policy=_policy([script, *([get_plotlyjs()] if figures else [])]),
        facts={one.name: one for one in data.settings},
        index={one.name: index for index, one in enumerate(data.settings)},
        origins=[_short(origin) for origin in data.origins],
        filters=json_for_script(_filters(data)) if len(data.axes) > 1 else "",
        style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
    )


def _of(recipe: str, figures: Iterable[Figure]) -> list[Figure]:
    """The figures with their recipe's name before their titles, if there is one."""
    return [replace(one, title=f"{recipe}{SEPARATOR}{one.title}") if recipe else one for one in figures]


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


def _missing(row: Row, metric: str) -> str:
    """Why a cell of a board is empty: in plain ink where nobody asked for a number."""
    gap = row.gaps.get(evaluation_with(metric).name, "")
    return gap if not gap or gap.startswith(NOT_ASKED) else f"missing: {gap}"


def _beside(board: Board, row: Row) -> str:
    """What the board over all tasks says of a row on one beside its main number."""
    place = str(row.places.get(board.main, ""))
    told = [place if place in ("", TIED) else f"order {place}"]
    headroom = {metric: "headroom" for metric in board.details if metric.startswith("headroom")}
    for metric, name in (headroom | BESIDE).items():
        if metric != headline(board.main) and metric in row.estimates:
            told.append(f"{name} {score(row.estimates[metric].estimate)}")
    return f" {MIDDLE_DOT} ".join(filter(None, told))


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


@dataclass(frozen=True, kw_only=True)
class ShortOrigin:
    """An origin as the page shows it: each chain as a line that ends where a line above goes on alike."""

    task: str
    row: str
    anchor: str
    chains: tuple[str, ...]


def _short(origin: Origin) -> ShortOrigin:
    known, chains = set[str](), list[str]()
    for chain in origin.chains:
        names: list[str] = []
        for link in chain:
            names.append(link.name if link.state == "done" else f"{link.name} ({link.state})")
            if link.name in known:
                if link is not chain[-1]:
                    names.append(ELLIPSIS)
                break
            known.add(link.name)
        chains.append(" \N{LEFTWARDS ARROW} ".join(names))
    return ShortOrigin(task=origin.task, row=origin.row, anchor=origin.anchor, chains=tuple(chains))


def json_for_script(data: Mapping[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in, whatever its strings hold."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _script(source: str) -> Markup:
    assert "</script" not in source.lower()
    return Markup(source)


@functools.cache
def _packed_library() -> str:
    """plotly.js, gzip in base64; the same bytes on every run."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode()


def _policy(scripts: Iterable[str]) -> str:
    hashed = (base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode() for text in scripts)
    digests = " ".join(f"'sha256-{digest}'" for digest in hashed)
    return f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:"


def _filters(data: ReportData) -> dict[str, Any]:
    """The axes, and where each setting lies on them, by its place in the plan."""
    axes = [
        {"name": axis.name, "label": axis.label, "values": [[one.name, one.label] for one in axis.values]}
        for axis in data.axes
    ]
    return {"axes": axes, "settings": [dict(setting.axes) for setting in data.settings]}

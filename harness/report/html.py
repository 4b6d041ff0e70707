"""The page: one file that needs nothing else, from `ReportData`. Everything that came from outside is escaped.

Only this file's own scripts may run (a content security policy names their digests), and nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from harness.report import words
from harness.report.board import HEADLINE, Board, Row
from harness.report.collect import ReportData
from harness.report.figures import COLOURS, best_of_n_figure, loss_figures
from harness.report.methods import levels
from harness.report.provenance import anchor

TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
    """Jinja with the report's words; an unknown name in a template is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("score", "signed", "interval", "signed_interval", "metric_label", "listing"):
        made.filters[name] = getattr(words, name)
    made.globals.update(
        anchor=anchor, headline=HEADLINE, few_seeds=words.FEW_SEEDS, verdicts=words.VERDICTS, colours=COLOURS
    )
    return made


def render_html(data: ReportData) -> str:
    """The whole page."""
    settings = [setting.name for setting in data.settings]
    views = [BoardView(board, index) for index, board in enumerate(data.overview.boards)]
    curves = {board.task: best_of_n_figure(board) for board in data.overview.boards}
    losses = loss_figures(data.curves, settings)
    figures = [figure for figure in (*curves.values(), *losses) if figure is not None]
    scripts = {"plotly": _script(get_plotlyjs()), "page": _script((TEMPLATES / "report.js").read_text("utf-8"))}
    if not figures:
        del scripts["plotly"]
    return (
        environment()
        .get_template("report.html")
        .render(
            data=data,
            boards=views,
            glance=_glance(views),
            level=levels(one for board in data.overview.boards for row in board.rows for one in row.estimates.values()),
            curves=curves,
            losses=losses,
            plots={figure.title: json_for_script(figure.plot) for figure in figures},
            figure_ids={figure.title: f"figure-{index}" for index, figure in enumerate(figures)},
            scripts=scripts,
            policy=_policy(scripts),
            style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
        )
    )


class BoardView:
    """A board as the template walks over it: groups of rows, and positions in per cent of the shared 0 to 1 axis."""

    def __init__(self, board: Board, index: int) -> None:
        self.board = board
        self.index = index
        self.has_pool = "best_of_n" in board.evaluations
        self.main = "best_of_n" if self.has_pool else "pair_accuracy"
        self.main_metric = HEADLINE[self.main]
        numbered = list(enumerate(board.rows))
        self.groups = [
            [(at, row) for at, row in numbered if row.is_setting],
            [(at, row) for at, row in numbered if not (row.is_setting or row.is_reference)],
            [(at, row) for at, row in numbered if row.is_reference],
        ]
        self.shallow = self._shallow()
        self.shallow_names = next((row.above[self.main].references for row in board.rows if self.main in row.above), ())
        self.has_places = any(row.places for row in board.rows)
        self.has_differences = any(row.differences for row in board.rows)
        wrong = ("right_over_wrong", "right_over_wrong_seen", "right_over_wrong_unseen")
        self.wrong_metrics = [metric for metric in wrong if any(metric in row.estimates for row in board.rows)]

    @property
    def metrics(self) -> list[str]:
        """The columns of numbers, the main one first."""
        if not self.has_pool:
            return [self.main_metric]
        more = ["pair_accuracy"] if "pair_accuracy" in self.board.evaluations else []
        curve = [f"bon@{self.board.key_size}"] if self.board.key_size else []
        return [*([self.main_metric] if self.board.area_sizes or not curve else []), *curve, *more]

    @staticmethod
    def evaluation(metric: str) -> str:
        """Which evaluation a metric belongs to."""
        return "pair_accuracy" if metric == "pair_accuracy" else "best_of_n"

    def marked(self, metric: str) -> bool:
        """Whether a metric is a point beyond a quarter of the pool."""
        return metric == f"bon@{self.board.key_size}" and self.board.overlaps(self.board.key_size)

    def comparisons(self) -> list[tuple[Row, str]]:
        """(setting or row from outside, evaluation) with something to compare."""
        return [
            (row, evaluation)
            for row in self.board.compared
            for evaluation in self.board.evaluations
            if evaluation in row.places or evaluation in row.above or evaluation in row.differences
        ]

    def _shallow(self) -> float | None:
        """The best shallow reference's estimate on the main metric, the line that settings have to pass."""
        found = [row.above[self.main].reference_estimate for row in self.board.settings if self.main in row.above]
        return max(found) if found else None

    @staticmethod
    def percent(value: float) -> str:
        return f"{100 * min(1.0, max(0.0, value)):.2f}%"


GlanceRow = tuple[int, tuple[Row, list[tuple[Row | None, BoardView]]]]


def _glance(views: list[BoardView]) -> list[list[GlanceRow]]:
    """All kinds of rows over all tasks: (position, (a row for its name, its row on each task)).

    Empty where there is one task only, whose own leaderboard says it all, or nothing is compared yet.
    """
    if len(views) < 2 or not any(row.estimates for view in views for row in view.board.rows):
        return []
    found: dict[tuple[str, str], tuple[Row, list[tuple[Row | None, BoardView]]]] = {}
    for at, view in enumerate(views):
        for row in view.board.rows:
            empty: list[tuple[Row | None, BoardView]] = [(None, other) for other in views]
            found.setdefault((row.kind, row.name), (row, empty))[1][at] = (row, view)
    rows = list(enumerate(found.values()))
    kinds = list(dict.fromkeys((row.is_setting, row.is_reference) for _, (row, _) in rows))
    return [[one for one in rows if (one[1][0].is_setting, one[1][0].is_reference) == kind] for kind in kinds]


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

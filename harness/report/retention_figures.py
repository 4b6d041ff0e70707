"""Retention against reward: what PMP gains as a reward model beside what it costs as a language model."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from harness.pipeline.evaluations import evaluation_named, headline, metric_label
from harness.pipeline.evaluations.retention import LmEval, Retention
from harness.report.board import Board
from harness.report.comparison import Estimate
from harness.report.facts import Facts
from harness.report.figures import GREY, MOST_LINES, Figure, LegendEntry, colour, plain_plot, setting_group
from harness.report.words import NO_SPREAD

Axis = tuple[Board, str]
"""A board, and one of its metrics."""

KEPT = (Retention.name, LmEval.name)
MOST_FIGURES = 6
"""Every task against every kind of retention would be dozens; the table has all of them."""


def axes_of(boards: Iterable[Board]) -> tuple[list[Axis], list[Axis]]:
    """What is judged by rewards, and what is retained: headlines that some setting has."""
    rewarded, kept = list[Axis](), list[Axis]()
    for board in boards:
        names = [name for name in board.evaluations if any(headline(name) in row.estimates for row in board.settings)]
        kept += [(board, headline(name)) for name in names if name in KEPT]
        rewarded += [(board, headline(name)) for name in names if evaluation_named(name).rewards][:1]
    return rewarded, kept


def retention_table(boards: Sequence[Board]) -> Facts:
    """A row a setting; no row where nothing is retained or rewarded."""
    rewarded, kept = axes_of(boards)
    columns = [*rewarded, *kept] if rewarded and kept else []
    names = dict.fromkeys(row.name for board, _ in columns for row in board.settings)
    found = {name: [_of(axis, name) for axis in columns] for name in names}
    return Facts(
        title="Retention against reward",
        columns=("setting", *(f"{board.title}: {metric_label(metric)}" for board, metric in columns)),
        rows=tuple((name, *map(_cell, cells)) for name, cells in found.items() if any(cells)),
        note="Retention is judged after PMP and before fine-tuning, rewards of reasoning tasks after it. A setting "
        "without PMP has the retention of its base model: a setting below it has paid for PMP as a language model.",
    )


def retention_figures(boards: Sequence[Board]) -> list[Figure]:
    """A figure a judged task and kind of retention, a point a setting; [] without retention."""
    rewarded, kept = axes_of(boards)
    found = [_figure(reward, retained) for retained in kept for reward in rewarded]
    return [figure for figure in found if figure is not None][:MOST_FIGURES]


def _figure(reward: Axis, retained: Axis) -> Figure | None:
    title = f"{_title(retained)} against {_title(reward)}"
    figure, legend = go.Figure(), []
    for index, row in enumerate(reward[0].settings[:MOST_LINES]):
        x, y = _of(reward, row.name), _of(retained, row.name)
        if x is None or y is None:
            continue
        hue, group = GREY if row.retracted else colour(index), setting_group(index)
        figure.add_scatter(
            x=[x.estimate],
            y=[y.estimate],
            error_x=_bar(x, hue),
            error_y=_bar(y, hue),
            name=html.escape(row.label),
            mode="markers",
            marker={"color": hue, "size": 9},
            hovertemplate="%{x:.3f}, %{y:.3g}",
            legendgroup=group,
        )
        legend.append(LegendEntry(label=row.label, group=group, colour=hue, dash="solid"))
    if len(legend) < 2:
        return None
    figure.update_layout(
        xaxis={"title": {"text": _title(reward)}},
        yaxis={"title": {"text": metric_label(retained[1])}, "rangemode": "tozero"},
    )
    plot = plain_plot(figure)
    plot["layout"]["hovermode"] = "closest"
    return Figure(
        title=title,
        caption="Bars: intervals of both. Right: a better judge; up: a better language model.",
        description=f"{title} for {len(legend)} settings.",
        plot=plot,
        legend=tuple(legend),
    )


def _of(axis: Axis, name: str) -> Estimate | None:
    board, metric = axis
    row = next((one for one in board.settings if one.name == name), None)
    return None if row is None else row.estimates.get(metric)


def _title(axis: Axis) -> str:
    return f"{axis[0].title}: {metric_label(axis[1])}"


def _cell(one: Estimate | None) -> str:
    """Three digits that count: one over a perplexity is small."""
    if one is None:
        return ""
    estimate, low, high = (f"{value:#.3g}".rstrip(".") for value in (one.estimate, one.low, one.high))
    return f"{estimate} " + (f"[{low}, {high}]" if one.low < one.high else NO_SPREAD)


def _bar(one: Estimate, hue: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [one.high - one.estimate],
        "arrayminus": [one.estimate - one.low],
        "thickness": 1,
        "width": 0,
        "color": hue,
    }

"""Figures as plotly JSON. Colours are CSS variables, which the page resolves for light and dark."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from harness.pipeline.evaluations.best_of_n import BEST_OF_N, best_of, size_of
from harness.report.board import Board, Row
from harness.report.comparison import Estimate
from harness.report.curves import BASE, FINETUNE, PMP, Curve, of_phase
from harness.report.facts import Facts
from harness.report.methods import levels
from harness.report.words import RETRACTED, interval, plural, score

COLOURS = 8
DASHES = ("solid", "dash", "dot")
MOST_LINES = COLOURS * len(DASHES)
"""Settings drawn in one figure: beyond, lines can no longer be told apart. The tables hold all of them."""

MOST_BANDS = COLOURS
"""Beyond as many settings their bands would cover each other; the intervals are in the table."""

REFERENCE_DASHES = {
    "mean": "dot",
    "majority": "dashdot",
    "shortest": "dot",
    "longest": "dot",
    "length": "dash",
    "ngrams": "longdash",
    "prompt_overlap": "longdash",
    "source_prior": "dashdot",
    "logprob": "longdash",
    "oracle": "solid",
}
GREY = "var(--ink-faint)"
"""Of what is retracted."""

CHANCE_LOSS = math.log(2)
"""-log sigmoid(0): the Bradley-Terry loss of a scorer that tells no two texts apart."""

LOSS_NAMES = {"loss_rm": "reward-model loss", "loss_lm": "language-model loss"}
CURVE_TITLES = {
    (BASE, "loss_lm"): "Base model: language-model loss",
    (PMP, "loss_rm"): "PMP: reward-model loss",
    (PMP, "loss_lm"): "PMP: language-model loss",
    (FINETUNE, "loss_rm"): "Fine-tuning: reward-model loss",
    (FINETUNE, "loss_lm"): "Fine-tuning: language-model loss",
}


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """A line of a figure: `group` switches it, `colour` and `dash` draw its sample."""

    label: str
    group: str
    colour: str
    dash: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure for the page; `numbers` is what it shows, as a table, where it is small enough to read."""

    title: str
    caption: str
    description: str
    plot: dict[str, Any]
    legend: tuple[LegendEntry, ...]
    numbers: Facts | None = None


def colour(index: int) -> str:
    return f"var(--series-{index % COLOURS + 1})"


def _band(index: int) -> str:
    return f"var(--band-{index % COLOURS + 1})"


def _dash(index: int) -> str:
    return DASHES[index // COLOURS % len(DASHES)]


# --------------------------------------------------------------------------------------------- Best-of-N


def best_of_n_figure(board: Board) -> Figure | None:
    """Best-of-N against N with interval bands, arms and references; None where nothing is done."""
    drawn = [row for row in board.rows if _curve(row)]
    arms = [row for row in drawn if row.is_setting]
    references = [row for row in drawn if not row.is_setting]
    if not drawn:
        return None
    figure, legend = go.Figure(), []
    order = {row.name: index for index, row in enumerate(board.settings)}
    for row in references:
        _reference_line(figure, row)
        dash = REFERENCE_DASHES.get(row.name, "dash")
        legend.append(LegendEntry(label=row.label, group=_group(row), colour="var(--reference)", dash=dash))
    arm_legend = []
    for row in arms[:MOST_LINES]:
        index = order[row.name]
        if len(arms) <= MOST_BANDS and not row.retracted.get(BEST_OF_N.name):
            _band_of(figure, row, index)
        hue, label = (
            (GREY, f"{row.label} ({RETRACTED})") if row.retracted.get(BEST_OF_N.name) else (colour(index), row.label)
        )
        _arm_line(figure, board, row, index, hue)
        arm_legend.append(LegendEntry(label=label, group=f"arm-{index}", colour=hue, dash=_dash(index)))
    low, high = _range(arms or references, references)
    figure.update_layout(
        xaxis={
            "type": "log",
            "title": {"text": "N, candidates to choose from"},
            "tickvals": list(board.sizes),
            "ticktext": [f"{size}{board.mark(best_of(size))}" for size in board.sizes],
        },
        yaxis={"title": {"text": "Best-of-N accuracy"}, "range": [low, high], "tickformat": ".2~f"},
    )
    level = levels(one for row in drawn for one in row.estimates.values())
    bands = f"Bands: intervals of the settings ({level}); those of the references are in the table."
    notes = [bands if len(arms) <= MOST_BANDS else "Intervals are in the table, not drawn for so many settings."]
    if low > 0:
        notes.append(f"The vertical axis begins at {low:.1f}, not at 0.")
    if any(board.overlaps(size) for size in board.sizes):
        notes.append("† N above a quarter of the pool: open markers, not in the BoN area.")
    if len(arms) > MOST_LINES:
        notes.append(f"{plural(len(arms) - MOST_LINES, 'further setting is', 'further settings are')} not drawn.")
    return Figure(
        title=f"Best-of-N on {board.title}",
        caption=" ".join(notes),
        description=f"Best-of-N accuracy on {board.title} against N for {len(arms)} settings and the references.",
        plot=plain_plot(figure),
        legend=(*arm_legend, *legend),
        numbers=_curve_numbers(board, drawn),
    )


def _group(row: Row) -> str:
    """What switches a line that is no setting's."""
    return f"{row.kind}-{row.name}"


def _curve(row: Row) -> dict[int, Estimate]:
    """{N: Best-of-N} of a row, by N."""
    found = {size: one for metric, one in row.estimates.items() if (size := size_of(metric)) is not None}
    return dict(sorted(found.items()))


def _band_of(figure: go.Figure, row: Row, index: int) -> None:
    sizes, estimates = list(_curve(row)), list(_curve(row).values())
    figure.add_scatter(
        x=[*sizes, *reversed(sizes)],
        y=[*(one.high for one in estimates), *(one.low for one in reversed(estimates))],
        fill="toself",
        fillcolor=_band(index),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        legendgroup=f"arm-{index}",
    )


def _arm_line(figure: go.Figure, board: Board, row: Row, index: int, hue: str) -> None:
    sizes, estimates = list(_curve(row)), list(_curve(row).values())
    figure.add_scatter(
        x=sizes,
        y=[one.estimate for one in estimates],
        name=html.escape(row.label),
        mode="lines+markers",
        line={"color": hue, "dash": _dash(index), "width": 2},
        marker={
            "size": 7,
            "symbol": ["circle-open" if board.overlaps(size) else "circle" for size in sizes],
            "color": hue,
        },
        customdata=[[one.low, one.high] for one in estimates],
        hovertemplate="N = %{x}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
        legendgroup=f"arm-{index}",
    )


def _reference_line(figure: go.Figure, row: Row) -> None:
    curve = _curve(row)
    figure.add_scatter(
        x=list(curve),
        y=[one.estimate for one in curve.values()],
        name=html.escape(row.label),
        mode="lines",
        line={"color": "var(--reference)", "dash": REFERENCE_DASHES.get(row.name, "dash"), "width": 1.5},
        hovertemplate="N = %{x}: %{y:.3f}",
        legendgroup=_group(row),
    )


def _range(arms: Sequence[Row], references: Sequence[Row]) -> tuple[float, float]:
    """A whole-tenth range around every band and reference."""
    bands = [one for row in arms for one in _curve(row).values()]
    lines = [one for row in references for one in _curve(row).values()]
    lowest = min([one.low for one in bands] + [one.estimate for one in lines])
    highest = max([one.high for one in bands] + [one.estimate for one in lines])
    low = max(0, int(lowest * 10 - 0.2))
    high = min(10, int(highest * 10 + 1.2))
    return low / 10, high / 10


def kl_of_best(size: int) -> float:
    """KL divergence of Best-of-N's pick from one draw, in nats: ln N - (N - 1) / N.

    What over-optimisation is told against (Gao, Schulman and Hilton 2023, arXiv 2210.10760, section 2). Exact for
    continuous rewards, an upper bound where they tie (Beirami et al. 2024, arXiv 2401.01879).
    """
    return math.log(size) - (size - 1) / size


def _curve_numbers(board: Board, rows: Sequence[Row]) -> Facts:
    def cell(row: Row, size: int) -> str:
        found = row.estimates.get(best_of(size))
        return f"{score(found.estimate)} {interval(found.low, found.high)}" if found else ""

    return Facts(
        title=f"Best-of-N on {board.title}",
        columns=("", *(f"N = {size}{board.mark(best_of(size))}" for size in board.sizes)),
        rows=(
            ("KL from one draw, nats", *(f"{kl_of_best(size):.2f}" for size in board.sizes)),
            *((row.label, *(cell(row, size) for size in board.sizes)) for row in rows),
        ),
    )


# ------------------------------------------------------------------------------------------------- losses


def loss_figures(curves: Sequence[Curve], settings: Sequence[str]) -> list[Figure]:
    """A figure a phase and loss; seeds of a setting share its colour."""
    figures = []
    for (phase, metric), title in CURVE_TITLES.items():
        chosen = of_phase(curves, phase, metric)
        if chosen:
            figures.append(_loss_figure(title, metric, chosen, settings))
    return figures


def _loss_figure(title: str, metric: str, curves: Sequence[Curve], settings: Sequence[str]) -> Figure:
    figure, legend = go.Figure(), {}
    names = list(dict.fromkeys(curve.setting for curve in curves))
    for curve in curves:
        if curve.setting not in names[:MOST_LINES]:
            continue
        index = settings.index(curve.setting) if curve.setting in settings else 0
        hue = colour(index) if curve.setting in settings else "var(--ink-soft)"
        hue = GREY if curve.retracted else hue
        group = f"arm-{index}"
        figure.add_scatter(
            x=curve.steps,
            y=curve.values,
            name=html.escape(", ".join(filter(None, (curve.setting, curve.seed)))),
            mode="lines",
            line={"color": hue, "dash": _dash(index), "width": 1.5},
            hovertemplate="step %{x}: %{y:.3f}",
            legendgroup=group,
        )
        legend[curve.setting] = LegendEntry(label=curve.setting, group=group, colour=hue, dash=_dash(index))
    if metric == "loss_rm":
        figure.add_hline(y=CHANCE_LOSS, line={"color": "var(--reference)", "dash": "dot", "width": 1})
    figure.update_layout(
        xaxis={"title": {"text": "step"}, "rangemode": "tozero"}, yaxis={"title": {"text": LOSS_NAMES[metric]}}
    )
    notes = ["Single batches, not smoothed; one line for each seed."]
    if metric == "loss_rm":
        notes.append(
            f"Dotted: {CHANCE_LOSS:.3f}, the loss of a scorer that tells no two texts apart (without a margin)."
        )
    if len(names) > MOST_LINES:
        notes.append(f"{plural(len(names) - MOST_LINES, 'further setting is', 'further settings are')} not drawn.")
    return Figure(
        title=title,
        caption=" ".join(notes),
        description=f"{title} against training step, {plural(len(curves), 'run')}.",
        plot=plain_plot(figure),
        legend=tuple(legend.values()) if len(legend) > 1 else (),
    )


def plain_plot(figure: go.Figure) -> dict[str, Any]:
    """Data and layout as plain JSON data, in the house style."""
    axis = {
        "gridcolor": "var(--rule)",
        "linecolor": "var(--rule-strong)",
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": "var(--rule-strong)",
        "automargin": True,
        "fixedrange": True,
    }
    figure.update_layout(
        template=None,
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "var(--ink-soft)", "size": 12},
        margin={"l": 52, "r": 12, "t": 8, "b": 44},
        hovermode="x unified",
        hoverlabel={"bgcolor": "var(--paper)", "bordercolor": "var(--rule-strong)", "font": {"color": "var(--ink)"}},
        dragmode=False,
    )
    figure.update_xaxes(axis)
    figure.update_yaxes(axis)
    made: dict[str, Any] = json.loads(figure.to_json())
    return {"data": made["data"], "layout": made["layout"]}

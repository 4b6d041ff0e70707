"""Figures as plotly JSON. Colours are CSS variables, which the page resolves for light and dark."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import plotly.graph_objects as go

from harness.pipeline.evaluations import headline, headline_label
from harness.pipeline.evaluations.best_of_n import BEST_OF_N, best_of, size_of
from harness.plan.rows import IMPORTED
from harness.report.board import Board, Row
from harness.report.comparison import Estimate
from harness.report.curves import BALANCE, BASE, FINETUNE, MOST_SETTINGS, PMP, Curve, of_phase
from harness.report.facts import Facts
from harness.report.methods import levels
from harness.report.words import RETRACTED, count, interval, listing, plural, score, share
from harness.training.monitor import DOMINANCE

COLOURS = 8
DASHES = ("solid", "dash", "dot")
MOST_LINES = COLOURS * len(DASHES)
"""Settings drawn in one figure: beyond, lines can no longer be told apart. The tables hold all of them."""

MOST_CURVES = 12
"""Settings drawn against N, each with its label at its end: more labels would not fit beside the figure."""

DRAWN_REFERENCES = ("mean", "majority")
"""Beside the best shallow reference. The oracle would push all else together; the numbers hold every reference."""

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

LOSS_NAMES = {
    "loss_rm": "reward-model loss",
    "loss_lm": "language-model loss",
    BALANCE: "gradient norm, RM loss / LM loss",
}
CURVE_TITLES = {
    (BASE, "loss_lm"): "Base model: language-model loss",
    (PMP, "loss_rm"): "PMP: reward-model loss",
    (PMP, "loss_lm"): "PMP: language-model loss",
    (PMP, BALANCE): "PMP: loss balance",
    (FINETUNE, "loss_rm"): "Fine-tuning: reward-model loss",
    (FINETUNE, "loss_lm"): "Fine-tuning: language-model loss",
    (FINETUNE, BALANCE): "Fine-tuning: loss balance",
}


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """A line of a figure.

    Attributes:
        group: what its button switches, and its focus brings forward.
        colour, dash: of its sample.
        end: where its label stands beside the figure, on the vertical axis; None where the legend stands above.
    """

    label: str
    group: str
    colour: str
    dash: str
    end: float | None = None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure for the page; `numbers` is what it shows, as a table, where it is small enough to read."""

    title: str
    caption: str
    description: str
    plot: dict[str, Any]
    legend: tuple[LegendEntry, ...]
    numbers: Facts | None = None

    @property
    def direct(self) -> bool:
        """Whether its lines carry their labels."""
        return any(entry.end is not None for entry in self.legend)


def colour(index: int) -> str:
    return f"var(--series-{index % COLOURS + 1})"


def _dash(index: int) -> str:
    return DASHES[index // COLOURS % len(DASHES)]


# --------------------------------------------------------------------------------------------- Best-of-N


def best_of_n_figure(board: Board) -> Figure | None:
    """Best-of-N against N, a line a setting and a few references; None where nothing is done.

    The page draws the interval of the one row that is looked at: bands of several would hide each other.
    """
    rows = [row for row in board.rows if _curve(row)]
    arms, compared = _drawn(board), [row for row in rows if row.is_setting]
    shown = {*DRAWN_REFERENCES, *([] if board.shallow is None else [board.shallow.reference])}
    references = [row for row in rows if row.kind == IMPORTED or (row.is_reference and {row.name, row.label} & shown)]
    if not rows:
        return None
    figure, legend = go.Figure(), []
    order = {row.name: index for index, row in enumerate(board.settings)}
    for row in references:
        _reference_line(figure, row)
        dash = REFERENCE_DASHES.get(row.name, "dash")
        legend.append(
            LegendEntry(label=row.label, group=_group(row), colour="var(--reference)", dash=dash, end=_end(row))
        )
    for row in arms:
        index = order[row.name]
        doubtful = bool(row.retracted.get(BEST_OF_N.name))
        hue, label = (GREY, f"{row.label} ({RETRACTED})") if doubtful else (colour(index), row.label)
        _arm_line(figure, board, row, index, hue)
        legend.append(
            LegendEntry(label=label, group=setting_group(index), colour=hue, dash=_dash(index), end=_end(row))
        )
    drawn = [*arms, *references]
    low, high = _range(drawn)
    figure.update_layout(
        xaxis={
            "type": "log",
            "title": {"text": "N, candidates to choose from"},
            "tickvals": list(board.sizes),
            "ticktext": [f"{size}{board.mark(best_of(size))}" for size in board.sizes],
        },
        yaxis={"title": {"text": "Best-of-N accuracy"}, "range": [low, high], "tickformat": ".2~f"},
    )
    level = levels(one for row in rows for one in row.estimates.values())
    notes = [f"Point at a line, or move to its label with the keyboard, for its interval ({level})."]
    if low > 0:
        notes.append(f"The vertical axis begins at {low:.1f}, not at 0.")
    if any(board.overlaps(size) for size in board.sizes):
        notes.append("† N above a quarter of the pool: open markers, not in the BoN area.")
    if len(arms) < len(compared):
        notes.append(
            f"Of {len(compared)} settings {board.baseline} and the {len(arms) - 1} highest by "
            f"{headline_label(board.main)} are drawn."
        )
    left = [row.label for row in rows if row.is_reference and row not in references]
    notes += [f"Not drawn: {listing(left)}; the numbers below hold all rows."] if left else []
    plot = plain_plot(figure)
    plot["layout"]["hovermode"] = "closest"  # of one line, as is its interval
    return Figure(
        title=f"Best-of-N on {board.title}",
        caption=" ".join(notes),
        description=f"Best-of-N accuracy on {board.title} against N for {plural(len(arms), 'setting')} and "
        f"{plural(len(references), 'reference')}.",
        plot=plot,
        legend=tuple(sorted(legend, key=lambda entry: -(entry.end or 0.0))),
        numbers=_curve_numbers(board, rows),
    )


def _drawn(board: Board) -> list[Row]:
    """The settings with a curve, in their order; of many the baseline and those with the highest main metric."""
    rows = [row for row in board.settings if _curve(row)]
    metric = headline(board.main)

    def standing(row: Row) -> tuple[bool, float]:
        found = row.estimates.get(metric) or list(_curve(row).values())[-1]
        return row.name == board.baseline, found.estimate

    chosen = sorted(rows, key=standing, reverse=True)[:MOST_CURVES]
    return [row for row in rows if row in chosen]


def setting_group(index: int) -> str:
    """What switches the lines of a setting, by its place in the plan, in every figure."""
    return f"setting-{index}"


def _end(row: Row) -> float:
    return list(_curve(row).values())[-1].estimate


def _group(row: Row) -> str:
    """What switches a line that is no setting's."""
    return f"{row.kind}-{row.name}"


def _curve(row: Row) -> dict[int, Estimate]:
    """{N: Best-of-N} of a row, by N."""
    found = {size: one for metric, one in row.estimates.items() if (size := size_of(metric)) is not None}
    return dict(sorted(found.items()))


def _arm_line(figure: go.Figure, board: Board, row: Row, index: int, hue: str) -> None:
    sizes, estimates = list(_curve(row)), list(_curve(row).values())
    figure.add_scatter(
        x=sizes,
        y=[one.estimate for one in estimates],
        name=html.escape(row.label),
        mode="lines+markers",
        line={"color": hue, "dash": _dash(index), "width": 1.25},
        marker={
            "size": 5,
            "symbol": ["circle-open" if board.overlaps(size) else "circle" for size in sizes],
            "color": hue,
        },
        customdata=[[one.low, one.high] for one in estimates],
        hovertemplate="N = %{x}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
        legendgroup=setting_group(index),
    )


def _reference_line(figure: go.Figure, row: Row) -> None:
    curve = _curve(row)
    figure.add_scatter(
        x=list(curve),
        y=[one.estimate for one in curve.values()],
        name=html.escape(row.label),
        mode="lines",
        line={"color": "var(--reference)", "dash": REFERENCE_DASHES.get(row.name, "dash"), "width": 1.25},
        customdata=[[one.low, one.high] for one in curve.values()],
        hovertemplate="N = %{x}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
        legendgroup=_group(row),
    )


def _range(rows: Sequence[Row]) -> tuple[float, float]:
    """A whole-tenth range around every interval."""
    points = [one for row in rows for one in _curve(row).values()]
    low, high = min(one.low for one in points), max(one.high for one in points)
    return math.floor(low * 10) / 10, max(math.ceil(high * 10), math.floor(low * 10) + 1) / 10


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
    for curve in curves:
        index = settings.index(curve.setting) if curve.setting in settings else 0
        hue = colour(index) if curve.setting in settings else "var(--ink-soft)"
        hue = GREY if curve.retracted else hue
        group = setting_group(index) if curve.setting in settings else "base"
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
        xaxis={"title": {"text": "step"}, "rangemode": "tozero"},
        yaxis={"title": {"text": LOSS_NAMES[metric]}, "type": "log" if metric == BALANCE else "linear"},
    )
    notes = ["Single batches, not smoothed; one line for each seed."]
    if metric == BALANCE:
        for level in (1 / DOMINANCE, DOMINANCE):
            figure.add_hline(y=level, line={"color": "var(--reference)", "dash": "dot", "width": 1})
        notes.append(
            f"Above 1 the RM loss moves the weights more, below 1 the LM loss. Dotted: {DOMINANCE:g} times either way, "
            "where the other loss hardly moves anything."
        )
    if metric == "loss_rm":
        notes.append(
            f"Dotted: {CHANCE_LOSS:.3f}, the loss of a scorer that tells no two texts apart (without a margin)."
        )
    if len(settings) > MOST_SETTINGS:
        notes.append(f"Of {len(settings)} settings the first {MOST_SETTINGS} are drawn.")
    return Figure(
        title=title,
        caption=" ".join(notes),
        description=f"{title} against training step, {plural(len(curves), 'run')}.",
        plot=plain_plot(figure),
        legend=tuple(legend.values()) if len(legend) > 1 else (),
        numbers=balance_table(curves, title) if metric == BALANCE else None,
    )


def balance_table(curves: Sequence[Curve], title: str) -> Facts:
    """What the balance was over a phase, a row a setting, over the measurements of all its seeds."""
    found: dict[str, list[float]] = {}
    for curve in curves:
        found.setdefault(curve.setting, []).extend(curve.values)
    return Facts(
        title=title,
        columns=("setting", "measured", "median", "lowest", "highest", f"beyond {DOMINANCE:g} times"),
        rows=tuple(
            (
                name,
                count(len(values)),
                *(f"{value:.3g}" for value in (median(values), min(values), max(values))),
                share(sum(not 1 / DOMINANCE <= value <= DOMINANCE for value in values), len(values)),
            )
            for name, values in found.items()
        ),
        note="Norm of the RM loss's weighted gradient over that of the LM loss's, on single batches "
        "(runtime.loss_balance_every).",
    )


def balance_tables(curves: Sequence[Curve]) -> list[Facts]:
    """Those of every phase that has both losses."""
    titles = {phase: title for (phase, metric), title in CURVE_TITLES.items() if metric == BALANCE}
    found = [(of_phase(curves, phase, BALANCE), title) for phase, title in titles.items()]
    return [balance_table(chosen, title) for chosen, title in found if chosen]


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

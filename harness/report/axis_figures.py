"""Scores against a numeric axis: a figure for each axis, task and evaluation, and the law in words."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from harness.pipeline.evaluations import headline_label
from harness.plan.effects import parts_of
from harness.recipe.axes import Axis, short
from harness.report.effects import found_curves
from harness.report.facts import Facts
from harness.report.figures import MOST_LINES, Figure, LegendEntry, colour, plain_plot
from harness.report.words import plural, score, signed, signed_interval, task_title


def axis_figures(effects: Mapping[str, Any], axes: Iterable[Axis]) -> list[Figure]:
    """One figure for each numeric axis, task and evaluation; [] without such an axis."""
    known = {axis.name: axis for axis in axes}
    found: dict[tuple[str, str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for one in found_curves(effects):
        _, axis, arm, *_ = parts_of(one["key"])
        if axis in known:
            found.setdefault((axis, one["task"], one["evaluation"]), []).append((arm, one))
    return [_figure(known[axis], task, evaluation, curves) for (axis, task, evaluation), curves in found.items()]


def _figure(axis: Axis, task: str, evaluation: str, curves: Sequence[tuple[str, Mapping[str, Any]]]) -> Figure:
    figure, legend, notes = go.Figure(), [], []
    for index, (arm, curve) in enumerate(curves[:MOST_LINES]):
        name = arm or axis.label
        points, hue, group = curve["points"], colour(index), f"arm-{index}"
        figure.add_scatter(
            x=[point["x"] for point in points],
            y=[point["estimate"] for point in points],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [point["high"] - point["estimate"] for point in points],
                "arrayminus": [point["estimate"] - point["low"] for point in points],
                "thickness": 1,
                "color": hue,
            },
            name=html.escape(name),
            mode="markers" if curve["line"] else "lines+markers",
            marker={"color": hue, "size": 8},
            line={"color": hue, "width": 1.5},
            customdata=[[point["low"], point["high"]] for point in points],
            hovertemplate="%{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
            legendgroup=group,
        )
        if curve["line"]:
            figure.add_scatter(
                x=[x for x, _ in curve["line"]],
                y=[y for _, y in curve["line"]],
                mode="lines",
                line={"color": hue, "width": 1.5, "dash": "dot"},
                hoverinfo="skip",
                legendgroup=group,
            )
        legend.append(LegendEntry(label=name, group=group, colour=hue, dash="solid"))
        notes.append(_words(name, curve))
    title = f"{task_title(task)}: {headline_label(evaluation)} against {axis.label}"
    ticks = sorted({point["x"] for _, curve in curves for point in curve["points"]})
    figure.update_layout(
        xaxis={
            "type": "log" if axis.scale == "log" else "linear",
            "title": {"text": axis.label},
            "tickvals": ticks,
            "ticktext": [short(int(x) if x == int(x) else x) for x in ticks],
        },
        yaxis={"title": {"text": headline_label(evaluation)}},
    )
    beyond = plural(len(curves) - MOST_LINES, "further line is", "further lines are")
    notes += [f"{beyond} not drawn."] if len(curves) > MOST_LINES else []
    return Figure(
        title=title,
        caption=" ".join(["Bars: 95 % intervals. Dotted: logit(score) = a + b log2(x), fitted.", *notes]),
        description=f"{title} for {plural(len(curves), 'line')}.",
        plot=plain_plot(figure),
        legend=tuple(legend) if len(legend) > 1 else (),
        numbers=Facts(
            title=title,
            columns=("", *(short(int(x) if x == int(x) else x) for x in ticks)),
            rows=tuple((arm or axis.label, *_cells(curve["points"], ticks)) for arm, curve in curves),
        ),
    )


def _cells(points: Sequence[Mapping[str, Any]], ticks: Sequence[float]) -> list[str]:
    by_x = {point["x"]: point for point in points}
    return [score(by_x[x]["estimate"]) if x in by_x else "" for x in ticks]


def _words(name: str, curve: Mapping[str, Any]) -> str:
    law = curve["law"]
    if law is None:
        return f"{name}: no law ({curve['no_law']})."
    slope = law["points_per_doubling"]
    words = f"{name}: {slope['estimate']:+.2f} points a doubling"
    words += (
        f" [{slope['low']:+.2f}, {slope['high']:+.2f}], last point missed by {abs(law['holdout_error']):.2f} points"
    )
    late = law["late_minus_early"]
    if late is not None:
        words += f", late minus early slope {signed(late['estimate'])} {signed_interval(late['low'], late['high'])}"
    excluded = f"; {plural(law['excluded'], 'point')} inside the warm-up left out" if law["excluded"] else ""
    return f"{words}{excluded}{'; ' + law['lacking'] + ', so no claim' if law['lacking'] else ''}."

"""The figures of a search: history, importances, the loss balance, slices and the Pareto front."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from harness.plan.trials import ARM_NAMES
from harness.recipe.search import BALANCE, Choices, LogRatio, Parameter, Range, label_of
from harness.report.figures import GREY, Figure, LegendEntry, colour, plain_plot
from harness.report.methods import levels
from harness.report.search import SearchReport, complete, few_trials
from harness.report.words import plural
from harness.search.confirm import name_of
from harness.search.state import TrialState

MOST_DRAWN = 2_000
"""Trials in one figure, the first ones: more take megabytes and cover each other."""

MOST_SLICES = 24
"""Figures of one parameter each, those of the largest importance."""

SAMPLED, ARMS, FRONT, BEST = "sampled", "arms", "front", "best"
COLOURS = {SAMPLED: colour(0), ARMS: colour(1), FRONT: colour(2), BEST: "var(--ink-soft)"}
NAMES = {SAMPLED: "sampled", ARMS: "arms of the ablation", FRONT: "Pareto front", BEST: "best so far"}
MARGIN = 0.06
"""Of an axis' span, between what lies on it and what stands beside."""


def search_figures(search: SearchReport) -> list[Figure]:
    """All figures that there is something to show in; none before the first trial is complete."""
    done = complete(search.state)[:MOST_DRAWN]
    if not done:
        return []
    figures = [_history(search, at) for at in range(len(search.labels))]
    figures += [_importances(search)] if search.importances.rows else []
    slices = list(_slices(search, done))
    figures += slices[:MOST_SLICES]
    figures += [_front(search, done, at) for at in range(1, len(search.labels))]
    return figures


def _legend(*names: str) -> tuple[LegendEntry, ...]:
    return tuple(
        LegendEntry(label=NAMES[name], group=name, colour=COLOURS[name], dash="dot" if name == BEST else "solid")
        for name in names
    )


def _not_drawn(search: SearchReport) -> list[str]:
    more = len(complete(search.state)) - MOST_DRAWN
    return [f"{plural(more, 'later trial is', 'later trials are')} not drawn."] if more > 0 else []


def _span(values: Sequence[float]) -> float:
    return (max(values) - min(values)) or abs(max(values)) or 1.0


def _made(figure: go.Figure) -> dict[str, Any]:
    plot = plain_plot(figure)
    plot["layout"]["hovermode"] = "closest"
    return plot


def _level(search: SearchReport) -> str:
    return levels(one for many in search.intervals.values() for one in many if one is not None)


# ------------------------------------------------------------------------------------------------- history


def _history(search: SearchReport, at: int) -> Figure:
    state, label = search.state, search.labels[at]
    trials = [trial for trial in state.counted if trial.finished][:MOST_DRAWN]
    done = [trial for trial in trials if trial.values]
    values = [trial.values[at] for trial in done]
    best: list[float] = []
    for value in values:
        best.append(value if not best or state.better(value, best[-1], at) else best[-1])
    figure = go.Figure()
    figure.add_scatter(
        x=[trial.number for trial in done],
        y=best,
        mode="lines",
        line={"color": COLOURS[BEST], "dash": "dot", "width": 1.5, "shape": "hv"},
        hoverinfo="skip",
        legendgroup=BEST,
    )
    for group, symbol in ((SAMPLED, "circle"), (ARMS, "diamond")):
        mine = [trial for trial in done if bool(trial.arm) == (group == ARMS)]
        figure.add_scatter(
            x=[trial.number for trial in mine],
            y=[trial.values[at] for trial in mine],
            mode="markers",
            marker={"size": 8, "symbol": symbol, "color": COLOURS[group]},
            text=[html.escape(name_of(trial)) for trial in mine],
            hovertemplate="%{text}: %{y:.3f}<extra></extra>",
            legendgroup=group,
        )
    floor = min(values) - MARGIN * _span(values)
    notes = ["By number of the trial; parallel trials may end in another order."]
    for word, hue in (("pruned", GREY), ("failed", colour(4))):
        mine = [trial for trial in trials if trial.state == word]
        if mine:
            figure.add_scatter(
                x=[trial.number for trial in mine],
                y=[floor] * len(mine),
                mode="markers",
                marker={"size": 8, "symbol": "x-thin-open", "color": hue, "line": {"color": hue, "width": 2}},
                text=[html.escape(f"{name_of(trial)}: {trial.state}") for trial in mine],
                hovertemplate="%{text}<extra></extra>",
            )
            hint = "grey" if word == "pruned" else "red"
            notes.append(f"Crosses at the bottom in {hint}: {plural(len(mine), f'{word} trial')}, without a value.")
    figure.update_layout(xaxis={"title": {"text": "trial"}}, yaxis={"title": {"text": _short(label)}})
    return Figure(
        title=f"Search history: {label}",
        caption=" ".join([*notes, *_not_drawn(search)]),
        description=f"{label} of {plural(len(done), 'complete trial')} by number, and the best so far.",
        plot=_made(figure),
        legend=_legend(SAMPLED, *([ARMS] if any(trial.arm for trial in done) else []), BEST),
    )


def _short(label: str) -> str:
    """The metric of an objective, for an axis."""
    return html.escape(label.split(" on ")[0] + ", dev")


# --------------------------------------------------------------------------------------------- importances


def _importances(search: SearchReport) -> Figure:
    paths = [row[0] for row in reversed(search.importances.rows)]  # the largest on top
    figure = go.Figure()
    several = len(search.labels) > 1
    for at, shares in enumerate(search.state.importances):
        figure.add_bar(
            x=[shares.get(path, 0.0) for path in paths],
            y=[html.escape(path) for path in paths],
            orientation="h",
            marker={"color": colour(at)},
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
            legendgroup=f"objective-{at}",
        )
    figure.update_layout(
        xaxis={"title": {"text": "share of what decides the objective"}, "tickformat": ".0%", "rangemode": "tozero"}
    )
    entries = [
        LegendEntry(label=label, group=f"objective-{at}", colour=colour(at), dash="solid")
        for at, label in enumerate(search.labels)
    ]
    return Figure(
        title="Importances of parameters",
        caption=" ".join(filter(None, [few_trials(search.state), "By PED-ANOVA over complete trials."])),
        description=f"Importances of {plural(len(paths), 'parameter')} as bars.",
        plot=_made(figure),
        legend=tuple(entries) if several else (),
        numbers=search.importances,
    )


# -------------------------------------------------------------------------------------------------- slices


def _slices(search: SearchReport, done: Sequence[TrialState]) -> Iterator[Figure]:
    """The loss balances first, then by importance."""
    order = [row[0] for row in search.importances.rows]
    paths = sorted(search.space, key=lambda path: (not path.endswith(BALANCE), _rank(order, path)))
    for path in paths:
        mine = [trial for trial in done if path in trial.parameters]
        for at in range(len(search.labels)):
            if mine:
                yield _slice(search, mine, path, at)


def _rank(order: Sequence[str], path: str) -> int:
    return order.index(path) if path in order else len(order)


def _slice(search: SearchReport, trials: Sequence[TrialState], path: str, at: int) -> Figure:
    parameter, label = search.space[path], search.labels[at]
    figure, notes = go.Figure(), list[str]()
    for group in (SAMPLED, ARMS):
        mine = [trial for trial in trials if bool(trial.arm) == (group == ARMS)]
        xs = [_x(parameter, trial.parameters[path]) for trial in mine]
        _points(figure, search, mine, xs, at, group)
    axis: dict[str, Any] = {"title": {"text": html.escape(path)}}
    if isinstance(parameter, LogRatio):
        axis |= _ends(figure, search, parameter, at, notes)
    elif isinstance(parameter, Choices):
        names = [html.escape(str(label_of(choice))[:40]) for choice in parameter.choices]
        axis |= {"tickvals": list(range(len(names))), "ticktext": names, "range": [-0.5, len(names) - 0.5]}
    elif isinstance(parameter, Range) and parameter.log:
        axis |= {"type": "log", "exponentformat": "e"}
    figure.update_layout(xaxis=axis, yaxis={"title": {"text": _short(label)}})
    if any(search.intervals.values()):
        notes.append(f"Bars: {_level(search)} intervals; they do not cover the choice of the best among many.")
    if len(search.space) > 1:
        notes.append("Other parameters differ between the points.")
    drawn = complete(search.state) if isinstance(parameter, LogRatio) else trials  # with the ends of a balance
    arms = any(trial.arm for trial in drawn)
    title = f"Loss balance: {label}" if isinstance(parameter, LogRatio) else f"{path}: {label}"
    if isinstance(parameter, LogRatio) and sum(isinstance(one, LogRatio) for one in search.space.values()) > 1:
        title = f"Loss balance {path}: {label}"
    return Figure(
        title=title,
        caption=" ".join([*notes, *_not_drawn(search)]),
        description=f"{label} of {plural(len(trials), 'trial')} against {path}.",
        plot=_made(figure),
        legend=_legend(SAMPLED, ARMS) if arms else (),
    )


def _x(parameter: Parameter, value: Any) -> float:
    """Where a value stands: choices by their place in the recipe."""
    if isinstance(parameter, Choices):
        labels = [label_of(choice) for choice in parameter.choices]
        return labels.index(value) if value in labels else math.nan
    return float(value)


def _points(
    figure: go.Figure, search: SearchReport, trials: Sequence[TrialState], xs: Sequence[float], at: int, group: str
) -> None:
    figure.add_scatter(
        x=list(xs),
        y=[trial.values[at] for trial in trials],
        error_y=_bars(search, trials, at, COLOURS[group]),
        mode="markers",
        marker={"size": 8, "symbol": "diamond" if group == ARMS else "circle", "color": COLOURS[group]},
        text=[html.escape(name_of(trial)) for trial in trials],
        hovertemplate="%{text}: %{y:.3f}<extra></extra>",
        legendgroup=group,
    )


def _bars(search: SearchReport, trials: Sequence[TrialState], at: int, hue: str) -> dict[str, Any]:
    """Interval limits as plotly has them, from the value; none where a trial has no interval."""
    above, below = [], []
    for trial in trials:
        one = search.intervals.get(trial.number, (None,) * (at + 1))[at]
        above.append(0.0 if one is None else max(0.0, one.high - trial.values[at]))
        below.append(0.0 if one is None else max(0.0, trial.values[at] - one.low))
    shown = any(above) or any(below)
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "visible": shown,
        "thickness": 1,
        "width": 0,
        "color": hue,
    }


def _ends(figure: go.Figure, search: SearchReport, parameter: LogRatio, at: int, notes: list[str]) -> dict[str, Any]:
    """RM only and LM only beside the ends of the axis, no PMP as a line; arms that are missing are noted."""
    low, high = map(float, parameter.log_ratio)
    aside = 2 * MARGIN * ((high - low) or 1.0)
    places = {"rm_only": low - aside, "lm_only": high + aside}
    by_arm = {trial.arm: trial for trial in complete(search.state) if trial.arm}
    mine = [by_arm[arm] for arm in places if arm in by_arm]
    _points(figure, search, mine, [places[trial.arm] for trial in mine], at, ARMS)
    if "no_pmp" in by_arm:
        figure.add_hline(y=by_arm["no_pmp"].values[at], line={"color": GREY, "dash": "dash", "width": 1})
        notes.append("Dashed: no PMP.")
    notes.insert(0, "ln(w_lm / w_rm) with w_rm + w_lm = 2; 1:1 is 0.")
    for arm in places:
        name = ARM_NAMES[arm]
        if arm not in by_arm:
            why = search.state.left_out.get(name, "no such trial is complete")
            notes.append(f"{name} is not drawn: {why}.")
    ticks = sorted({low, low / 2, 0.0, high / 2, high}) if low <= 0 <= high else [low, high]
    shown = [*((places[arm], ARM_NAMES[arm]) for arm in places if arm in by_arm)]
    return {
        "title": {"text": "log ratio of the loss weights, LM over RM"},
        "tickvals": [*ticks, *(place for place, _ in shown)],
        "ticktext": [*(f"{tick:g}" for tick in ticks), *(name for _, name in shown)],
        "range": [low - 1.5 * aside, high + 1.5 * aside],
    }


# -------------------------------------------------------------------------------------------------- front


def _front(search: SearchReport, done: Sequence[TrialState], at: int) -> Figure:
    """The first objective against another."""
    first, other = search.labels[0], search.labels[at]
    numbers = set(search.state.best)
    figure = go.Figure()
    for group in (SAMPLED, ARMS, FRONT):
        mine = [
            trial for trial in done if (FRONT if trial.number in numbers else ARMS if trial.arm else SAMPLED) == group
        ]
        figure.add_scatter(
            x=[trial.values[0] for trial in mine],
            y=[trial.values[at] for trial in mine],
            error_x=_bars(search, mine, 0, COLOURS[group]),
            error_y=_bars(search, mine, at, COLOURS[group]),
            mode="markers",
            marker={"size": 8, "symbol": "diamond" if group == ARMS else "circle", "color": COLOURS[group]},
            text=[html.escape(name_of(trial)) for trial in mine],
            hovertemplate="%{text}: %{x:.3f}, %{y:.3f}<extra></extra>",
            legendgroup=group,
        )
    figure.update_layout(xaxis={"title": {"text": html.escape(first)}}, yaxis={"title": {"text": html.escape(other)}})
    notes = ["No other trial is at least as good on every objective and better on one than a trial of the front."]
    if not numbers:
        notes = ["The front is marked once all trials have ended."]
    elif len(search.labels) > 2:
        notes.append("The front is that of all objectives.")
    if any(search.intervals.values()):
        notes.append(f"Bars: {_level(search)} intervals of single trials; neighbours on the front may not differ.")
    return Figure(
        title=f"Pareto front: {first} and {other}",
        caption=" ".join([*notes, *_not_drawn(search)]),
        description=f"{first} against {other} of {plural(len(done), 'complete trial')}.",
        plot=_made(figure),
        legend=_legend(SAMPLED, ARMS, *([FRONT] if numbers else [])),
    )

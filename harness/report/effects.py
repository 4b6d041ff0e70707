"""Tables of what each axis does, from the effects stage: numbers and words only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.pipeline.evaluations import headline_label
from harness.plan.effects import parts_of
from harness.recipe.axes import ALSO, Axis
from harness.report.facts import Facts
from harness.report.verdicts import in_common
from harness.report.words import plural, signed, signed_interval, task_title

MOST_PAIRS = 12
"""Pairs of an effect that are shown one by one: beyond, nobody reads them."""


def effect_tables(effects: Mapping[str, Any], axes: Iterable[Axis]) -> tuple[Facts, ...]:
    """Marginal effects of the axes, alone and at each value of the others, interactions of two axes, and the samples
    that settings need."""
    labels = {axis.name: axis for axis in axes}
    found = [one for one in effects.get("contrasts", ()) if not one["why"]]
    of_axes = [one for one in found if parts_of(one["key"])[0] == "axis"]
    marginal = [_effect(one, labels) for one in of_axes]
    apart = [row for one in of_axes if 1 < len(one["pairs"]) <= MOST_PAIRS for row in _apart(one)]
    crossed = [_interaction(one, labels) for one in found if parts_of(one["key"])[0] == "interaction"]
    tables = [
        Facts(
            title="Effects of the axes",
            columns=("axis", "value", "task", "difference", "settings compared"),
            rows=tuple(marginal),
            words=(0, 1, 2),
            note="A value against the baseline's value of the same axis: paired differences between settings that are "
            "equal on all other axes, averaged. 95 % intervals, not corrected for how many there are." + _few(found),
        ),
        Facts(
            title="Effects of the axes, pair by pair",
            columns=("setting", "against", "task", "difference"),
            rows=tuple(apart),
            words=(0, 1, 2),
            note="The pairs that are averaged above. 95 % intervals, not corrected for how many there are.",
        ),
        Facts(
            title="Interactions of two axes",
            columns=("axes", "values", "task", "difference of differences", "cells compared"),
            rows=tuple(crossed),
            words=(0, 1, 2),
            note="By how much both changes together exceed the sum of either alone. An interval that excludes 0 means "
            "that one axis matters differently by the value of the other.",
        ),
    ]
    return tuple(table for table in (*tables, _efficiency(found_curves(effects), labels)) if table.rows)


def _few(found: Iterable[Mapping[str, Any]]) -> str:
    lacking = {one["lacking"] for one in found} - {""}
    return f" Settings with only {' or '.join(sorted(lacking))} claim nothing." if lacking else ""


def _effect(one: Mapping[str, Any], axes: Mapping[str, Axis]) -> tuple[str, ...]:
    _, axis, value, *_ = parts_of(one["key"])
    difference = _difference(one["mean"])
    return (_axis(axes, axis), _value(axes, axis, value), _on(one), difference, plural(len(one["pairs"]), "pair"))


def _apart(one: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(pair["more"][0], pair["less"][0], _on(one), _difference(pair)) for pair in one["pairs"]]


def _interaction(one: Mapping[str, Any], axes: Mapping[str, Axis]) -> tuple[str, ...]:
    _, first, second, value, other, *_ = parts_of(one["key"])
    names = f"{_axis(axes, first)} and {_axis(axes, second)}"
    values = f"{_value(axes, first, value)}, {_value(axes, second, other)}"
    return (names, values, _on(one), _difference(one["mean"]), str(len(one["pairs"])))


def _axis(axes: Mapping[str, Axis], name: str) -> str:
    return axes[name].label if name in axes else name


def _value(axes: Mapping[str, Axis], axis: str, name: str) -> str:
    found = axes[axis].value(name) if axis in axes else None
    return name if found is None else found.label


def _on(one: Mapping[str, Any]) -> str:
    return f"{task_title(one['task'])}, {headline_label(one['evaluation'])}"


def _difference(found: Mapping[str, Any]) -> str:
    return f"{signed(found['estimate'])} {signed_interval(found['low'], found['high'])}"


def found_curves(effects: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Curves along numeric axes that could be made."""
    return [one for one in effects.get("curves", ()) if not one["why"]]


def _efficiency(curves: Iterable[Mapping[str, Any]], axes: Mapping[str, Axis]) -> Facts:
    """How many times fewer fine-tuning samples a setting needs than one without PMP."""
    rows: list[tuple[str, ...]] = []
    for one in curves:
        _, axis, arm, *_ = parts_of(one["key"])
        if axis not in axes or not (one["efficiency"] or one["no_efficiency"]):
            continue
        against, _ = in_common([name.split(ALSO)[0] for name in one["baseline"]])
        where = (arm, against, f"{task_title(one['task'])}, {headline_label(one['evaluation'])}")
        if one["efficiency"] is None:
            rows.append((*where, "", "", one["no_efficiency"]))
            continue
        for ratio in one["efficiency"]["ratios"]:
            limits = f"{_bound(ratio['ratio'])} [{_bound(ratio['low'])}, {_bound(ratio['high'])}]"
            rows.append((*where, f"{100 * ratio['share']:.0f} %", limits, one["efficiency"]["verdict"]))
    return Facts(
        title="Sample efficiency",
        columns=("setting", "without PMP", "task", "of the gain without PMP", "times fewer samples", "verdict"),
        rows=tuple(rows),
        words=(0, 1, 2, 5),
        note="Samples that a setting without PMP needs for a score, divided by those that this setting needs, at "
        "shares of what the former gains from its fewest to its most samples. No extrapolation: > and < say that a "
        "curve ends.",
    )


def _bound(bound: Mapping[str, Any]) -> str:
    value = bound["value"]
    return "unknown" if value is None else f"{bound['censored']} {value:.3g}".strip()

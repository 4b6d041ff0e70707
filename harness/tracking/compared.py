"""What tells a recipe's settings apart, for a tracker's pages: parameters, metrics, and each setting in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.pipeline.evaluations import evaluations_of
from harness.plan.analysis import baseline_is_chosen, baseline_of
from harness.plan.baseline import BY_DEFAULT
from harness.plan.plan import Plan, PlannedSetting
from harness.report.settings import differences, resolved
from harness.tracking.words import LONGEST_PARAM, clipped, key, metric_key, parameters

AXIS = "axis."
NOTHING = "null"
LONGEST_NOTE = 4_000


def axis_key(label: str) -> str:
    """What an axis is called as a parameter, tag and column."""
    return AXIS + key(label)


def axis_values(plan: Plan, setting: PlannedSetting) -> dict[str, str]:
    """{parameter: value} of the axes that a setting depends on, numbers as plain numbers."""
    found = {axis.label: axis.plain(setting.values) for axis in plan.loaded.axes}
    return {axis_key(label): clipped(str(at), LONGEST_PARAM) for label, at in found.items() if at is not None}


def setting_parameters(plan: Plan) -> dict[str, dict[str, str]]:
    """By setting: its axes, then what differs between settings and all of them have; of a single setting everything.

    A page that compares runs draws a parameter that one lacks as "unknown". What is the same for all, or what only some
    have, is in each setting's recipe.yaml.
    """
    every = {one.name: parameters(resolved(one.setting.experiment)) for one in plan.settings}
    if len(every) > 1:
        first = next(iter(every.values()))
        told = [
            path
            for path in first
            if all(one.get(path, NOTHING) != NOTHING for one in every.values())
            and any(one[path] != first[path] for one in every.values())
        ]
        every = {name: {path: one[path] for path in told} for name, one in every.items()}
    return {one.name: axis_values(plan, one) | every[one.name] for one in plan.settings}


def headlines(plan: Plan) -> tuple[str, ...]:
    """Of every task the metric that settings are compared on, Best-of-N first."""
    asked = dict.fromkeys((outcome.metric, outcome.task) for variant in plan.variants for outcome in variant.outcomes)
    return tuple(
        metric_key(task, evaluation.headline)
        for evaluation in evaluations_of(plan.loaded.recipe)
        for name, task in asked
        if name == evaluation.name
    )


def constant(estimates: Iterable[Mapping[str, Any]], kept: Iterable[str]) -> frozenset[str]:
    """Metrics that compare nothing: the same for all of several settings, as BoN@1 is; never one of those `kept`."""
    values: dict[str, list[float]] = {}
    for one in estimates:
        if one["kind"] == "setting":
            values.setdefault(metric_key(one["task"], one["metric"]), []).append(one["estimate"])
    same = (name for name, found in values.items() if len(found) > 1 and min(found) == max(found))
    return frozenset(same) - frozenset(kept)


def in_words(plan: Plan, setting: PlannedSetting) -> str:
    """A run's description, in Markdown."""
    recipe, baseline = plan.loaded.recipe, baseline_of(plan)
    phrases = differences(resolved(recipe), resolved(setting.setting.experiment))
    by_default = "" if baseline_is_chosen(plan) else f" ({BY_DEFAULT})"
    compared = (
        "the setting that others are compared with" if setting.name == baseline else f"compared with `{baseline}`"
    )
    lines = [f"Setting `{setting.name}` of the recipe `{recipe.name}`, {compared}{by_default}.", ""]
    text = "\n".join([*lines, *(f"- {phrase}" for phrase in phrases)])
    return clipped(text, LONGEST_NOTE)

"""Claims: what a recipe means to show, as contrasts between its settings on tasks, with the margin that matters.

A claim is no identity: it changes no result, and may be written, changed or dropped without making anything again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from harness.errors import RecipeError
from harness.recipe.axes import names_value
from harness.recipe.fields import CODE, Block, Name, Names, as_tuple, problem
from harness.recipe.search import Number

if TYPE_CHECKING:
    from harness.recipe.evaluate import Evaluate
    from harness.recipe.load import Setting

ALL = "all"
PAIR_ACCURACY = "pair_accuracy"
MOST_SHOWN = 8  # names in a message

Rule = Literal["superiority", "non_inferiority", "equivalence"]
Label = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Value = Annotated[str, StringConstraints(max_length=500)] | bool | Number
AxisValues = Annotated[
    dict[str, Value | Annotated[tuple[Value, ...], BeforeValidator(as_tuple), Field(min_length=1)]],
    Field(min_length=1),
]
Side = Label | AxisValues
Margin = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]


class Claim(Block):
    """One setting, or several, against another on tasks, each task alone."""

    says: Label = Field(description="The claim in a sentence.")
    better: Side = Field(
        description="A setting by its name, or values of axes: {axis: value or list}. Settings that differ on other "
        "axes are compared one by one, each with the setting that is equal to it there, and then averaged."
    )
    than: Side = Field(description="What it is compared with, in the same form.")
    on: Annotated[dict[str, Literal["all"] | Names], Field(min_length=1)] = Field(
        description="Evaluation -> tasks, or `all` of its tasks; `pair_accuracy: [code]` is held-out "
        "code. Every task must show it."
    )
    metric: Name | None = Field(
        None,
        description="Of the one evaluation in `on`, e.g. `source_balanced` of pair accuracy. Default: the headline.",
    )
    margin: Margin | None = Field(
        None,
        description="The smallest difference that matters, as a share. Default: 0.02 of pair accuracy, 0.01 of "
        "anything else; for equivalence 0.005.",
    )
    rule: Rule = Field(
        "superiority",
        description="`superiority`: the 95 % interval lies above 0. `non_inferiority`: above -margin. `equivalence`: "
        "the 90 % interval lies between -margin and margin.",
    )
    each: bool = Field(False, description="Every comparison must hold alone, not only their mean.")

    @model_validator(mode="after")
    def _one_metric(self) -> Claim:
        if self.metric is not None and len(self.on) > 1:
            remedy = "make it a claim for each evaluation"
            raise problem(
                "a claim with a `metric` must be on one evaluation", f"it is on {' and '.join(self.on)}", remedy
            )
        return self

    def margin_of(self, evaluation: str) -> float:
        """The smallest difference that matters in an evaluation, as a share."""
        if self.margin is not None:
            return self.margin
        if self.rule == "equivalence":
            return 0.005
        return 0.02 if evaluation == PAIR_ACCURACY else 0.01


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Settings by name whose mean is compared with that of others; all are equal on the axes that no side names."""

    better: tuple[str, ...]
    than: tuple[str, ...]


def comparisons(claim: Claim, settings: Sequence[Setting]) -> list[Comparison]:
    """What a claim compares, in the order of the settings.

    Raises:
        RecipeError: it names no setting or axis of the recipe, or nothing on one side is equal to what is on the other.
    """
    sides = {key: _matched(key, getattr(claim, key), settings) for key in ("better", "than")}
    both = {one.name for one in sides["better"]} & {one.name for one in sides["than"]}
    if both:
        value = f"{min(both)!r} is on both sides"
        raise RecipeError("`better` and `than` must be different settings", value, "name more axes")
    by_name = isinstance(claim.better, str) or isinstance(claim.than, str)  # then all of the other side at once
    named = None if by_name else {*claim.better, *claim.than}
    blocks: dict[tuple[tuple[str, str], ...], dict[str, list[str]]] = {}
    for key, found in sides.items():
        for setting in found:
            at = () if named is None else tuple((a, v) for a, v in setting.values.items() if a not in named)
            blocks.setdefault(at, {"better": [], "than": []})[key].append(setting.name)
    for at, block in blocks.items():
        for key, other in (("better", "than"), ("than", "better")):
            if not block[key]:
                where = ", ".join(f"{axis}: {value}" for axis, value in at)
                raise RecipeError(
                    f"`{key}` must have a setting for every one of `{other}` with equal values of the other axes",
                    f"none has {where}, as {block[other][0]!r} has",
                    f"name {' or '.join(f'`{axis}`' for axis, _ in at)} on both sides as well",
                )
    return [Comparison(better=tuple(one["better"]), than=tuple(one["than"])) for one in blocks.values()]


def _matched(key: str, side: str | Mapping[str, object], settings: Sequence[Setting]) -> list[Setting]:
    if isinstance(side, str):
        found = [one for one in settings if one.name == side]
        if not found:
            names = _shown([one.name for one in settings])
            raise RecipeError(f"`{key}` must name a setting", f"{side!r} is not one of {names}", "correct the name")
        return found
    found = list(settings)
    axes = list(dict.fromkeys(axis for one in settings for axis in one.values))
    for axis, wanted in side.items():
        if axis not in axes:
            known = _shown(axes) or "no axes"
            raise RecipeError(f"`{key}` must name axes", f"{axis!r} is not one of {known}", "correct the name")
        labels = list(dict.fromkeys(one.values[axis] for one in settings if axis in one.values))
        chosen = set()
        for value in wanted if isinstance(wanted, tuple) else (wanted,):
            label = next((one for one in labels if names_value(one, axis, value)), None)
            if label is None:
                rule = f"`{key}.{axis}` must name values of the axis"
                raise RecipeError(rule, f"{value!r} is not one of {_shown(labels)}", "correct the value")
            chosen.add(label)
        found = [one for one in found if one.values.get(axis) in chosen]
    if not found:
        words = ", ".join(f"{axis}: {value}" for axis, value in side.items())
        raise RecipeError(f"`{key}` must match a setting", f"none has {words}", "correct the values")
    return found


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_SHOWN]) + (f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else "")


def asked_of(evaluate: Evaluate) -> dict[str, tuple[str, ...]]:
    """Evaluation -> what a claim may be about, held-out code included."""
    asked = dict(evaluate.asked)
    if evaluate.code_pairs is not None:
        asked[PAIR_ACCURACY] = (*asked.get(PAIR_ACCURACY, ()), CODE)
    return asked


def tasks_of(claim: Claim, evaluate: Evaluate) -> Iterator[tuple[str, str]]:
    """(evaluation, task) that a claim is about. `all` leaves held-out code out, which is no reasoning task."""
    for evaluation, tasks in claim.on.items():
        for task in evaluate.asked.get(evaluation, ()) if tasks == ALL else tasks:
            yield evaluation, task


def baseline_problems(
    name: str | None, settings: Sequence[Setting], *, search_alone: bool
) -> Iterator[tuple[str, RecipeError]]:
    """(path in the recipe, what is wrong there), without the place, of a `baseline` that names no setting."""
    names = [one.name for one in settings]
    if name is None:
        return
    if search_alone:
        value = "this recipe has a search and no ablations, and a search compares with 1:1"
        yield "baseline", RecipeError("it must name a setting of the ablations", value, "drop the line")
    elif name not in names:
        value = f"no setting is named {name!r}; this recipe has {_shown(names)}"
        near = get_close_matches(name, names, n=1)
        yield (
            "baseline",
            RecipeError("it must name a setting", value, f"did you mean `{near[0]}`?" if near else "name one of them"),
        )


def claim_problems(claims: Mapping[str, Claim], settings: Sequence[Setting]) -> Iterator[tuple[str, RecipeError]]:
    """(path in the recipe, what is wrong there) of every claim, without the place."""
    for name, claim in claims.items():
        path = f"claims.{name}"
        try:
            found = comparisons(claim, settings)
        except RecipeError as error:
            key = "better" if error.rule.startswith("`better") else "than" if error.rule.startswith("`than") else ""
            yield f"{path}.{key}" if key else path, error
            involved = list(settings[:1])
        else:
            names = {one for pair in found for one in (*pair.better, *pair.than)}
            involved = [one for one in settings if one.name in names]
        yield from _not_asked(path, claim, involved)


def _not_asked(path: str, claim: Claim, settings: Sequence[Setting]) -> Iterator[tuple[str, RecipeError]]:
    for evaluation, tasks in claim.on.items():
        where = f"{path}.on.{evaluation}"
        for setting in settings:
            asked = asked_of(setting.experiment.evaluate)
            if evaluation not in asked or (tasks == ALL and evaluation not in setting.experiment.evaluate.asked):
                rule = "a claim must be on evaluations of `evaluate`"
                value = f"`evaluate.{evaluation}` is not there; there are {', '.join(asked)}"
                yield where, RecipeError(rule, value, "correct the name or add it there")
                break
            missing = [task for task in tasks if task not in asked[evaluation]] if tasks != ALL else []
            for task in missing:
                rule = f"tasks of `on.{evaluation}` must be tasks of `evaluate.{evaluation}`"
                value = f"{task!r} is not one of {', '.join(asked[evaluation])}"
                yield where, RecipeError(rule, value, "correct the name or add the task there")
            if missing:
                break

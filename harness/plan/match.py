"""Arms that compute as much as another (`pretrain.match`): their number of pairs follows from counted tokens.

Counting is a stage of its own, before anything is trained; until it is done such a setting waits, and nobody knows its
pairs. What was asked as `pairs.count` is the most it may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from harness.errors import HarnessError, PlanError, RecipeError
from harness.pipeline.kind import Known
from harness.pipeline.optimization import steps_of
from harness.pipeline.pipeline import Pipeline
from harness.pipeline.weights import BACKWARD_FACTOR, FORWARD, weights_of
from harness.recipe.axes import names_value
from harness.recipe.blocks import Pretrain
from harness.recipe.load import LoadedRecipe, Setting
from harness.recipe.problems import suggestion
from harness.recipe.schema import Experiment, Recipe

TOLERANCE = 0.02
"""Largest share by which the FLOPs of matched arms may differ."""

KEY = "pretrain.match.flops"


@dataclass(frozen=True, kw_only=True)
class Matched:
    """A recipe whose matched settings are solved, or left out because their tokens are not counted yet."""

    loaded: LoadedRecipe
    problems: tuple[HarnessError, ...] = ()


def matching(setting: Setting) -> str | None:
    """What a setting is to be matched with, as the recipe says it."""
    block = setting.experiment.pretrain
    return None if block is None or block.match is None else block.match.flops


def partner(setting: Setting, settings: tuple[Setting, ...]) -> Setting | None:
    """The setting that another is matched with: of that name, or with that value on one axis and else the same."""
    name = matching(setting)
    for other in settings:
        if other.name == name:
            return other
    for other in settings:
        differing = [axis for axis in setting.values if other.values.get(axis) != setting.values[axis]]
        if len(differing) != 1 or name is None or other.values.keys() != setting.values.keys():
            continue
        if names_value(other.values[differing[0]], differing[0], name):
            return other
    return None


def match_problems(loaded: LoadedRecipe) -> Iterator[HarnessError]:
    """What is wrong with the matches that a recipe asks for, as far as no token need be counted."""
    for setting in loaded.settings:
        name, where = matching(setting), loaded.where(KEY, setting)
        if name is None:
            continue
        other = partner(setting, loaded.settings)
        if loaded.recipe.search is not None:
            yield RecipeError("`pretrain.match` is for ablations", "this recipe searches", "drop one of them", where)
        elif other is None:
            known = list(dict.fromkeys(value for one in loaded.settings for value in (*one.values.values(), one.name)))
            rule = f"`{KEY}` must name a setting, or a value of an axis"
            yield RecipeError(rule, f"{name!r} is none", suggestion(name, known) or "correct it", where)
        elif other.experiment.pretrain is None or matching(other) is not None:
            value = f"{other.name!r} has no PMP" if other.experiment.pretrain is None else f"{other.name!r} has one"
            yield RecipeError(f"`{KEY}` must name a setting with PMP and no match", value, "name another", where)


def with_matches(loaded: LoadedRecipe, known: Known, pipeline: Callable[[LoadedRecipe], Pipeline]) -> Matched:
    """Solve what can be solved.

    Args:
        pipeline: makes the pipeline of a recipe.
    """
    if not any(matching(setting) for setting in loaded.settings):
        return Matched(loaded=loaded)
    made = pipeline(loaded)
    bounds = tuple(setting for setting in loaded.settings if matching(setting))
    settings: list[Setting] = []
    waiting: list[Setting] = []
    problems: list[HarnessError] = []
    for setting in loaded.settings:
        other = partner(setting, loaded.settings) if matching(setting) else None
        if other is None:
            settings.append(setting)
            continue
        try:
            own, its = (_flops_a_group(one.experiment, made, known) for one in (setting, other))
            if own is None or its is None:
                waiting += [setting, other]
            else:
                settings.append(replace(setting, experiment=_solved(setting, other, its / own)))
        except PlanError as error:
            problems.append(PlanError(error.rule, error.value, error.remedy, loaded.where(KEY, setting)))
    ends = (*loaded.ends, *bounds)  # what they may read at most decides the order of all
    return Matched(
        loaded=replace(loaded, settings=tuple(settings), waiting=tuple(waiting), ends=ends), problems=tuple(problems)
    )


def _flops_a_group(experiment: Experiment, pipeline: Pipeline, known: Known) -> float | None:
    """FLOPs of PMP a pair, or a text; None until its tokens are counted.

    Raises:
        PlanError: nobody knows the size of the model.
    """
    block = experiment.pretrain
    assert block is not None
    record = known.record(pipeline.tally(experiment))
    if record is None:
        return None
    weights = weights_of(pipeline.base(experiment), known)
    if weights is None:
        rule = "a match needs a model whose size is known"
        raise PlanError(rule, "nobody has looked into it yet", "run the recipe without `pretrain.match` first")
    prompt, chosen, *rejected = (tokens / record.result["groups"] for tokens in record.result["segments"])
    read = prompt + chosen + (sum(rejected) if block.loss.rm else 0.0)
    predicted = chosen if block.loss.lm else 0.0
    return float(FORWARD * BACKWARD_FACTOR * (weights.layers * read + weights.vocabulary * predicted))


def _solved(setting: Setting, other: Setting, groups: float) -> Recipe:
    """The setting's experiment with as many pairs as compute what the other's do.

    Args:
        groups: pairs of the setting that compute as much as one of the other.

    Raises:
        PlanError: no number of whole steps does, or it is more than the setting may read.
    """
    experiment, block = setting.experiment, setting.experiment.pretrain
    theirs = other.experiment.pretrain
    assert block is not None
    assert theirs is not None
    wanted = groups * _read(theirs, other.experiment) / block.epochs
    count = round(wanted / block.global_batch) * block.global_batch
    rule = f"{setting.name!r} must compute as much as {other.name!r}"
    if count > experiment.pairs.count:
        value = f"that takes {count:,} pairs, and it may read {experiment.pairs.count:,}"
        raise PlanError(rule, value, "raise its `pairs.count`, which is the most it may read")
    off = abs(count / wanted - 1) if count else 1.0
    if off > TOLERANCE:
        value = f"whole steps of {block.global_batch:,} pairs are {100 * off:.1f} % off, not {100 * TOLERANCE:.0f} %"
        raise PlanError(rule, value, "lower its `global_batch`, or raise the pairs of both")
    solved = experiment.model_copy(update={"pairs": experiment.pairs.model_copy(update={"count": count})})
    for wrong in solved.contradictions():
        context = wrong.context or {}
        raise PlanError(context["rule"], context["value"], context["remedy"])
    return solved


def _read(block: Pretrain, experiment: Experiment) -> int:
    """Pairs that a setting's PMP reads, repeats counted."""
    steps = steps_of(block, experiment.pairs.count)
    return steps.total * steps.batch

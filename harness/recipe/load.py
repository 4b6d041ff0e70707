"""From a YAML file to a validated recipe with its settings; every error at once, each with file:line.

Reads files and nothing else: it imports no plugin and asks no hub.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import HarnessError, ProblemList, RecipeError
from harness.recipe import ablate
from harness.recipe.ablations import Ablations
from harness.recipe.axes import Axis, make_axes, number_of
from harness.recipe.claims import baseline_problems, claim_problems
from harness.recipe.fields import MOST_VARIANTS
from harness.recipe.inheritance import applied, assigned, with_parents
from harness.recipe.naming import extended, name_suffix
from harness.recipe.problems import suggestion, told_problems, touches, with_combinations
from harness.recipe.schema import EXPERIMENT_FIELDS, Recipe
from harness.recipe.search import BALANCE, LogRatio, Parameter, ends, overrides_of
from harness.recipe.yaml_source import Source

BESIDE = ("ablations", "search", "claims", "baseline")  # what a recipe says of many settings, and no setting of itself
FIXED_IN_SEARCH = ("evaluate", "tasks")
PARAMETER: TypeAdapter[Parameter] = TypeAdapter(Parameter)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of the ablation: the recipe with its overrides applied, validated.

    `places` names, for every overridden path, where the recipe asks for it; `chosen` is one that a search confirms.
    """

    name: str
    values: Mapping[str, str]
    experiment: Recipe
    places: Mapping[str, str] = field(default_factory=dict, repr=False)
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class LoadedRecipe:
    """A valid recipe, the settings it asks for, and the plain data it was read from (with `extends` resolved).

    `ends` are settings at the ends of a search's parameters, or what matched settings may read at most: what those may
    need is found out by them. `waiting` are those matched settings, and whom they are matched with, whose tokens are to
    be counted first. `files` are the recipe's own and those that it extends.
    """

    path: Path
    files: tuple[Path, ...]
    recipe: Recipe
    settings: tuple[Setting, ...]
    data: Mapping[str, Any]
    ends: tuple[Setting, ...] = field(default=(), repr=False)
    waiting: tuple[Setting, ...] = field(default=(), repr=False)
    source: Source = field(repr=False)

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """What its settings differ on: its ablations' axes, and what a search calls those that it has chosen."""
        used: dict[str, dict[str, None]] = {}
        for setting in self.settings:
            for axis, name in setting.values.items():
                used.setdefault(axis, {})[name] = None
        axes = [axis for axis in ablate.axes_of(self.recipe.ablations) if axis.name in used]
        known = {axis.name for axis in axes}
        others = {axis: [(name, name, number_of(name)) for name in names] for axis, names in used.items()}
        return (*axes, *make_axes({axis: values for axis, values in others.items() if axis not in known}))

    def where(self, path: str, setting: Setting | None = None) -> str:
        """file:line of a value: at the last override of the setting that touches it, else where the recipe has it."""
        places = {} if setting is None else setting.places
        touching = [place for override, place in places.items() if touches(override, path)]
        return touching[-1] if touching else str(self.source.locate(tuple(path.split("."))))


def load_recipe(path: Path, assignments: Sequence[str] = (), *, own_name: bool = False) -> LoadedRecipe:
    """Read, extend, override and validate a recipe.

    Args:
        path: the recipe.
        assignments: `path=value` strings (from `--set`), values in YAML.
        own_name: extend the name by assignments that change settings, so that the recipe's report is not overwritten.

    Raises:
        ProblemList: everything that is wrong, each a RecipeError with rule, value, remedy and file:line.
    """
    files: list[Path] = []
    source = with_parents(path, (), None, files)
    for assignment in assignments:
        source = assigned(source, assignment)
    suffix = name_suffix(assignments) if own_name else ""
    if suffix and isinstance(name := source.data.get("name"), str):
        source = Source(data={**source.data, "name": extended(name, suffix)}, lines=source.lines, file=source.file)
    problems: list[RecipeError] = []
    recipe = _validate(source.data, source, (), {}, problems)
    settings = _settings(source, recipe, problems)
    if recipe is not None and not problems:  # else it is not known between what they are
        alone = recipe.search is not None and not source.data.get("ablations")
        for at, error in (
            *baseline_problems(recipe.baseline, settings, search_alone=alone),
            *claim_problems(recipe.claims, settings),
        ):
            where = str(source.locate(tuple(at.split("."))))
            problems.append(RecipeError(f"`{at}`: {error.rule}", error.value, error.remedy, where))
    at_ends = _ends(source, recipe, problems)
    if problems:
        raise ProblemList(_distinct(problems))
    assert recipe is not None
    return LoadedRecipe(
        path=path,
        files=tuple(files),
        recipe=recipe,
        settings=tuple(settings),
        data=source.data,
        ends=tuple(at_ends),
        source=source,
    )


def _settings(source: Source, base: Recipe | None, problems: list[RecipeError]) -> list[Setting]:
    raw = source.data.get("ablations") or {}
    try:
        ablations = Ablations.model_validate(raw)
    except ValidationError:
        return []  # reported with the recipe itself
    try:
        points = ablate.points(ablations)
    except RecipeError as error:
        axis = re.findall(r"axis `([^`]+)`", error.rule)
        place = error.where.split(".") if error.where else ["axes", *axis] if axis else []
        where = str(source.locate(("ablations", *place)))
        problems.append(RecipeError(error.rule, error.value, error.remedy, where))
        return []
    if base is not None:
        variants = len(points) * base.seeds.pretrain * base.seeds.finetune
        if variants > MOST_VARIANTS:
            rule = f"settings times seeds may be {MOST_VARIANTS:,}"
            where = str(source.locate(("seeds", "pretrain")))
            problems.append(RecipeError(rule, f"they are {variants:,}", "lower `seeds` or split the recipe", where))
            return []
    found = [_setting(source, base, point.name, point.values, point.overrides) for point in points]
    told = {(one.rule, one.value) for one in problems}
    wrong = [[one for one in its if (one.rule, one.value) not in told] for _, its in found]
    problems += with_combinations([point.values for point in points], wrong)
    settings = [setting for setting, _ in found if setting is not None]
    if base is not None:
        tunings = sum(_finetunings(setting.experiment) for setting in settings)
        if tunings > MOST_VARIANTS:
            rule = f"a recipe may ask for {MOST_VARIANTS:,} fine-tunings"
            value = f"settings times seeds times combinations of `finetune.tune` are {tunings:,}"
            where = str(source.locate(("finetune", "tune")))
            problems.append(RecipeError(rule, value, "list fewer values in `finetune.tune`", where))
            return []
    return settings


def _finetunings(experiment: Recipe) -> int:
    tune, seeds = experiment.finetune.tune, experiment.seeds
    tries = 1 if tune is None else math.prod(len(values) for values in tune.axes.values())
    return tries * seeds.finetune * (1 if experiment.pretrain is None else seeds.pretrain)


def _ends(source: Source, base: Recipe | None, problems: list[RecipeError]) -> list[Setting]:
    """Settings with one parameter of a search at an end of its range, or at a choice; what the recipe refuses of it."""
    raw = source.data.get("search")
    parameters = raw.get("parameters") if isinstance(raw, Mapping) else None
    found: list[Setting] = []
    told = {(one.rule, one.value) for one in problems}
    for path, block in parameters.items() if isinstance(parameters, Mapping) else ():
        origin = ("search", "parameters", str(path))
        if str(path).split(".")[0] in FIXED_IN_SEARCH:
            rule = f"a search may not change {', '.join(f'`{name}`' for name in FIXED_IN_SEARCH)}"
            value = f"`{path}` would judge trials by other problems"
            problems.append(RecipeError(rule, value, "search what is trained", str(source.locate(origin))))
            continue
        try:
            parameter: Parameter = PARAMETER.validate_python(block)
        except ValidationError:
            continue  # reported with the recipe itself
        for value in ends(parameter):
            if isinstance(parameter, LogRatio) and not str(path).endswith(BALANCE):
                continue
            overrides = overrides_of(str(path), parameter, value)
            chosen = [ablate.Override(path=at, value=one, origin=origin) for at, one in overrides.items()]
            setting, wrong = _setting(source, base, f"{path}={value}", {str(path): str(value)}, chosen)
            conditional = parameter.when is not None
            problems += [] if conditional else [one for one in wrong if (one.rule, one.value) not in told]
            found += [] if setting is None else [setting]
    return found


def setting_of(loaded: LoadedRecipe, name: str, overrides: Mapping[str, Any], origin: tuple[str, ...] = ()) -> Setting:
    """One more setting of a recipe, as an axis would make it: for a search, which does not know its trials beforehand.

    A plan of it alone is that of `replace(loaded, settings=(setting,))`; what others have made is found by identity.

    Args:
        overrides: path in the recipe -> value.
        origin: key of the recipe at which errors are reported.

    Raises:
        ProblemList: everything that is wrong with it.
    """
    chosen = [ablate.Override(path=path, value=value, origin=origin) for path, value in overrides.items()]
    values = {path: str(value) for path, value in overrides.items()}
    setting, problems = _setting(loaded.source, loaded.recipe, name, values, chosen)
    if problems:
        raise ProblemList(_distinct(problems))
    assert setting is not None
    return setting


def _setting(
    source: Source, base: Recipe | None, name: str, values: Mapping[str, str], overrides: Sequence[ablate.Override]
) -> tuple[Setting | None, list[RecipeError]]:
    """A recipe with overrides, and what is wrong with it; of a wrong recipe (`base` is None) what they got wrong."""
    problems: list[RecipeError] = []
    data: dict[str, Any] = {key: value for key, value in source.data.items() if key not in BESIDE}
    plain = data
    origins: list[ablate.Override] = []
    for override in overrides:
        place = str(source.locate(override.origin))
        if override.path.split(".")[0] not in EXPERIMENT_FIELDS:
            problems.append(_not_an_experiment_field(override.path, place))
            continue
        try:
            data = applied(data, override)
        except RecipeError as error:
            problems.append(RecipeError(error.rule, error.value, error.remedy, place))
            continue
        origins.append(override)
    touched = {override.path.split(".")[0] for override in origins}
    # blocks no override touches are validated once and shared by all settings
    valid = {} if base is None else {key: getattr(base, key) for key in plain if key not in touched}
    found: list[RecipeError] = []
    recipe = _validate(data, source, origins, valid, found)
    places = {override.path: str(source.locate(override.origin)) for override in origins}
    if base is not None and recipe is not None and recipe.evaluate.split != base.evaluate.split:
        place = next(place for path, place in places.items() if path.split(".")[0] == "evaluate")
        found.append(_another_split(recipe.evaluate.split, base.evaluate.split, place))
    problems += [one for one in found if base is not None or one.where in places.values()]
    if recipe is None:
        return None, problems
    return Setting(name=name, values=dict(values), experiment=recipe, places=places), problems


def _another_split(split: str, base: str, where: str) -> RecipeError:
    return RecipeError(
        "all settings of a recipe must be judged on one split",
        f"`evaluate.split` is {split} here and {base} in the recipe",
        "drop the override; a second recipe of another name shares what both train",
        where,
    )


def _not_an_experiment_field(path: str, where: str) -> RecipeError:
    return RecipeError(
        f"an axis may override {', '.join(EXPERIMENT_FIELDS)}",
        f"it overrides `{path}`",
        suggestion(path.split(".")[0], EXPERIMENT_FIELDS) or "correct the path",
        where,
    )


def _validate(
    data: Mapping[str, Any],
    source: Source,
    overrides: Sequence[ablate.Override],
    valid: Mapping[str, Any],
    problems: list[RecipeError],
) -> Recipe | None:
    """The recipe of `data`, of which `valid` holds the blocks that were validated before."""
    try:
        return Recipe.model_validate({**data, **valid})
    except ValidationError as error:
        problems += told_problems(error.errors(include_url=False), data, source, overrides)
    return None


def _distinct(problems: Sequence[HarnessError]) -> list[HarnessError]:
    return list({problem.one_line(): problem for problem in problems}.values())

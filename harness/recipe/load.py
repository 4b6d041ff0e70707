"""From a YAML file to a validated recipe with its settings; every error at once, each with file:line.

Reads files and nothing else: it imports no plugin and asks no hub.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.errors import HarnessError, ProblemList, RecipeError
from harness.recipe import ablate
from harness.recipe.schema import EXPERIMENT_FIELDS, MOST_VARIANTS, Ablations, Recipe
from harness.recipe.yaml_source import Location, Source, parse_value, read_yaml

MOST_PARENTS = 16


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of the ablation: the recipe with its overrides applied, validated.

    `places` names, for every overridden path, where the recipe asks for it.
    """

    name: str
    values: Mapping[str, str]
    experiment: Recipe
    places: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class LoadedRecipe:
    """A valid recipe, the settings it asks for, and the plain data it was read from (with `extends` resolved)."""

    path: Path
    recipe: Recipe
    settings: tuple[Setting, ...]
    data: Mapping[str, Any]
    source: Source = field(repr=False)

    def where(self, path: str, setting: Setting | None = None) -> str:
        """file:line of a value: at the last override of the setting that touches it, else where the recipe has it."""
        places = {} if setting is None else setting.places
        touching = [place for override, place in places.items() if _touches(override, path)]
        return touching[-1] if touching else str(self.source.locate(tuple(path.split("."))))


def load_recipe(path: Path, assignments: Sequence[str] = ()) -> LoadedRecipe:
    """Read, extend, override and validate a recipe.

    Args:
        path: the recipe.
        assignments: `path=value` strings (from `--set`), values in YAML.

    Raises:
        ProblemList: everything that is wrong, each a RecipeError with rule, value, remedy and file:line.
    """
    source = _with_parents(path, [])
    for assignment in assignments:
        source = _assigned(source, assignment)
    problems: list[RecipeError] = []
    recipe = _validate(source.data, source, (), {}, problems)
    settings = _settings(source, recipe, problems)
    if problems:
        raise ProblemList(_distinct(problems))
    assert recipe is not None
    return LoadedRecipe(path=path, recipe=recipe, settings=tuple(settings), data=source.data, source=source)


def _with_parents(path: Path, chain: list[Path]) -> Source:
    resolved = path.resolve()
    source = read_yaml(path)
    parent = source.data.get("extends")
    if parent is None:
        return source
    where = str(source.locate(("extends",)))
    if not isinstance(parent, str):
        raise ProblemList([RecipeError("`extends` must be a file name", f"got {parent!r}", "name a recipe", where)])
    target = path.parent / parent
    if not target.is_file():
        raise ProblemList([RecipeError("`extends` must name a recipe", f"there is no {target}", "correct it", where)])
    if target.resolve() in (*chain, resolved):
        raise ProblemList(
            [RecipeError("`extends` must end", f"{parent} comes back to itself", "break the circle", where)]
        )
    if len(chain) >= MOST_PARENTS:
        raise ProblemList(
            [RecipeError(f"`extends` may go {MOST_PARENTS} files deep", "it goes on", "join some", where)]
        )
    base = _with_parents(target, [*chain, resolved])
    own = {key: value for key, value in source.data.items() if key != "extends"}
    return Source(data=ablate.merge(base.data, own), lines={**base.lines, **source.lines}, file=source.file)


def _assigned(source: Source, assignment: str) -> Source:
    path, separator, text = assignment.partition("=")
    path = path.strip()
    where = f"--set {assignment}"
    if not separator or not path or not all(path.split(".")):
        raise ProblemList(
            [RecipeError("`--set` takes path=value", f"got {assignment!r}", "e.g. pairs.count=500", where)]
        )
    value = parse_value(text, where)
    override = ablate.Override(path=path, value=value, origin=())
    try:
        data = ablate.apply(source.data, override)
    except RecipeError as error:
        raise ProblemList([RecipeError(error.rule, error.value, error.remedy, where)]) from None
    keys = tuple(path.split("."))
    lines = {**source.lines, **dict.fromkeys(_paths(value, keys), Location(file=where, line=0))}
    return Source(data=data, lines=lines, file=source.file)


def _paths(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, str(key)))


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
        where = str(source.locate(("ablations", "axes", *axis) if axis else ("ablations",)))
        problems.append(RecipeError(error.rule, error.value, error.remedy, where))
        return []
    if base is not None:
        variants = len(points) * base.seeds.pretrain * base.seeds.finetune
        if variants > MOST_VARIANTS:
            rule = f"settings times seeds may be {MOST_VARIANTS:,}"
            where = str(source.locate(("seeds", "pretrain")))
            problems.append(RecipeError(rule, f"they are {variants:,}", "lower `seeds` or split the recipe", where))
            return []
    plain = {key: value for key, value in source.data.items() if key != "ablations"}
    # blocks no override touches are validated once and shared by all settings
    blocks = {} if base is None else {key: getattr(base, key) for key in plain}
    told = {(one.rule, one.value) for one in problems}
    settings = []
    for point in points:
        data: dict[str, Any] = plain
        origins: list[ablate.Override] = []
        for override in point.overrides:
            place = str(source.locate(override.origin))
            if override.path.split(".")[0] not in EXPERIMENT_FIELDS:
                problems.append(_not_an_experiment_field(override.path, place))
                continue
            try:
                data = ablate.apply(data, override)
            except RecipeError as error:
                problems.append(RecipeError(error.rule, error.value, error.remedy, place))
                continue
            origins.append(override)
        touched = {override.path.split(".")[0] for override in origins}
        valid = {key: block for key, block in blocks.items() if key not in touched}
        found: list[RecipeError] = []
        recipe = _validate(data, source, origins, valid, found)
        if base is None:  # then only what an override itself got wrong is news
            places = {str(source.locate(override.origin)) for override in origins}
            found = [one for one in found if one.where in places]
        problems += [one for one in found if (one.rule, one.value) not in told]
        if recipe is not None:
            asked = {override.path: str(source.locate(override.origin)) for override in origins}
            settings.append(Setting(name=point.name, values=dict(point.values), experiment=recipe, places=asked))
    return settings


def _not_an_experiment_field(path: str, where: str) -> RecipeError:
    return RecipeError(
        f"an axis may override {', '.join(EXPERIMENT_FIELDS)}",
        f"it overrides `{path}`",
        _suggestion(path.split(".")[0], EXPERIMENT_FIELDS) or "correct the path",
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
        for detail in error.errors(include_url=False):
            problems += _problems(detail, data, source, overrides)
    return None


def _problems(
    detail: ErrorDetails, data: Mapping[str, Any], source: Source, overrides: Sequence[ablate.Override]
) -> list[RecipeError]:
    """One pydantic error in the house form; several where a block found several contradictions."""
    keys, models = _walk(detail["loc"], data)
    return [
        RecipeError(rule, value, remedy, _place(keys, rule + remedy, source, overrides))
        for rule, value, remedy in _told(detail, keys, models)
    ]


def _told(detail: ErrorDetails, keys: list[str], models: list[type[BaseModel]]) -> list[tuple[str, str, str]]:
    """(rule, value, remedy) of a pydantic error."""
    path, kind, context = ".".join(keys), detail["type"], detail.get("ctx", {})
    if kind in ("recipe", "recipes"):
        found = context["problems"] if kind == "recipes" else [context]
        before = f"`{path}`: " if path else ""
        return [(before + one["rule"], one["value"], one["remedy"]) for one in found]
    if kind == "missing":
        return [(f"`{path}` is required", "it is missing", "add it")]
    if kind == "union_tag_not_found":
        return [(f"`{path}.{context['discriminator'][1:-1]}` is required", "it is missing", "add it")]
    if kind == "union_tag_invalid":
        rule = f"`{path}.{context['discriminator'][1:-1]}` must be one of {context['expected_tags']}"
        return [(rule, f"it is {context['tag']!r}", "correct it")]
    if kind == "extra_forbidden":
        names = sorted({name for model in models for name in _field_names(model)})
        remedy = _suggestion(keys[-1], names) or f"valid here: {', '.join(names)}"
        return [(f"`{path}` must be a known key", "it is not", remedy)]
    _, should, expected = detail["msg"].partition(" should ")
    expected = expected.partition(" or instance of ")[0] if should else f"be valid ({detail['msg']})"
    return [(f"`{path or 'the recipe'}` must {expected}", f"it is {_shown(detail['input'])}", "correct it")]


def _place(keys: list[str], text: str, source: Source, overrides: Sequence[ablate.Override]) -> str:
    """Where a mistake stands: at the last override that touches it, else at the first key the text names."""
    path = ".".join(keys)
    names = [name.removeprefix(f"{path}.") for name in re.findall(r"`([^`]+)`", text) if name != path]
    named = [".".join([*keys, name]) for name in names]
    touching = [override for override in overrides if any(_touches(override.path, name) for name in named)]
    touching = touching or [override for override in overrides if _touches(override.path, path)]
    if touching:
        return str(source.locate(touching[-1].origin))
    return str(source.locate(tuple(named[0].split(".")) if named else tuple(keys)))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _touches(override: str, path: str) -> bool:
    return path == override or path.startswith(override + ".") or override.startswith(path + ".") or not path


def _walk(loc: Sequence[int | str], data: Mapping[str, Any]) -> tuple[list[str], list[type[BaseModel]]]:
    """The recipe's own keys of a pydantic location (union tags left out), and the models that hold the last key."""
    keys: list[str] = []
    here: Any = data
    models: list[type[BaseModel]] = [Recipe]
    holders = models
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        present = isinstance(here, Mapping) and part in here
        indexed = isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here)
        fields = [annotation for model in models for annotation in _annotations(model, str(part))]
        if present or indexed or fields or (last and isinstance(here, Mapping) and not _is_tag(here, part)):
            keys.append(str(part))
            holders = models
            models = [model for annotation in fields for model in _models_in(annotation)] or models
            here = here[part] if present or indexed else None
        else:  # a union's tag: narrows the models, is no key of the recipe
            models = [model for model in models if _tagged(model, str(part))] or models
            holders = models
    return keys, holders


def _is_tag(here: Mapping[str, Any], part: int | str) -> bool:
    return any(here.get(key) == part for key in ablate.DISCRIMINATORS)


def _tagged(model: type[BaseModel], tag: str) -> bool:
    if model.__name__ == tag:
        return True
    return any(tag in typing.get_args(field.annotation) for field in model.model_fields.values())


def _field_names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _annotations(model: type[BaseModel], key: str) -> list[Any]:
    return [field.annotation for name, field in model.model_fields.items() if (field.alias or name) == key]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def _suggestion(name: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else ""


def _distinct(problems: Sequence[HarnessError]) -> list[HarnessError]:
    return list({problem.one_line(): problem for problem in problems}.values())

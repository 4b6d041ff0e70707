"""What pydantic found wrong with a recipe, told in the house form: rule, value, remedy and the line where it stands."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from harness.errors import RecipeError
from harness.recipe import ablate
from harness.recipe.fields import HUB_PATTERN, KIND_PATTERN, LINE_PATTERN, NAME_PATTERN, PLUGIN_PATTERN
from harness.recipe.schema import Recipe
from harness.recipe.yaml_source import Source


def told_problems(
    details: Sequence[ErrorDetails], data: Mapping[str, Any], source: Source, overrides: Sequence[ablate.Override]
) -> list[RecipeError]:
    """Pydantic's errors in the house form: several of a block that found several contradictions, one of a union."""
    walked = [(detail, *_walk(detail["loc"], data)) for detail in details]
    values: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for detail, keys, _ in walked:
        if detail["type"] not in STRUCTURE:
            values.setdefault(tuple(keys), []).append(detail)
    found = []
    for detail, keys, models in walked:
        alike = values.get(tuple(keys), [])
        if detail["type"] in STRUCTURE:
            told = _structure(detail, keys, models)
        elif detail is alike[0] and not any(_is_inside(other, keys) for _, other, _ in walked):
            told = [_value(alike, keys)]
        else:  # told with another, or a member of a union fits better and says what is wrong inside
            told = []
        found += [
            RecipeError(rule, value, remedy, _place(keys, rule + remedy, source, overrides))
            for rule, value, remedy in told
        ]
    return found


STRUCTURE = ("recipe", "recipes", "missing", "union_tag_not_found", "extra_forbidden")
"""Errors of what a block holds; all others are of one value."""


def _is_inside(other: Sequence[str], keys: Sequence[str]) -> bool:
    return len(other) > len(keys) and list(other[: len(keys)]) == list(keys) and bool(keys)


def _structure(detail: ErrorDetails, keys: list[str], models: list[type[BaseModel]]) -> list[tuple[str, str, str]]:
    """(rule, value, remedy) of such an error."""
    path, kind, context = ".".join(keys), detail["type"], detail.get("ctx", {})
    if kind in ("recipe", "recipes"):
        found = context["problems"] if kind == "recipes" else [context]
        before = f"`{path}`: " if path else ""
        return [(before + one["rule"], one["value"], one["remedy"]) for one in found]
    if kind == "missing" and isinstance(detail["loc"][-1], int):
        return [(f"`{path}` has too few entries", "", "add one")]
    if kind == "missing":
        return [(f"`{path}` is required", "", "add it")]
    if kind == "union_tag_not_found":
        return [(f"`{path}.{context['discriminator'][1:-1]}` is required", "", "add it")]
    names = sorted({name for model in models for name in _field_names(model)})
    return [(f"unknown key `{path}`", "", suggestion(keys[-1], names) or f"valid here: {', '.join(names)}")]


def _value(details: Sequence[ErrorDetails], keys: list[str]) -> tuple[str, str, str]:
    """(rule, value, remedy) of a value, by what each member of a union says of it.

    What says that it is too short or too large has understood it: the types that it is not are left out then.
    """
    details = [detail for detail in details if not _is_mismatch(detail)] or details
    detail, path = details[0], ".".join(keys)
    value, context = detail["input"], detail.get("ctx", {})
    remedy = ""
    if detail["type"] == "union_tag_invalid":
        path, value = f"{path}.{context['discriminator'][1:-1]}", context["tag"]
    if choices := re.findall(r"'([^']*)'", str(context.get("expected_tags", context.get("expected", "")))):
        remedy = suggestion(str(value), choices)
    elif detail["type"] == "string_type" and isinstance(value, int | float):
        remedy = "put it in quotes"
    elif value is None:
        remedy = "remove the line or give a value"
    expected = " or ".join(dict.fromkeys(_expected(one) for one in details))
    what = f"a key of `{'.'.join(keys[:-2])}`" if keys[-1:] == ["[key]"] else f"`{path or 'the recipe'}`"
    return f"{what} expects {expected}, got {_shown(value)}", "", remedy


def _is_mismatch(detail: ErrorDetails) -> bool:
    return detail["type"].endswith("_type") or detail["type"] == "literal_error"


EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "greater_than_equal": "at least {ge}",
    "greater_than": "a number above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "a number below {lt}",
    "too_short": "at least {min_length} {entries}",
    "too_long": "at most {max_length} {entries}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "union_tag_invalid": "one of {expected_tags}",
    "literal_error": "{expected}",
}
LIMITS = ("ge", "gt", "le", "lt", "min_length", "max_length")
PATTERNS = {
    NAME_PATTERN: "a name of letters, digits and _ . + -, which begins with a letter or a digit (64 at most)",
    KIND_PATTERN: "a built-in name or `package.module:name`",
    PLUGIN_PATTERN: "`package.module:name`",
    LINE_PATTERN: "one line of 1 to 1,024 characters",
    HUB_PATTERN: "`name` or `owner/name` on the hub",
}


def _expected(detail: ErrorDetails) -> str:
    """What pydantic wants in the place of a value, in our words; in its own where we have none."""
    kind, context = detail["type"], dict(detail.get("ctx", {}))
    if (pattern := context.get("pattern")) in PATTERNS:
        return PATTERNS[pattern]
    words = EXPECTED.get(kind) or EXPECTED.get(kind.split("_")[0])
    if words is None:
        return f"something else ({detail['msg']})"
    limit = context.get("min_length", context.get("max_length"))
    numbers = {key: f"{one:,}" if isinstance(one, int) else f"{one:g}" for key, one in context.items() if key in LIMITS}
    return words.format(**context | numbers, entries="entry" if limit == 1 else "entries")


def _place(keys: list[str], text: str, source: Source, overrides: Sequence[ablate.Override]) -> str:
    """Where a mistake stands: at the last override that touches it, else at the first key the text names."""
    path = ".".join(keys)
    names = [name.removeprefix(f"{path}.") for name in re.findall(r"`([^`]+)`", text) if name != path]
    named = [(*keys, *name.split(".")) for name in names]
    touching = [override for override in overrides if any(touches(override.path, ".".join(name)) for name in named)]
    touching = touching or [override for override in overrides if touches(override.path, path)]
    if touching:
        return str(source.locate(touching[-1].origin))
    return str(source.locate(named[0] if named else tuple(keys)))


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else text[:77] + "..."


def touches(override: str, path: str) -> bool:
    """Whether an override of one path can decide what stands at another ("" is the whole recipe)."""
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
        named = last and part == "[key]"  # pydantic's mark of a mapping's key that is wrong itself
        if present or indexed or fields or named:
            keys.append(str(part))
            holders = models
            models = [model for annotation in fields for model in _models_in(annotation)] or models
            here = here[part] if present or indexed else None
        else:  # a union's tag, or pydantic's name of its member: narrows the models, is no key of the recipe
            models = [model for model in models if _tagged(model, str(part))] or models
            holders = models
    return keys, holders


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


def suggestion(name: str, valid: Sequence[str]) -> str:
    """ "did you mean ...?", or nothing where no valid name is near."""
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else ""


def with_combinations(
    points: Sequence[Mapping[str, str]], wrong: Sequence[Sequence[RecipeError]]
) -> Iterator[RecipeError]:
    """What is wrong with the points of a grid, each once; what only a combination of values causes names these.

    Args:
        points: of each point {axis: value name}.
        wrong: of each point what is wrong with it.
    """
    having: dict[str, list[int]] = {}
    first: dict[str, RecipeError] = {}
    for index, its in enumerate(wrong):
        for one in its:
            text = RecipeError(one.rule, one.value, one.remedy).one_line()
            first.setdefault(text, one)
            having.setdefault(text, []).append(index)
    for text, indices in having.items():
        one = first[text]
        common = dict(set.intersection(*(set(points[index].items()) for index in indices)))
        alone = any(
            all(index in set(indices) for index, point in enumerate(points) if point.get(axis) == value)
            for axis, value in common.items()
        )
        if alone or len(common) < 2:
            yield one
        else:
            ordered = {axis: value for axis, value in points[indices[0]].items() if axis in common}
            entry = ", ".join(f"{axis}: {value}" for axis, value in ordered.items())
            rule = f"{one.rule} (combination {', '.join(ordered.values())})"
            yield RecipeError(rule, one.value, f"{one.remedy}, or leave it out: `exclude: [{{{entry}}}]`", one.where)

"""What pydantic found wrong with a recipe, told in the house form: rule, value, remedy and the line where it stands."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from harness.errors import RecipeError
from harness.recipe import ablate
from harness.recipe.schema import Recipe
from harness.recipe.yaml_source import Source


def told_problems(
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
        remedy = suggestion(keys[-1], names) or f"valid here: {', '.join(names)}"
        return [(f"`{path}` must be a known key", "it is not", remedy)]
    _, should, expected = detail["msg"].partition(" should ")
    expected = expected.partition(" or instance of ")[0] if should else f"be valid ({detail['msg']})"
    expected = expected.replace("a valid tuple", "a list").replace("a valid dictionary", "a mapping")
    return [(f"`{path or 'the recipe'}` must {expected}", f"it is {_shown(detail['input'])}", "correct it")]


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
    text = repr(value)
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
        named = last and isinstance(here, Mapping) and not _is_tag(here, part, models)
        if present or indexed or fields or named:
            keys.append(str(part))
            holders = models
            models = [model for annotation in fields for model in _models_in(annotation)] or models
            here = here[part] if present or indexed else None
        else:  # a union's tag: narrows the models, is no key of the recipe
            models = [model for model in models if _tagged(model, str(part))] or models
            holders = models
    return keys, holders


def _is_tag(here: Mapping[str, Any], part: int | str, models: Sequence[type[BaseModel]]) -> bool:
    return any(here.get(key) == part for key in ablate.DISCRIMINATORS) or part in [model.__name__ for model in models]


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

"""docs/recipes.md: current, complete, its examples are recipes, and what it says of identity is what plans do."""

from __future__ import annotations

import copy
import re
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from harness.errors import HarnessError
from harness.plan.plan import make_plan
from harness.plan.trials import TrialPlanner
from harness.recipe.load import LoadedRecipe, Setting, load_recipe
from harness.recipe.reference import CONTENT, IDENTITY, SELECTS, Reference, anchor, recipe_reference
from harness.recipe.schema import Recipe
from harness.search.confirm import study_name

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "recipes" / "tiny.yaml"
DOCUMENT = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
SETTINGS = {"more-pairs": 4, "two-axes": 12, "fewer-losses": 6, "spaced": 4}


def test_the_committed_reference_is_current() -> None:
    """`python -m harness.recipe.reference` writes it."""
    assert recipe_reference() == DOCUMENT


def test_every_field_has_a_meaning_and_every_link_a_heading() -> None:
    rows = re.findall(r"^\| (`.*) \|$", DOCUMENT, re.MULTILINE)
    assert [row for row in rows if not all(cell.strip() for cell in re.split(r"(?<!\\)\|", row))] == []
    anchors = [anchor(heading) for heading in re.findall(r"^#+ (.*)$", DOCUMENT, re.MULTILINE)]
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r"\]\(#([^)]*)\)", DOCUMENT)) <= set(anchors)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: yaml.safe_load(text)["name"])
def test_an_example_is_a_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text.replace("cpu/small.yaml", str(ROOT / "recipes" / "cpu" / "small.yaml")))
    loaded = load_recipe(tmp_path / "recipe.yaml")
    assert len(loaded.settings) == SETTINGS[loaded.recipe.name]


def test_the_readmes_example_is_a_recipe(tmp_path: Path) -> None:
    text = next(one for one in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "extends:" in one)
    (tmp_path / "recipe.yaml").write_text(text.replace("quickstart.yaml", str(ROOT / "recipes" / "quickstart.yaml")))
    losses = Counter(one.values["pmp"] for one in load_recipe(tmp_path / "recipe.yaml").settings)
    assert losses == {"rm+lm": 3, "no-pmp": 3, "rm": 3}


# ------------------------------------------------------------------------------------------------------- identity

SAME, SOME, OTHER = "the same", "more or fewer", "others"
Found = dict[str, str]
WITHOUT_EFFECT = {
    "NamedPairs.clip": (SAME, OTHER),  # of the construction that is looked at
    "Recipe.baseline": (SAME, SOME),  # it selects what compares settings, and that is left out here
}


def others(annotation: Any, value: Any) -> Iterator[Any]:
    """Values beside the one that a recipe has, most of which validate."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value * 2, value / 2 if isinstance(value, float) else value - 1, value + 1, value + 0.5)
    elif isinstance(value, tuple) and not any(isinstance(one, BaseModel) for one in value):
        yield from (list(value)[:-1], list(value)[::-1], [])
    yield from (one for one in literals(annotation) if one != value)
    if isinstance(value, str):
        yield f"{value}x"
    elif value is None:
        yield from (2, 0.5, "x")


def literals(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is Literal:
        yield from typing.get_args(annotation)
    elif not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        for argument in typing.get_args(annotation):
            yield from literals(argument)


def fields(block: BaseModel, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...], Any, Any]]:
    """(Class.field, path, type, value) of everything that is no block."""
    for name, field in type(block).model_fields.items():
        key, value = field.alias or name, getattr(block, name)
        if isinstance(value, BaseModel):
            yield from fields(value, (*keys, key))
        elif isinstance(value, dict) and value and isinstance(next(iter(value.values())), BaseModel):
            for inner, one in value.items():
                yield from fields(one, (*keys, key, inner))
        elif key not in ("from", "source"):  # another variant, and then nothing else fits
            yield f"{type(block).__name__}.{key}", (*keys, key), field.annotation, value


def observed(loaded: LoadedRecipe, more: dict[str, Any], made: Any, wanted: Callable[[str], bool]) -> Found:
    """What other values of a recipe's fields do to what `made` gives of it, a set: of the fields that are wanted."""
    data = {key: value for key, value in {**loaded.data, **more}.items() if key not in ("ablations", "extends")}

    def made_of(changed: Mapping[str, Any]) -> Any:
        recipe = Recipe.model_validate(changed)
        return made(replace(loaded, recipe=recipe, settings=(Setting(name="base", values={}, experiment=recipe),)))

    base = made_of(data)
    found: Found = {}
    for field, keys, annotation, value in fields(Recipe.model_validate(data)):
        for other in others(annotation, value) if wanted(field) else ():
            if found.get(field) == OTHER:
                break
            changed = copy.deepcopy(data)
            here = changed
            for key in keys[:-1]:
                here = here.setdefault(key, {})
            here[keys[-1]] = other
            try:
                new = made_of(changed)
            except (HarnessError, ValidationError):
                continue
            seen = SAME if new == base else SOME if new <= base or new >= base else OTHER
            found[field] = max(found.get(field, SAME), seen, key=(SAME, SOME, OTHER).index)
    return found


def stages(loaded: LoadedRecipe) -> frozenset[str]:
    """Without the ones that compare, which are made of all settings' results."""
    return frozenset(stage.fingerprint for stage in make_plan(loaded).stages if stage.kind.name != "failures")


def test_identity_is_what_plans_make_of_it(tmp_path: Path) -> None:
    roles = Reference().roles
    found: Found = {}

    def look(recipe: str, more: dict[str, Any]) -> None:
        def wanted(field: str) -> bool:
            return roles[field] != CONTENT and field not in found and not field.startswith("Ablations.")

        found.update(observed(load_recipe(ROOT / "recipes" / recipe), more, stages, wanted))

    data = load_recipe(ROOT / "recipes" / "cpu" / "small.yaml").data
    splits = {"heldout": ["networkx", "scipy"], "dev": ["pandas"], "base": ["numpy", "matplotlib"]}
    judged_by = {**data["evaluate"], "imported": {}, "overlap": {"masked": False}}
    both_losses = {**data["finetune"], "loss": {"rm": 1.0, "lm": 0.5}}
    look("cpu/small.yaml", {"corpus": {**data["corpus"], **splits}, "finetune": both_losses, "evaluate": judged_by})
    look("cpu/strong-weak.yaml", {})
    for name in ("rows", "more"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "A text."}\n')
    table = {
        "kind": "jsonl",
        "paths": [str(tmp_path / "rows.jsonl"), str(tmp_path / "more.jsonl")],
        "columns": {"text": "text", "licence": "terms"},
        "licences": ["mit", "isc"],
    }
    look("cpu/small.yaml", {"corpus": table})

    told = {field: {IDENTITY: OTHER, SELECTS: SOME}.get(roles[field], SAME) for field in found}
    assert {field: (found[field], told[field]) for field in found if found[field] != told[field]} == WITHOUT_EFFECT
    assert len(found) > 150


def test_identity_of_a_search_is_its_study() -> None:
    def study(loaded: LoadedRecipe) -> frozenset[str]:
        return frozenset([study_name(TrialPlanner(loaded))])

    roles = Reference().roles
    found = observed(load_recipe(TINY.with_name("search.yaml")), {}, study, lambda field: field.startswith("Search."))
    assert {field: seen == OTHER for field, seen in found.items()} == {
        field: roles[field] == IDENTITY for field in found
    }
    assert len(found) > 3

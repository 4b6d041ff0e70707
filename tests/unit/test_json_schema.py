"""The JSON Schema for editors: committed, current, and of the same mind as the loader."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.recipe.json_schema import json_schema, write_json_schema
from harness.recipe.yaml_source import parse_value

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
SMALL = ROOT / "tests" / "recipes" / "tiny.yaml"


def test_the_committed_json_schema_is_current(tmp_path: Path) -> None:
    """`python -m harness.recipe.reference` writes it."""
    write_json_schema(tmp_path / "schema.json")
    assert (ROOT / "recipes" / "recipe.schema.json").read_text() == (tmp_path / "schema.json").read_text()
    assert json.loads((tmp_path / "schema.json").read_text()) == json_schema()


ANNOTATIONS = {"title", "description", "default", "discriminator", "$schema", "$defs"}
KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "integer": int,
}
LIMITS: dict[str, tuple[Any, Callable[[Any, Any], bool]]] = {  # keyword -> (what it is for, whether it holds)
    "minimum": ((int, float), lambda value, limit: value >= limit),
    "maximum": ((int, float), lambda value, limit: value <= limit),
    "exclusiveMinimum": ((int, float), lambda value, limit: value > limit),
    "exclusiveMaximum": ((int, float), lambda value, limit: value < limit),
    "minItems": (list, lambda value, limit: len(value) >= limit),
    "maxItems": (list, lambda value, limit: len(value) <= limit),
    "minProperties": (dict, lambda value, limit: len(value) >= limit),
    "minLength": (str, lambda value, limit: len(value) >= limit),
    "maxLength": (str, lambda value, limit: len(value) <= limit),
    "pattern": (str, lambda value, pattern: re.search(pattern, value) is not None),
    "required": (dict, lambda value, names: all(name in value for name in names)),
    "enum": (object, lambda value, values: value in values),
    "const": (object, lambda value, other: value == other),
}


def schema_errors(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    """Violations of the part of JSON Schema that ours uses; a keyword not known here fails the test."""

    def below(value: Any, schema: Any) -> list[str]:
        return schema_errors(value, schema, root) if isinstance(schema, dict) else []

    errors: list[str] = []
    for key, rule in schema.items():
        match key:
            case "$ref":
                errors += below(value, root["$defs"][rule.removeprefix("#/$defs/")])
            case "type":
                wrong = not isinstance(value, KINDS[rule]) or (isinstance(value, bool) and rule != "boolean")
                errors += [f"{value!r} is no {rule}"] if wrong else []
            case "anyOf" | "oneOf":
                fitting = sum(not below(value, one) for one in rule)
                errors += [] if fitting == 1 or (fitting and key == "anyOf") else [f"{value!r} fits {fitting} variants"]
            case "if":
                errors += below(value, schema["else" if below(value, rule) else "then"])
            case "properties" | "patternProperties" | "additionalProperties":
                if isinstance(value, dict):
                    errors += _errors_of_keys(value, key, schema, below)
            case "items" | "prefixItems":
                if isinstance(value, list):
                    first = len(schema.get("prefixItems", [])) if key == "items" else 0
                    rules = rule if key == "prefixItems" else [rule] * len(value)
                    errors += [
                        one for item, part in zip(value[first:], rules, strict=False) for one in below(item, part)
                    ]
            case "then" | "else":
                pass
            case _ if key in LIMITS:
                kind, holds = LIMITS[key]
                errors += (
                    [f"{value!r} breaks {key} {rule}"] if isinstance(value, kind) and not holds(value, rule) else []
                )
            case _:
                assert key in ANNOTATIONS, key
    return errors


def _errors_of_keys(value: dict[str, Any], key: str, schema: Mapping[str, Any], below: Any) -> list[str]:
    rule = schema[key]
    if key == "properties":
        return [one for name in rule if name in value for one in below(value[name], rule[name])]
    if key == "patternProperties":
        return [one for name in value for key in rule if re.search(key, name) for one in below(value[name], rule[key])]
    others = value.keys() - schema.get("properties", {}).keys()
    if rule is False:
        return [f"{name} is unknown" for name in others]
    return [one for name in others for one in below(value[name], rule)]


def editor(text: str) -> list[str]:
    """What an editor would say of a recipe's text."""
    schema = json_schema()
    return schema_errors(parse_value(text, "recipe"), schema, schema)


@pytest.mark.parametrize("path", [*RECIPES, SMALL], ids=lambda path: path.stem)
def test_an_editor_takes_valid_recipes(path: Path) -> None:
    assert editor(path.read_text()) == []


@pytest.mark.parametrize(
    "more",
    [
        "",
        "pretrain: {schedule: {decay: 0.2}, loss: {lm: 0.0}}",
        "pretrain: {schedule: {}}",
        "pretrain: null",
        "tasks: {sums: {options: {depth: 2}}}",
        "pairs: {rejected: {edits: [1, 1]}}",
        "ablations: {axes: {loss: null, pairs.count: [1, 2], head: {a: {}, b: {finetune.head: reinit}}}}",
        "ablations: null",
    ],
)
def test_an_editor_takes_parts_that_extend(more: str) -> None:
    assert editor(f"extends: base.yaml\n{more}\n") == []


SLIPS = {
    "unknown key": ("layers: 1", "layer: 1"),
    "wrong type": ("hidden_size: 16", "hidden_size: wide"),
    "a word for a switch": ("layers: 1", "layers: 1\n  tie_embeddings: yes"),
    "out of bounds": ("learning_rate: 3.0e-3\n  schedule: {kind: wsd", "learning_rate: 3.0\n  schedule: {kind: wsd"),
    "missing": ("  count: 64\n", ""),
    "unknown variant": ("{kind: wsd, warmup_pairs: 16, decay: 0.25}", "{kind: wsb, warmup_pairs: 16}"),
    "key of another variant": ("{kind: wsd, warmup_pairs: 16, decay: 0.25}", "{kind: wsd, warmup: 0.1}"),
    "tuple too short": ("edits: [1, 2]", "edits: [1]"),
    "tuple too long": ("edits: [1, 2]", "edits: [1, 2, 3]"),
    "test problems for a choice": ("  samples: 32\n", "  samples: 32\n  select: {split: test, every_steps: 2}\n"),
    "an axis that is no axis": ("no-pmp: {pretrain: null}", "no-pmp: pretrain"),
    "a name with a blank": ("name: tiny", "name: a b"),
}


@pytest.mark.parametrize(("old", "new"), SLIPS.values(), ids=SLIPS)
def test_an_editor_sees_slips(old: str, new: str) -> None:
    text = SMALL.read_text()
    assert text.count(old) == 1
    assert editor(text.replace(old, new))


@pytest.mark.parametrize(
    "text",
    [
        "extends: 3",
        "extends: [a.yaml, 3]",
        "extends: a.yaml\npretrain: {learning_rte: 0.1}",
        "pretrain: null",
        "[]",
        "1",
    ],
)
def test_an_editor_sees_slips_in_parts(text: str) -> None:
    assert editor(text)


def test_every_number_of_a_recipe_is_bounded() -> None:
    """What validates must not overflow later, in NumPy, torch or a table."""
    unbounded: list[str] = []

    def walk(here: Any, path: str) -> None:
        if isinstance(here, dict):
            if here.get("type") in ("integer", "number") and not here.keys() & {"maximum", "exclusiveMaximum"}:
                unbounded.append(path)
            for key, value in here.items():
                walk(value, f"{path}/{key}")
        elif isinstance(here, list):
            for index, value in enumerate(here):
                walk(value, f"{path}/{index}")

    walk(json_schema(), "")
    assert not unbounded

"""The JSON Schema of a recipe, for editors: completion, descriptions and warnings while typing.

It says what single keys may hold; what keys say together is checked by `load`. Reads no recipe.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.recipe.schema import Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"
WHOLE = "Recipe"
EXTENDS = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    "description": "Another recipe, relative to this one, or several, of which later ones override; what this says "
    "overrides all.",
}


def json_schema() -> dict[str, Any]:
    """The schema of recipe files: whole ones, and ones with `extends`, in which nothing else is required."""
    whole = Recipe.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = {**whole.pop("$defs"), WHOLE: whole}
    parts = {_part_name(name): _part(definition) for name, definition in definitions.items()}
    parts[_part_name(WHOLE)]["properties"]["extends"] = EXTENDS
    return {
        "$schema": DIALECT,
        "title": WHOLE,
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": f"#/$defs/{_part_name(WHOLE)}"},
        "else": {"$ref": f"#/$defs/{WHOLE}"},
        "$defs": definitions | parts,
    }


def write_json_schema(path: Path) -> None:
    """Write the schema to a file, e.g. `recipes/recipe.schema.json`."""
    path.write_text(json.dumps(json_schema(), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _part_name(name: str) -> str:
    return f"{name}Part"


def _part(schema: Any) -> Any:
    """The same schema with nothing required, for what is merged into a parent."""
    if isinstance(schema, list):
        return [_part(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "$ref":
            result[key] = "#/$defs/" + _part_name(value.removeprefix("#/$defs/"))
        elif key == "oneOf":  # without its required keys a part may fit several
            result["anyOf"] = _part(value)
        elif key == "properties":
            result[key] = {name: _part(one) for name, one in value.items()}
        elif key not in ("required", "discriminator"):
            result[key] = _part(value)
    return result

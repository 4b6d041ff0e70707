"""docs/recipes.md: every field of a recipe, from the schema. `python -m harness.recipe.reference` writes it.

Types, defaults and meanings are those of the JSON Schema that editors read. Written by hand here: the opening, what
chooses between the variants of a block, and which fields are part of no stage's identity.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from harness.recipe.ablate import DISCRIMINATORS
from harness.recipe.evaluate import Evaluate, OtherEvaluation
from harness.recipe.fields import Block
from harness.recipe.inheritance import MOST_PARENTS
from harness.recipe.json_schema import write_json_schema
from harness.recipe.schema import EXPERIMENT_FIELDS, Recipe

OPENING = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")

# What makes a block this variant, where no `kind`, `source` or `from` of its own does.
CHOSEN_BY = {
    "Pairs": "neither `import` nor `construction` is there",
    "NamedPairs": "`construction` is there",
    "ImportedPairs": "`import` is there",
    "TaskBlock": "`kind` is not `pool`",
    "ModelJudge": "`checkpoint` is not there",
    "ImportedRewardModel": "`checkpoint` is there",
    "PluginSide": "`from` is `package.module:name`",
    "Range": "neither `choices` nor `log_ratio` is there",
    "LogRatio": "`log_ratio` is there",
    "Choices": "`choices` is there",
    "Spaced": "`factor` is there",
    "RetentionBlock": "a block stands in place of `true`",
    "OtherEvaluation": "the key of `evaluate` is not one of those above",
}

IDENTITY, CONTENT = "identity", "identity: content"
SELECTS, RUNTIME, SEARCH, SHOWN, CHECKED = (
    f"no identity: {why}" for why in ("selects", "runtime", "search", "shown", "checked")
)
# Of the fields of `Recipe`; all of `Experiment` is identity but for what is below.
OF_RECIPE = {"seeds": IDENTITY, "search": IDENTITY, "runtime": RUNTIME, "plugins": CHECKED}
OF_RECIPE |= {"ablations": SELECTS, "baseline": SELECTS}
# Class, or Class.field -> what it has to do with identity, where it differs from the field that holds it.
ROLES = {
    "Seeds.pretrain": SELECTS,
    "Seeds.finetune": SELECTS,
    "HubModel.revision": CONTENT,
    "FolderModel.path": CONTENT,
    "GgufModel.path": CONTENT,
    "TaskBlock.path": CONTENT,
    "PoolTaskBlock.import": CONTENT,
    "ImportedPairs.import": CONTENT,
    "ImportedRewardModel.checkpoint": CONTENT,
    "Decontamination.against": CONTENT,
    "WSD.allow_decay_inside_warmup": CHECKED,
    "Quality.on_fail": SELECTS,
    "Seeds": IDENTITY,
    "Inclusion": SELECTS,
    "Spaced": SELECTS,
    "Confirm": SELECTS,
    "SearchSeeds": "as the field that holds it",
    "Evaluate.best_of_n": SELECTS,
    "Evaluate.pair_accuracy": SELECTS,
    "Evaluate.code_pairs": SELECTS,
    "Evaluate.retention": SELECTS,
    "Evaluate.failures": SELECTS,
    "Evaluate.probes": SELECTS,
    "Evaluate.reference_scorers": SELECTS,
    "Evaluate.imported": SELECTS,
    "BestOfN.tasks": SELECTS,
    "PairAccuracy.tasks": SELECTS,
    "OtherEvaluation.tasks": SELECTS,
    "Probes.every_pairs": SELECTS,
    "RetentionBlock.lm_eval": SELECTS,
    "LmEvalBlock.tasks": SELECTS,
    "LmEvalBlock.include_path": CONTENT,
    "ImportedRow.checkpoint": CONTENT,
    "ImportedRow.scores": CONTENT,
    "ImportedRow.tasks": SELECTS,
    "Search.trials": SEARCH,
    "Search.parallel": SEARCH,
    "Search.storage": SEARCH,
    "Search.sampler": SEARCH,
    "Search.pruner": SEARCH,
    "Search.confirm": SELECTS,
}


RECIPE_TITLE = "The whole recipe"
LONGEST_DEFAULT = 80  # characters of a table's cell; longer ones are prompts
ABSURD = 1_000_000


class Reference:
    """The Markdown of the reference; a block is described once, below the first field of the recipe that holds it."""

    def __init__(self) -> None:
        self.roles: dict[str, str] = {}
        self.sections = {name: list(self._blocks_of(name)) for name in Recipe.model_fields}

    def text(self) -> str:
        """All of it."""
        experiment = ", ".join(f"`{name}`" for name in EXPERIMENT_FIELDS)
        lines = [OPENING.replace("EXPERIMENT", experiment).replace("MOST_PARENTS", str(MOST_PARENTS))]
        lines += ["## Contents", "", f"- [{RECIPE_TITLE}](#{anchor(RECIPE_TITLE)})"]
        sections = {name: models for name, models in self.sections.items() if models}
        for name, models in sections.items():
            lines += [f"- [`{name}`](#{anchor(section(name))})", *(f"  - {link(model)}" for model in models)]
        lines += [
            "",
            f"## {RECIPE_TITLE}",
            "",
            "And `extends`, see above.",
            "",
            *self._table(Recipe, Recipe.model_fields),
        ]
        for name, models in sections.items():
            lines += ["", f"## {section(name)}", "", Recipe.model_fields[name].description or ""]
            for model in models:
                lines += ["", f"### {title(model)}", "", *self._about(model)]
        return "\n".join(lines) + "\n"

    def _blocks_of(self, field: str) -> Iterator[type[Block]]:
        """Blocks below a field of the recipe that no earlier field holds, outer ones first; sets the roles of all."""
        role = OF_RECIPE.get(field, IDENTITY if field in EXPERIMENT_FIELDS else SHOWN)
        self.roles[f"{Recipe.__name__}.{field}"] = role
        waiting = [(model, role) for model in models_in(Recipe.model_fields[field].annotation)]
        while waiting:
            model, outer = waiting.pop(0)
            if model.__name__ in self.roles:
                continue
            here = self.roles[model.__name__] = ROLES.get(model.__name__, outer)
            yield model
            inner = [(base, here) for base in bases_of(model)]
            for name, one in model.model_fields.items():
                key = f"{model.__name__}.{one.alias or name}"
                self.roles[key] = ROLES.get(key, here)
                # Which evaluations there are is a selection; how each goes is identity.
                below = IDENTITY if self.roles[key] == SELECTS else self.roles[key]
                inner += [(found, below) for found in models_in(one.annotation)]
            inner += [(OtherEvaluation, here)] if model is Evaluate else []
            waiting = [*inner, *waiting]

    def _about(self, model: type[Block]) -> list[str]:
        """What a block is for, what chooses it, and its fields."""
        lines = [" ".join(paragraph.split()) for paragraph in (model.__doc__ or "").split("\n\n")]
        bases = bases_of(model)
        own = [name for name in model.model_fields if name in annotated(model)]
        if bases:
            lines.append(f"It has the fields of {', '.join(map(link, bases))}" + (" and these:" if own else "."))
        return [line for one in lines for line in (one, "")][:-1] + (["", *self._table(model, own)] if own else [])

    def _table(self, model: type[Block], names: Iterable[str]) -> list[str]:
        lines = ["| field | type | default | meaning | identity |", "|---|---|---|---|---|"]
        properties = model.model_json_schema(by_alias=True)["properties"]
        for name in names:
            field = model.model_fields[name]
            key = field.alias or name
            shown = properties[key]
            meaning = shown.get("description", "")
            if not meaning and tag_of(model) == name:
                meaning = "Chooses this block."
            default = "required" if field.is_required() else default_of(field)
            role = self.roles[f"{model.__name__}.{key}"]
            cells = (f"`{key}`", self._type(shown), default, meaning, role)
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
        return lines

    def _type(self, schema: Mapping[str, Any]) -> str:
        """A type of the JSON Schema in words, blocks as links."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return link(self.models[name])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return " or ".join(dict.fromkeys(self._type(one) for one in schema[key]))
        if "enum" in schema or "const" in schema:
            return ", ".join(code(value) for value in schema.get("enum", [schema.get("const")]))
        match schema.get("type"):
            case "array" if "prefixItems" in schema:
                return f"[{', '.join(self._type(one) for one in schema['prefixItems'])}]"
            case "array":
                return f"list of {self._inner(schema.get('items', {}))}"
            case "object":
                values = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties"))
                return f"mapping of names to {self._inner(values if isinstance(values, dict) else {})}"
            case "integer" | "number" as kind:
                return " ".join(filter(None, ({"integer": "whole number", "number": "number"}[kind], limits(schema))))
            case "string":
                return "text"
            case "boolean":
                return "`true`, `false`"
            case "null":
                return "`null`"
        return "any value"

    def _inner(self, schema: Mapping[str, Any]) -> str:
        told = self._type(schema)
        return f"({told})" if " or " in told else told

    @property
    def models(self) -> Mapping[str, type[Block]]:
        """Blocks by name."""
        return {model.__name__: model for models in self.sections.values() for model in models}


# ------------------------------------------------------------------------------------------------------ blocks


def models_in(annotation: Any) -> Iterator[type[Block]]:
    """Blocks that a type names, in its order."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def bases_of(model: type[Block]) -> list[type[Block]]:
    """The blocks whose fields a block has as well; a base with an underscore is no block of its own."""
    return [
        base for base in model.__bases__ if issubclass(base, Block) and base is not Block and base.__name__[0] != "_"
    ]


def annotated(model: type[Block]) -> set[str]:
    """Fields that a block says itself, for the first time or otherwise than its base."""
    hidden = [base for base in model.__mro__ if base.__name__.startswith("_")]
    return {name for one in (model, *hidden) for name in inspect.get_annotations(one)}


def tag_of(model: type[Block]) -> str | None:
    """The field that says by its value alone that a block is this one."""
    for name, field in model.model_fields.items():
        says = (field.alias or name) in DISCRIMINATORS and typing.get_origin(field.annotation) is typing.Literal
        if says and field.is_required():
            return name
    return None


def section(name: str) -> str:
    """The heading of a field of the recipe; GitHub would call two headings of one name differently."""
    return f"The `{name}` block"


def title(model: type[Block]) -> str:
    """The heading of a block: its name in errors and in the JSON Schema, and what chooses it."""
    tag = tag_of(model)
    if tag is None:
        chosen = CHOSEN_BY.get(model.__name__)
        return model.__name__ + (f": where {chosen}" if chosen else "")
    field = model.model_fields[tag]
    values = " or ".join(f"`{field.alias or tag}: {value}`" for value in typing.get_args(field.annotation))
    return f"{model.__name__}: {values}"


def anchor(heading: str) -> str:
    """What GitHub calls a heading in addresses."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def link(model: type[Block]) -> str:
    return f"[{model.__name__}](#{anchor(title(model))})"


# ------------------------------------------------------------------------------------------------------- cells


def code(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def limits(schema: Mapping[str, Any]) -> str:
    """Bounds of a number; those that only an absurd value passes are left out."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ", ".join(f"{sign} {schema[key]:,}" for key, sign in signs.items() if abs(schema.get(key, ABSURD)) < ABSURD)


def default_of(field: FieldInfo) -> str:
    """A default as a recipe would write it; of a block what differs from the block's own defaults."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Block):
        differing = {name: getattr(value, name) for name in type(value).model_fields if name in value.model_fields_set}
        return (
            code(", ".join(f"{name}: {one}" for name, one in differing.items()).join("{}"))
            if differing
            else "its defaults"
        )
    if isinstance(value, str):
        return "empty" if not value else "see the schema" if len(value) > LONGEST_DEFAULT else code(value)
    return code(value)


def recipe_reference() -> str:
    """docs/recipes.md."""
    return Reference().text()


def main() -> None:
    """Write docs/recipes.md and recipes/recipe.schema.json into the clone in which this is called."""
    Path("docs/recipes.md").write_text(recipe_reference(), encoding="utf-8")
    write_json_schema(Path("recipes/recipe.schema.json"))


if __name__ == "__main__":
    main()

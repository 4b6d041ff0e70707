"""Ablation axes: how a recipe enumerates its settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from harness.recipe.fields import MOST_VARIANTS, Block, Count, Name, as_tuple, problem, without_nulls


class Inclusion(Block):
    """One more setting beside the axes' combinations."""

    name: Name = Field(description="Name of the setting.")
    overrides: dict[str, Any] = Field(alias="set", description="What it overrides: {path: value}.")


class Spaced(Block):
    """Whole numbers a factor apart: `{first: 100_000, last: 28_000_000, factor: 1.189}`."""

    first: Count = Field(description="The smallest value.")
    last: Count = Field(description="The largest value is this one or the last below it.")
    factor: Annotated[float, Field(gt=1.0, le=1_000_000.0)] = Field(description="From one value to the next.")

    @property
    def values(self) -> list[int]:
        """From `first` up to `last` at most, each once."""
        steps = math.floor(math.log(self.last / self.first) / math.log(self.factor) + 1e-9)
        return list(dict.fromkeys(round(self.first * self.factor**step) for step in range(steps + 1)))

    @model_validator(mode="after")
    def _ascending(self) -> Spaced:
        if self.last < self.first:
            raise problem("`last` must not be below `first`", f"{self.last:,} < {self.first:,}", "swap them")
        if math.log(self.last / self.first) / math.log(self.factor) > MOST_VARIANTS:
            value = f"`factor: {self.factor}` makes more"
            raise problem(f"an axis may have {MOST_VARIANTS:,} values", value, "raise it")
        return self


def _axis_tag(value: Any) -> str:
    if isinstance(value, list):
        return "listed"
    keys = ("first", "last", "factor")
    spaced = isinstance(value, Mapping) and any(not isinstance(value.get(key), Mapping | None) for key in keys)
    return "Spaced" if spaced or isinstance(value, Spaced) else "named"


Axis = Annotated[
    Annotated[
        dict[Name, dict[str, Any]],
        BeforeValidator(without_nulls, json_schema_input_type=dict[Name, dict[str, Any] | None]),
        Tag("named"),
    ]
    | Annotated[Spaced, Tag("Spaced")]
    | Annotated[list[Any], Tag("listed")],
    Discriminator(_axis_tag),
]


def nothing_if_null(value: Any) -> Any:
    return {} if value is None else value


class Ablations(Block):
    """Axes: a named value is a set of overrides {path: value}; an axis named by a path may list plain values, or say
    whole numbers a factor apart.

    null in the place of an axis, or of a named value, drops that of an extended recipe; null for the whole block drops
    all of it.
    """

    mode: Literal["grid", "zip", "one_at_a_time"] = Field(
        "grid",
        description="How axes combine: every combination; first with first, second with second, ...; or the first of "
        "each, and from there one axis at a time.",
    )
    axes: Annotated[dict[str, Axis], BeforeValidator(without_nulls, json_schema_input_type=dict[str, Axis | None])] = (
        Field(default_factory=dict, description="Name or path of an axis -> its values.")
    )
    include: Annotated[tuple[Inclusion, ...], BeforeValidator(as_tuple)] = Field(
        (), description="Settings beside the axes' combinations."
    )
    exclude: Annotated[tuple[dict[str, Any], ...], BeforeValidator(as_tuple)] = Field(
        (), description="Combinations left out: {axis: value name}, matched on every axis named."
    )

    @property
    def valued(self) -> dict[str, dict[str, dict[str, Any]] | list[Any]]:
        """The axes with all their values."""
        return {name: list(axis.values) if isinstance(axis, Spaced) else axis for name, axis in self.axes.items()}

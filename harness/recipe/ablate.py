"""From axes to settings: which combinations of overrides a recipe asks for. Pure data, no validation of blocks."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import RecipeError
from harness.recipe.ablations import Ablations
from harness.recipe.axes import BETWEEN, Axis, make_axes, names_value, prefix, short

# Keys that say which variant of a block is meant: where they differ, a mapping replaces instead of merging.
DISCRIMINATORS = ("kind", "from", "source", "engine")
SAME_BLOCK = frozenset({"vllm", "transformers"})  # engines whose blocks have the same fields
IMPORT = "import"  # a block that names an import, over one that does not, is another variant too
CONSTRUCTION, SIDES = "construction", ("chosen", "rejected")  # so are pairs with sides of their own over a construction
MOST_SETTINGS = 100_000

Path = tuple[str, ...]
AXES = ("ablations", "axes")


@dataclass(frozen=True, kw_only=True)
class Override:
    """Replace what the recipe says at `path`; `origin` is the place in the recipe that asks for it."""

    path: str
    value: Any
    origin: Path


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination: its name, its value on each axis, and the overrides that make it."""

    name: str
    values: Mapping[str, str]
    overrides: tuple[Override, ...] = field(repr=False)


def merge(old: Any, new: Any, path: Path = ()) -> Any:
    """Mappings merge key by key; everything else, a mapping of another kind and a named value of an axis replace.

    `path` is where they stand in a recipe.
    """
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)) or _is_axis_value(path):
        return new
    if any(_differ(old.get(key), new.get(key)) for key in DISCRIMINATORS if key in old and key in new):
        return new
    if IMPORT in new and IMPORT not in old:
        return new
    if CONSTRUCTION in old and CONSTRUCTION not in new and any(new.get(side) is not None for side in SIDES):
        return new
    merged = dict(old)
    for key, value in new.items():
        merged[key] = merge(old[key], value, (*path, key)) if key in old else value
    return merged


def _differ(old: Any, new: Any) -> bool:
    """Whether two words of a block say different variants; an entry that has such a name, as an axis may, says none."""
    if isinstance(old, Mapping | list) or isinstance(new, Mapping | list):
        return False
    return old != new and not {old, new} <= SAME_BLOCK


def _is_axis_value(path: Path) -> bool:
    return path[:-2] == AXES


# Blocks whose entries have names of the recipe's own: null in an entry's place removes what it had.
NAMED = (
    ("tasks",),
    ("pairs", "judges"),
    ("evaluate", "imported"),
    ("runtime", "keep"),
    ("tags",),
    ("search", "parameters"),
    AXES,
)


def idle_nulls(old: Any, new: Any, path: Path = ()) -> Iterator[Path]:
    """Entries that `new` removes by null from what it is merged into, and that are not there."""
    for key, value in new.items() if isinstance(new, Mapping) else ():
        here = old.get(key) if isinstance(old, Mapping) else None
        if value is None and here is None and (path in NAMED or path[:-1] == AXES):
            yield (*path, key)
        yield from idle_nulls(here, value, (*path, key))


def apply(data: Mapping[str, Any], override: Override) -> dict[str, Any]:
    """`data` with one override applied; the original is left as it is.

    Raises:
        RecipeError: the path runs through something that has no keys.
    """
    keys = override.path.split(".")
    result = dict(data)
    here = result
    for depth, key in enumerate(keys[:-1]):
        below = here.get(key, {})
        if not isinstance(below, Mapping):
            raise RecipeError(
                f"`{override.path}` must lead through blocks",
                f"`{'.'.join(keys[: depth + 1])}` is {'null' if below is None else repr(below)}",
                "override the whole block instead",
            )
        here[key] = dict(below)
        here = here[key]
    here[keys[-1]] = merge(here.get(keys[-1]), override.value, tuple(keys))
    return result


def _axis_values(axis: str, values: Any) -> list[tuple[str, tuple[Override, ...]]]:
    origin: Path = ("ablations", "axes", axis)
    if isinstance(values, Mapping):
        return [
            (name, tuple(Override(path=path, value=value, origin=(*origin, name)) for path, value in chosen.items()))
            for name, chosen in values.items()
        ]
    return [
        (_label(axis, value), (Override(path=axis, value=value, origin=(*origin, str(index))),))
        for index, value in enumerate(values)
    ]


def _label(axis: str, value: Any) -> str:
    return f"{prefix(axis)}{short(value)}"


def axes_of(ablations: Ablations) -> tuple[Axis, ...]:
    """The axes as results show them. A named value is a number where all of its axis set one and the same field."""
    found = {}
    for axis, values in ablations.valued.items():
        if isinstance(values, Mapping):
            found[axis] = list(zip(values, values, _numbers(list(values.values())), strict=True))
        else:
            found[axis] = [(_label(axis, value), short(value), value) for value in values]
    return make_axes(found)


def _numbers(chosen: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What each named value sets the one field to that all of them set; None where they set more or different ones."""
    leaves = [list(_leaves(one)) for one in chosen]
    paths = {path for one in leaves for path, _ in one}
    if len(paths) != 1 or any(len(one) != 1 for one in leaves):
        return [None] * len(chosen)
    return [value for one in leaves for _, value in one]


def _leaves(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _check(ablations: Ablations) -> None:
    for axis, values in ablations.valued.items():
        if not values:
            raise RecipeError(f"axis `{axis}` must have values", "it has none", "add one or drop the axis")
        labels = Counter(name for name, _ in _axis_values(axis, values))
        repeated = [label for label, times in labels.items() if times > 1]
        if repeated:
            raise RecipeError(f"axis `{axis}` must name a value once", f"it repeats {repeated[0]}", "drop the repeat")
    for index, exclusion in enumerate(ablations.exclude):
        where = f"exclude.{index}"
        for axis, value in exclusion.items():
            if axis not in ablations.valued:
                raise RecipeError(
                    "`exclude` must name axes",
                    f"{axis!r} is not one of {', '.join(ablations.valued) or 'no axes'}",
                    "correct the name",
                    where,
                )
            names = [name for name, _ in _axis_values(axis, ablations.valued[axis])]
            if not any(names_value(name, axis, value) for name in names):
                raise RecipeError(
                    f"`exclude` must name values of axis `{axis}`",
                    f"{value!r} is not one of {', '.join(names)}",
                    "correct the value",
                    where,
                )
    if ablations.mode == "grid":  # before anything is left out: walking through them would take as long
        size = math.prod(len(values) for values in ablations.valued.values())
        if size > MOST_SETTINGS:
            rule = f"a recipe may ask for {MOST_SETTINGS:,} settings"
            raise RecipeError(rule, f"its grid has {size:,}", "split the recipe")
    if ablations.mode == "zip" and len({len(values) for values in ablations.valued.values()}) > 1:
        lengths = ", ".join(f"{axis}: {len(values)}" for axis, values in ablations.valued.items())
        raise RecipeError("zipped axes must be equally long", lengths, "pad the shorter one or use mode: grid")


def _combinations(ablations: Ablations) -> Iterator[tuple[tuple[str, tuple[Override, ...]], ...]]:
    axes = [_axis_values(axis, values) for axis, values in ablations.valued.items()]
    if ablations.mode == "grid":
        yield from itertools.product(*axes)
    elif ablations.mode == "zip":
        yield from zip(*axes, strict=True)
    else:
        base = tuple(axis[0] for axis in axes)
        yield base
        for index, axis in enumerate(axes):
            for value in axis[1:]:
                yield (*base[:index], value, *base[index + 1 :])


def _excluded(ablations: Ablations, values: Mapping[str, str]) -> bool:
    return any(
        all(names_value(values[axis], axis, value) for axis, value in exclusion.items())
        for exclusion in ablations.exclude
    )


def points(ablations: Ablations) -> list[Point]:
    """Every combination the recipe asks for, in the order of its axes; one named `base` without axes.

    Raises:
        RecipeError: an axis without values, unequal zip, an `exclude` that names nothing, names that repeat, too many.
    """
    _check(ablations)
    found: list[Point] = []
    names = list(ablations.valued)
    if names:
        for combination in _combinations(ablations):
            values = {axis: label for axis, (label, _) in zip(names, combination, strict=True)}
            if _excluded(ablations, values):
                continue
            overrides = tuple(override for _, chosen in combination for override in chosen)
            found.append(Point(name=BETWEEN.join(values.values()), values=values, overrides=overrides))
    else:
        found.append(Point(name="base", values={}, overrides=()))
    for index, inclusion in enumerate(ablations.include):
        origin: Path = ("ablations", "include", str(index))
        overrides = tuple(
            Override(path=path, value=value, origin=origin) for path, value in inclusion.overrides.items()
        )
        found.append(Point(name=inclusion.name, values={}, overrides=overrides))
    if not found:
        raise RecipeError("a recipe needs a setting", "`exclude` leaves none", "drop an exclusion")
    seen: set[str] = set()
    for point in found:
        if point.name in seen:
            raise RecipeError("settings must have different names", f"{point.name!r} occurs twice", "rename one")
        seen.add(point.name)
    return found

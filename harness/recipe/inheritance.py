"""The data of a recipe: its file laid on those it extends, with what `--set` assigns; each value has its place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import ProblemList, RecipeError
from harness.recipe import ablate
from harness.recipe.yaml_source import Location, Source, parse_value, read_yaml

MOST_PARENTS = 16


def with_parents(path: Path, chain: Sequence[Path], below: Source | None, read: list[Path]) -> Source:
    """A file laid on all that it extends, and that on `below`: what a list of `extends` names before it.

    Args:
        chain: the files that extend this one, from the recipe on.
        below: none for the first file of all.
        read: every file so far; this one is added.
    """
    source = read_yaml(path)
    read.append(path)
    base = below or Source(data={}, lines={}, file=source.file)
    claims = _mapping(base.data.get("claims"))
    resolved = path.resolve()
    for parent, where in _parents(source):
        target = path.parent / parent
        if not os.path.isfile(target):
            rule = "`extends` must name a recipe"
            raise ProblemList([RecipeError(rule, f"there is no {target}", "correct it", where)])
        if target.resolve() in (*chain, resolved):
            rule = "`extends` must end"
            raise ProblemList([RecipeError(rule, f"{parent} comes back to itself", "break the circle", where)])
        if len(read) > MOST_PARENTS:
            rule = f"a recipe may extend {MOST_PARENTS} files, with all that they extend"
            raise ProblemList([RecipeError(rule, f"{parent} is one more", "join some", where)])
        base = with_parents(target, (*chain, resolved), base, read)
        claims = {**claims, **_mapping(base.data.get("claims"))}
    own = {key: value for key, value in source.data.items() if key != "extends"}
    if "claims" in own:
        own["claims"] = _with_fields_of(claims, own["claims"])
    inherited = {key: value for key, value in base.data.items() if key != "claims"}  # they are of its settings
    _require_removals(base.data, own, source)
    return Source(data=ablate.merge(inherited, own), lines={**base.lines, **source.lines}, file=source.file)


def _parents(source: Source) -> list[tuple[str, str]]:
    """(file name, place) of what a file extends, in the order in which they are laid on each other."""
    named = source.data.get("extends")
    listed = named if isinstance(named, list) else [] if named is None else [named]
    for index, name in enumerate(listed):
        if not isinstance(name, str):
            where = str(source.locate(("extends", str(index))))
            rule = "`extends` must be a file name or a list of them"
            raise ProblemList([RecipeError(rule, f"got {name!r}", "name a recipe", where)])
    return [(name, str(source.locate(("extends", str(index))))) for index, name in enumerate(listed)]


def _with_fields_of(inherited: Mapping[str, Any], claims: Any) -> Any:
    """Claims with what they do not say themselves from those of the same names in what is extended."""
    if not isinstance(claims, Mapping):
        return claims
    return {
        name: {**_mapping(inherited.get(name)), **claim} if isinstance(claim, Mapping) else claim
        for name, claim in claims.items()
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _require_removals(old: Mapping[str, Any], new: Mapping[str, Any], source: Source) -> None:
    """Raise for every null by which a recipe would remove what it does not extend."""
    problems = [_nothing_to_remove(path, str(source.locate(path))) for path in ablate.idle_nulls(old, new)]
    if problems:
        raise ProblemList(problems)


def _nothing_to_remove(path: tuple[str, ...], where: str) -> RecipeError:
    name = ".".join(path)
    return RecipeError(
        f"`{name}: null` removes an entry of the recipe that is extended",
        f"there is no `{name}` to remove",
        "correct the name or drop the line",
        where,
    )


def assigned(source: Source, assignment: str) -> Source:
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
        data = applied(source.data, override)
    except RecipeError as error:
        raise ProblemList([RecipeError(error.rule, error.value, error.remedy, where)]) from None
    keys = tuple(path.split("."))
    lines = {**source.lines, **dict.fromkeys(_paths(value, keys), Location(file=where, line=0))}
    return Source(data=data, lines=lines, file=source.file)


def applied(data: Mapping[str, Any], override: ablate.Override) -> dict[str, Any]:
    """As `ablate.apply`.

    Raises:
        RecipeError: also for a null that removes nothing.
    """
    new = override.value
    for key in reversed(override.path.split(".")):
        new = {key: new}
    for path in ablate.idle_nulls(data, new):
        raise _nothing_to_remove(path, "")
    return ablate.apply(data, override)


def _paths(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, str(key)))

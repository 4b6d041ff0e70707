"""Options of a task, and dealing its clusters out to splits so that no two splits share one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from harness.errors import DataError, RecipeError
from harness.tasks.task import OptionRule, stream

LARGEST_SHARE = 1e6  # shares are relative; beyond this somebody means something else


def whole_number(least: int, most: int) -> OptionRule:
    return OptionRule(
        must=f"be a whole number from {least:,} to {most:,}",
        holds=lambda value: _is_whole(value) and least <= value <= most,
    )


def fewest_and_most(least: int, most: int) -> OptionRule:
    """[fewest, most], both of them included."""
    return OptionRule(
        must=f"be [fewest, most] within {least} and {most}",
        holds=lambda value: (
            isinstance(value, (list, tuple))
            and len(value) == 2
            and all(map(_is_whole, value))
            and least <= value[0] <= value[1] <= most
        ),
    )


SHARES = OptionRule(
    must="give splits numbers above 0",
    holds=lambda value: (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(split, str) for split in value)
        and all(isinstance(share, (int, float)) and not isinstance(share, bool) for share in value.values())
        and all(0 < share <= LARGEST_SHARE for share in value.values())
    ),
)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def wrong_options(
    name: str, options: Mapping[str, Any] | None, defaults: Mapping[str, Any], rules: Mapping[str, OptionRule]
) -> dict[str, RecipeError]:
    """What is wrong with a recipe's options for task `name`, by option: it is not known, or has a wrong value."""
    wrong: dict[str, RecipeError] = {}
    for option, value in dict(options or {}).items():
        if option not in defaults:
            near = difflib.get_close_matches(option, defaults, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(defaults) or 'none'}"
            wrong[option] = RecipeError(f"an option of task {name!r} must be known", f"got {option!r}", hint)
        elif not rules[option].holds(value):
            rule = f"option `{option}` of task {name!r} must {rules[option].must}"
            wrong[option] = RecipeError(rule, f"got {value!r}", f"for instance {defaults[option]}")
    return wrong


def read_options(
    name: str, options: Mapping[str, Any] | None, defaults: Mapping[str, Any], rules: Mapping[str, OptionRule]
) -> dict[str, Any]:
    """`defaults` overridden by a recipe's options for task `name`.

    Raises:
        RecipeError: an option that is not among the defaults, or breaks its rule.
    """
    for error in wrong_options(name, options, defaults, rules).values():
        raise error
    return {**defaults, **dict(options or {})}


def share_problem(name: str, splits: Iterable[str], shares: Mapping[str, float]) -> RecipeError | None:
    """That a split which problems are wanted for has no share of the clusters."""
    for split in splits:
        if split not in shares:
            return RecipeError(
                f"a split of task {name!r} must have a share of the clusters",
                f"got {split!r}",
                f"use {', '.join(shares)}, or name it under `shares`",
            )
    return None


def clusters_of_splits(
    name: str, count_by_split: Mapping[str, int], clusters: Iterable[str], shares: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """The clusters each asked-for split of task `name` draws from.

    Raises:
        RecipeError: a split that `shares` does not name.
    """
    error = share_problem(name, count_by_split, shares)
    if error is not None:
        raise error
    return split_clusters(clusters, shares, seed)


def split_clusters(clusters: Iterable[str], shares: Mapping[str, float], seed: int) -> dict[str, list[str]]:
    """Deal clusters out to splits in proportion to `shares`, at least one each.

    Depends on the names and shares of all splits, not on their order nor on how many problems are wanted.
    """
    splits = sorted(shares)
    order = sorted(clusters)
    stream("split", seed).shuffle(order)
    if len(order) < len(shares):
        raise DataError("every split needs a cluster", f"{len(order)} for {len(shares)} splits", "use fewer splits")
    total = sum(shares.values())
    bounds, reached = [0], 0.0
    for position, split in enumerate(splits, start=1):
        reached += shares[split]
        latest = len(order) - (len(shares) - position)
        bounds.append(min(latest, max(bounds[-1] + 1, round(len(order) * reached / total))))
    return {split: order[bounds[i] : bounds[i + 1]] for i, split in enumerate(splits)}

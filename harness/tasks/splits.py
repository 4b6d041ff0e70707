"""Options of a task, and dealing its clusters out to splits so that no two splits share one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from harness.errors import DataError, RecipeError
from harness.tasks.task import stream


def read_options(name: str, options: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` overridden by a recipe's options for task `name`.

    Raises:
        RecipeError: an option that is not among the defaults.
    """
    given = dict(options or {})
    for key in given:
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(defaults)}"
            raise RecipeError(f"an option of task {name!r} must be known", f"got {key!r}", hint)
    return {**defaults, **given}


def clusters_of_splits(
    name: str, count_by_split: Mapping[str, int], clusters: Iterable[str], shares: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """The clusters each asked-for split of task `name` draws from.

    Raises:
        RecipeError: a split that `shares` does not name.
    """
    for split in count_by_split:
        if split not in shares:
            raise RecipeError(
                f"a split of task {name!r} must have a share of the clusters",
                f"got {split!r}",
                f"use {', '.join(shares)}, or name it under `shares`",
            )
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

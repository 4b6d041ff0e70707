"""Preferences from an imported pool's right and wrong candidates, and imported pairs dealt out to splits.

Everything depends on the data seed and the rows alone; asking for more adds to the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from harness.errors import DataError
from harness.tasks.dealing import couples
from harness.tasks.task import stream


def pool_preferences(pools: Mapping[str, Sequence[Mapping[str, Any]]], wanted: int, seed: int) -> list[dict[str, Any]]:
    """Pairs of a right and a wrong candidate of one problem, one a problem before any problem serves again.

    Args:
        pools: problem -> its candidate rows.
        wanted: pairs asked for; fewer are a prefix of more.

    Returns:
        Rows in the columns of `Pairs`; `detail` is the rejected side's error type.

    Raises:
        DataError: the pools do not hold as many different pairs.
    """
    order = sorted(pools)
    stream("pool preference order", seed).shuffle(order)
    sides = [_sides(problem, pools[problem], seed) for problem in order]
    pairs = [
        {
            "id": f"{order[place]}#{index}",
            "cluster": chosen["cluster"],
            "prompt": chosen["prompt"],
            "chosen": chosen["text"],
            "rejected": rejected["text"],
            "detail": rejected["error_type"],
        }
        for index, (place, chosen, rejected) in enumerate(islice(couples(sides), wanted))
    ]
    if len(pairs) < wanted:
        raise DataError(
            "a pool must have as many preferences as requested",
            f"its {len(order):,} problems give {len(pairs):,} of {wanted:,}",
            "request fewer, or more problems",
        )
    return pairs


def _sides(
    problem: str, rows: Sequence[Mapping[str, Any]], seed: int
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """(right, wrong) candidates of different texts, in an order drawn from the seed."""
    texts: dict[bool, dict[str, Mapping[str, Any]]] = {True: {}, False: {}}
    for row in rows:
        if row["text"]:  # nothing to train on otherwise
            texts[row["correct"]].setdefault(row["text"], row)
    both = texts[True].keys() & texts[False].keys()
    sides = []
    for correct in (True, False):
        side = [row for text, row in texts[correct].items() if text not in both]
        stream("pool preference", seed, problem, str(correct)).shuffle(side)
        sides.append(side)
    return sides[0], sides[1]


def split_pairs(
    rows: Sequence[Mapping[str, Any]], heldout: float, seed: int, *, dev: float = 0.0
) -> dict[str, list[Mapping[str, Any]]]:
    """`train`, `heldout` and `dev` pairs in an order drawn from the seed; no cluster is in two.

    Args:
        heldout: share of the pairs to hold out; at least one cluster is, and one is left.
        dev: share of the pairs to choose settings by; 0 takes none, else at least one cluster is.

    Raises:
        DataError: there are too few clusters.
    """
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["cluster"]] = sizes.get(row["cluster"], 0) + 1
    if len(sizes) < 2:
        raise DataError("held-out pairs need a cluster of their own", "all pairs are one cluster", "name more clusters")
    clusters = sorted(sizes)
    stream("pair split", seed).shuffle(clusters)
    if dev and len(sizes) < 3:
        raise DataError("held-out and dev pairs need clusters of their own", "there are two", "name more clusters")
    held = _take(clusters[: -2 if dev else -1], sizes, heldout * len(rows))
    chosen = _take(clusters[len(held) : -1], sizes, dev * len(rows)) if dev else set()
    order = list(rows)
    stream("pair order", seed).shuffle(order)
    return {
        "train": [row for row in order if row["cluster"] not in held | chosen],
        "heldout": [row for row in order if row["cluster"] in held],
        "dev": [row for row in order if row["cluster"] in chosen],
    }


def _take(clusters: Sequence[str], sizes: Mapping[str, int], rows: float) -> set[str]:
    """The first clusters that hold so many rows together."""
    taken: set[str] = set()
    reached = 0
    for cluster in clusters:
        taken.add(cluster)
        reached += sizes[cluster]
        if reached >= rows:
            break
    return taken

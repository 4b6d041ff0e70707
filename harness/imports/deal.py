"""Preferences from an imported pool's right and wrong candidates, and imported pairs dealt out to splits.

Everything depends on the data seed and the rows alone; asking for more adds to the end.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from harness.errors import DataError
from harness.tasks.dealing import couples
from harness.tasks.task import stream

SPLITS = ("train", "heldout", "dev")


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


def split_places(
    clusters: pa.ChunkedArray, split: str, heldout: float, seed: int, *, dev: float = 0.0
) -> NDArray[np.int64]:
    """(pairs,) where each pair comes in a split, in an order drawn from the seed; -1 for those of other splits.

    No cluster is in two splits.

    Args:
        clusters: of each pair its cluster's name.
        split: "train", "heldout" or "dev".
        heldout: share of the pairs to hold out; at least one cluster is, and one is left.
        dev: share of the pairs to choose settings by; 0 takes none, else at least one cluster is.

    Raises:
        DataError: there are too few clusters.
    """
    names = clusters.cast(pa.large_string()).combine_chunks().dictionary_encode()
    cluster_of = names.indices.to_numpy()
    sizes = np.bincount(cluster_of)
    if len(sizes) < 2:
        raise DataError("held-out pairs need a cluster of their own", "all pairs are one cluster", "name more clusters")
    if dev and len(sizes) < 3:
        raise DataError("held-out and dev pairs need clusters of their own", "there are two", "name more clusters")
    drawn = pa.compute.sort_indices(names.dictionary).to_numpy()[_shuffled(len(sizes), "pair split", seed)]
    held = _enough(sizes[drawn[: -2 if dev else -1]], heldout * len(cluster_of))
    chosen = _enough(sizes[drawn[held:-1]], dev * len(cluster_of)) if dev else 0
    split_of = np.full(len(sizes), SPLITS.index("train"), np.int8)
    split_of[drawn[:held]] = SPLITS.index("heldout")
    split_of[drawn[held : held + chosen]] = SPLITS.index("dev")
    order = _shuffled(len(cluster_of), "pair order", seed)
    order = order[split_of[cluster_of[order]] == SPLITS.index(split)]
    places = np.full(len(cluster_of), -1, np.int64)
    places[order] = np.arange(len(order))
    return places


def _shuffled(count: int, name: str, seed: int) -> NDArray[np.int64]:
    numbers = array("q", range(count))
    stream(name, seed).shuffle(numbers)
    return np.frombuffer(numbers, np.int64)


def _enough(sizes: NDArray[np.int64], rows: float) -> int:
    """How many of the first clusters hold so many rows together; at least one, and all where they hold fewer."""
    return min(len(sizes), 1 + int(np.searchsorted(np.cumsum(sizes), rows)))

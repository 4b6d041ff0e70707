"""Splits and preferences of imported pools, splits of imported pairs: nothing crosses, everything nests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.imports.deal import SPLITS, pool_preferences, split_places
from harness.imports.tables import read_pool
from harness.tasks.task import stream
from tests.toys.published import rows_of_pool


def pools_of(problems: int = 24, candidates: int = 8) -> dict[str, list[dict[str, Any]]]:
    rows = read_pool(("", row) for row in rows_of_pool(problems, candidates))
    return {problem: list(pool) for problem, pool in groupby(rows, key=lambda row: row["problem"])}


def test_preferences_are_right_against_wrong_of_one_problem_and_nest() -> None:
    pools = pools_of()
    pairs = pool_preferences(pools, 60, 0)
    assert pool_preferences(pools, 17, 0) == pairs[:17]
    assert pool_preferences(pools, 60, 1) != pairs
    assert len({(pair["chosen"], pair["rejected"]) for pair in pairs}) == 60
    labels = {(problem, row["text"]): row["correct"] for problem, rows in pools.items() for row in rows}
    for pair in pairs:
        problem = pair["id"].partition("#")[0]
        assert labels[problem, pair["chosen"]]
        assert not labels[problem, pair["rejected"]]
        assert pair["prompt"] == pools[problem][0]["prompt"]
    mixed = [problem for problem, rows in pools.items() if 0 < sum(row["correct"] for row in rows) < len(rows)]
    first = [pair["id"].partition("#")[0] for pair in pairs[: len(mixed)]]
    assert sorted(first) == sorted(mixed)  # one a problem before any serves again


def test_every_pair_there_is_comes_once_and_then_the_pool_is_empty() -> None:
    pools = pools_of(6)
    possible = {
        (right["text"], wrong["text"])
        for rows in pools.values()
        for right in rows
        for wrong in rows
        if right["correct"] and not wrong["correct"]
    }
    pairs = pool_preferences(pools, len(possible), 0)
    assert {(pair["chosen"], pair["rejected"]) for pair in pairs} == possible
    with pytest.raises(DataError, match=f"give {len(possible)} of {len(possible) + 1}"):
        pool_preferences(pools, len(possible) + 1, 0)


def test_a_text_that_is_both_right_and_wrong_or_empty_teaches_nothing() -> None:
    pools = pools_of(2)
    rows = pools["pot-1"]
    for row in rows:
        row["text"] = "same" if row["index"] < 7 else ""
    with pytest.raises(DataError, match="give 0 of 1"):
        pool_preferences({"pot-1": rows}, 1, 0)


def split_as_lists(clusters: Sequence[str], heldout: float, seed: int, dev: float) -> dict[str, list[int]]:
    """What `split_places` says, with everything in lists."""
    sizes = Counter(clusters)
    drawn = sorted(sizes)
    stream("pair split", seed).shuffle(drawn)

    def first(some: Sequence[str], share: float) -> list[str]:
        reached = accumulate(sizes[cluster] for cluster in some)
        return list(some[: 1 + sum(1 for size in reached if size < share * len(clusters))])

    held = first(drawn[: -2 if dev else -1], heldout)
    chosen = first(drawn[len(held) : -1], dev) if dev else []
    order = list(range(len(clusters)))
    stream("pair order", seed).shuffle(order)
    of = {cluster: "heldout" if cluster in held else "dev" if cluster in chosen else "train" for cluster in drawn}
    return {split: [row for row in order if of[clusters[row]] == split] for split in SPLITS}


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=30),
    heldout=st.floats(0.01, 0.99),
    dev=st.one_of(st.just(0.0), st.floats(0.01, 0.5)),
    seed=st.integers(0, 3),
)
def test_imported_pairs_are_split_by_cluster(sizes: list[int], heldout: float, dev: float, seed: int) -> None:
    clusters = [f"c{number}" for number, size in enumerate(sizes) for _ in range(size)]
    expected = split_as_lists(clusters, heldout, seed, dev)
    for split in SPLITS:
        places = split_places(pa.chunked_array([clusters[:2], clusters[2:]]), split, heldout, seed, dev=dev)
        rows = np.flatnonzero(places >= 0)
        assert rows[np.argsort(places[rows])].tolist() == expected[split]
    assert expected["train"]
    assert expected["heldout"]
    assert bool(expected["dev"]) == bool(dev)


def test_clusters_are_shared_out() -> None:
    clusters = [str(number // 3) for number in range(90)]

    def split(name: str, seed: int, dev: float = 0.0) -> list[int]:
        return np.flatnonzero(split_places(pa.chunked_array([clusters]), name, 0.1, seed, dev=dev) >= 0).tolist()

    assert len(split("train", 0)) + len(split("heldout", 0)) == 90
    assert len(split("heldout", 0)) == 9
    assert split("heldout", 0) == split("heldout", 0, 0.2) != split("heldout", 1)
    assert len(split("dev", 0, 0.2)) == 18
    with pytest.raises(DataError, match="all pairs are one cluster"):
        split_places(pa.chunked_array([["c", "c"]]), "train", 0.1, 0)
    with pytest.raises(DataError, match="there are two"):
        split_places(pa.chunked_array([["c", "d"]]), "train", 0.1, 0, dev=0.1)

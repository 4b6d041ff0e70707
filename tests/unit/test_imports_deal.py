"""Splits and preferences of imported pools, splits of imported pairs: nothing crosses, everything nests."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest

from harness.errors import DataError
from harness.imports.deal import pool_preferences, split_pairs
from harness.imports.tables import read_pairs, read_pool
from tests.toys.published import rows_of_pairs, rows_of_pool


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


def test_heldout_pairs_share_no_prompt_with_training_pairs() -> None:
    rows = read_pairs(("", row) for row in rows_of_pairs(90))
    splits = split_pairs(rows, 0.1, 0)
    assert len(splits["train"]) + len(splits["heldout"]) == 90
    assert 9 <= len(splits["heldout"]) <= 11
    assert not {row["prompt"] for row in splits["train"]} & {row["prompt"] for row in splits["heldout"]}
    assert not splits["dev"]
    assert splits == split_pairs(rows, 0.1, 0) != split_pairs(rows, 0.1, 1)
    with_dev = split_pairs(rows, 0.1, 0, dev=0.2)
    assert with_dev["heldout"] == splits["heldout"]
    assert 18 <= len(with_dev["dev"]) <= 20
    assert not {row["prompt"] for row in with_dev["dev"]} & {row["prompt"] for row in with_dev["train"]}
    assert [row["cluster"] for row in splits["train"]] != sorted(row["cluster"] for row in splits["train"])
    assert split_pairs(rows[:6], 0.99, 0)["train"]  # one cluster is always left to train on
    with pytest.raises(DataError, match="all pairs are one cluster"):
        split_pairs(rows[:3], 0.1, 0)

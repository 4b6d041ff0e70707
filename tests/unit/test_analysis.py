"""The analysis compares only what was judged on the same data, and leaves out what has no interval."""

from __future__ import annotations

import numpy as np

from harness.stages.analysis import (
    Key,
    Table,
    _above_chance,
    _differences,
    _estimates,
    _incomparable,
    _ranks,
    _with_clusters,
)

PROBLEMS = tuple(f"p{index}" for index in range(40))
CLUSTERS = tuple(f"c{index % 20}" for index in range(40))


def table(level: float, *, data: str = "pool", clusters: tuple[str, ...] = CLUSTERS, seeds: int = 2) -> Table:
    values = np.clip(level + 0.1 * np.sin(np.arange(seeds * 40)).reshape(seeds, 40), 0, 1)
    return Table(
        data=data,
        values={"area": values},
        problems={"area": PROBLEMS},
        clusters={"area": clusters},
        seeds=f"{seeds} fine-tuning seeds",
    )


def board(**rows: Table) -> dict[Key, Table]:
    kinds = {"length": "shallow", "mean": "pool"}
    return {("logic", "best_of_n", kinds.get(name, "setting"), name): found for name, found in rows.items()}


def test_settings_on_the_same_data_are_compared_and_ranked() -> None:
    tables = board(good=table(0.7), base=table(0.4), length=table(0.5), mean=table(0.4))
    (difference,) = _differences(tables, "base", 0)
    assert difference["row"] == "good"
    assert 0.29 < difference["estimate"] < 0.31
    assert difference["low"] > 0
    assert {place["row"]: (place["low"], place["high"]) for place in _ranks(tables)} == {"good": (1, 1), "base": (2, 2)}
    above = {verdict["row"]: verdict for verdict in _above_chance(tables, 0)}
    assert above["good"]["above"]
    assert above["good"]["best_reference"] == "length"
    assert not above["base"]["above"]
    assert _incomparable(tables) == []


def test_settings_on_other_data_have_estimates_and_no_comparison() -> None:
    tables = board(good=table(0.7, data="other"), base=table(0.4), length=table(0.5))
    assert _differences(tables, "base", 0) == []
    assert _ranks(tables) == []
    assert [verdict["row"] for verdict in _above_chance(tables, 0)] == ["base"]
    assert {row["row"] for row in _estimates(tables, 0)} == {"good", "base", "length"}
    (message,) = _incomparable(tables)
    assert "2 different sets of data" in message


def test_a_metric_in_one_cluster_is_left_out_and_said() -> None:
    tables, left_out = _with_clusters(board(good=table(0.7, clusters=("only",) * 40), base=table(0.4)))
    assert [name for *_, name in tables] == ["base"]
    assert len(left_out) == 1
    assert "one cluster" in left_out[0]


def test_intervals_of_accuracies_stay_inside_their_range() -> None:
    two = tuple("ab"[index % 2] for index in range(40))
    for row in _estimates(board(high=table(0.98, clusters=two), low=table(0.02, clusters=two)), 0):
        assert 0.0 <= row["low"] <= row["estimate"] <= row["high"] <= 1.0


def test_an_estimate_averages_seeds_and_says_what_it_covers() -> None:
    found = table(0.5)
    (row,) = _estimates(board(good=found), 0)
    assert abs(row["estimate"] - found.values["area"].mean()) < 1e-12
    assert row["covers"] == "problems; mean of 2 fine-tuning seeds"
    assert len(row["by_seed"]) == 2

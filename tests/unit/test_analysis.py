"""The analysis compares only what was judged on the same data, and leaves out what has no interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.evaluation.seeds import SeededValues
from harness.report.comparison import AnalysisIndex
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
from harness.stages.outcome_tables import Run

PROBLEMS = tuple(f"p{index}" for index in range(40))
CLUSTERS = tuple(f"c{index % 20}" for index in range(40))


def table(
    level: float, *, data: str = "pool", clusters: tuple[str, ...] = CLUSTERS, seeds: int = 3, pmp: int = 0
) -> Table:
    """A row of so many fine-tuning seeds, or of so many PMP seeds with one each; 0 seeds: a reference."""
    runs: list[Run] = [(seed, 0) for seed in range(pmp)] or [(None, seed) for seed in range(seeds)] or [(None, None)]
    waves = np.sin(np.arange(len(runs) * 40) * (1 + level)).reshape(len(runs), 40)
    values = np.clip(level + 0.1 * waves, 0, 1)
    return Table(
        data=data,
        values={"area": SeededValues.of_runs(values, runs)},
        problems={"area": PROBLEMS},
        clusters={"area": clusters},
    )


def board(**rows: Table) -> dict[Key, Table]:
    kinds = {"length": "shallow", "mean": "pool"}
    return {("logic", "best_of_n", kinds.get(name, "setting"), name): found for name, found in rows.items()}


def test_settings_on_the_same_data_are_compared_and_ranked() -> None:
    tables = board(good=table(0.7), base=table(0.4), length=table(0.5, seeds=0), mean=table(0.4, seeds=0))
    (difference,) = _differences(tables, "base", 0)
    assert difference["row"] == "good"
    assert 0.28 < difference["estimate"] < 0.32
    assert difference["low"] > 0
    assert {place["row"]: (place["low"], place["high"]) for place in _ranks(tables)} == {"good": (1, 1), "base": (2, 2)}
    above = {verdict["row"]: verdict for verdict in _above_chance(tables, 0)}
    assert above["good"]["above"]
    assert above["good"]["best_reference"] == "length"
    assert not above["base"]["above"]
    assert _incomparable(tables) == []


def test_settings_on_other_data_have_estimates_and_no_comparison() -> None:
    tables = board(good=table(0.7, data="other"), base=table(0.4), length=table(0.5, seeds=0))
    assert _differences(tables, "base", 0) == []
    assert _ranks(tables) == []
    assert [verdict["row"] for verdict in _above_chance(tables, 0)] == ["base"]
    assert {row["row"] for row in _estimates(tables, 0)} == {"good", "base", "length"}
    (message,) = _incomparable(tables)
    assert "2 different sets of data" in message


def test_a_metric_in_one_cluster_is_left_out_and_said() -> None:
    tables, left_out = _with_clusters(board(good=table(0.7, clusters=("only",) * 40), base=table(0.4)))
    assert [name for *_, name in tables] == ["base"]
    (one,) = left_out
    assert (one["row"], one["metric"]) == ("good", "area")
    assert AnalysisIndex({"left_out": left_out}).in_one_cluster(("logic", "setting", "good")) == {"area"}


def test_intervals_of_accuracies_stay_inside_their_range() -> None:
    two = tuple("ab"[index % 2] for index in range(40))
    for row in _estimates(board(high=table(0.98, clusters=two), low=table(0.02, clusters=two)), 0):
        assert 0.0 <= row["low"] <= row["estimate"] <= row["high"] <= 1.0


def test_an_estimate_averages_seeds_and_says_what_it_covers() -> None:
    found = table(0.5)
    (row,) = _estimates(board(good=found), 0)
    assert abs(row["estimate"] - found.mean("area").mean()) < 1e-12
    assert row["covers"] == "problems × 3 fine-tuning seeds"
    assert len(row["by_seed"]) == 3


@pytest.mark.parametrize("few", [{"seeds": 1}, {"seeds": 2}, {"pmp": 1}, {"pmp": 2}])
def test_with_fewer_than_three_seeds_of_what_differs_nothing_is_put_in_order(few: dict[str, int]) -> None:
    tables = board(good=table(0.7, **few), base=table(0.4), other=table(0.3), length=table(0.5, seeds=0))
    assert {place["row"] for place in _ranks(tables)} == {"base", "other"}
    above = {verdict["row"]: verdict for verdict in _above_chance(tables, 0)}
    assert above["good"]["above"] is None
    assert above["base"]["above"] is False
    (kind,) = few
    words = f"{few[kind]} {'PMP' if kind == 'pmp' else 'fine-tuning'} seed{'s' * (few[kind] > 1)}"
    assert above["good"]["lacking"] == words
    lacking = {one["row"]: one["lacking"] for one in _differences(tables, "base", 0)}
    assert lacking == {"good": words, "other": ""}


def test_a_row_with_one_value_everywhere_has_no_place() -> None:
    flat = Table(
        data="pool",
        values={"area": SeededValues.of_runs(np.full((3, 40), 0.9), [(None, 0), (None, 1), (None, 2)])},
        problems={"area": PROBLEMS},
        clusters={"area": CLUSTERS},
    )
    places = _ranks(board(flat=flat, base=table(0.4), other=table(0.3)))
    assert {place["row"] for place in places} == {"base", "other"}


def test_what_beats_a_baseline_holds_for_other_fine_tuning_seeds_too() -> None:
    """Two are enough to enter the interval of a row that claims something, whatever the baseline could claim."""
    good = table(0.7)
    runs: list[Run] = [(one, other) for one in range(3) for other in range(2)]
    values = {"area": SeededValues.of_runs(np.random.default_rng(0).normal(0.7, 0.1, (6, 40)), runs)}
    tables = board(good=replace(good, values=values), length=table(0.3, seeds=2))
    (above,) = _above_chance(tables, 0)
    assert above["difference"]["covers"] == "problems × 3 PMP seeds × 2 fine-tuning seeds"


def test_many_looks_for_above_are_corrected() -> None:
    """Some of forty equal settings are above a reference by chance, and none is called so."""
    draw = np.random.default_rng(3)
    tables = board(length=table(0.5, seeds=0))
    reference = tables["logic", "best_of_n", "shallow", "length"]
    runs: list[Run] = [(None, seed) for seed in range(5)]
    for number in range(40):
        noise = 0.05 * draw.normal(size=(5, 40)) + 0.05 * draw.normal(size=40) + 0.01 * draw.normal(size=(5, 1))
        values = {"area": SeededValues.of_runs(reference.mean("area") + noise, runs)}
        one = Table(data="pool", values=values, problems=reference.problems, clusters=reference.clusters)
        tables["logic", "best_of_n", "setting", f"arm {number}"] = one
    verdicts = _above_chance(tables, 0)
    assert len(verdicts) == 40
    assert any(verdict["difference"]["low"] > 0 for verdict in verdicts)
    assert not any(verdict["above"] for verdict in verdicts)
    assert {verdict["looks"] for verdict in verdicts} == {40}

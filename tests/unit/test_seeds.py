"""Intervals over problems and every seed that varies: what they say, what they cover, and that equal arms stay tied."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.errors import DataError
from harness.evaluation.seeds import FEWEST_SEEDS, Pools, SeededValues, contrast, pool
from harness.report import words
from tests.toys.equal_arms import Case, simulate

Runs = list[tuple[int | None, int | None]]


def row(pmp: int, finetune: int, *, problems: int = 40, seed: int = 0, first: int = 0) -> SeededValues:
    pmp_seeds = range(first, first + pmp) if pmp else [None]
    runs: Runs = [(one, other) for one in pmp_seeds for other in (range(finetune) if finetune else [None])]
    return SeededValues.of_runs(np.random.default_rng(seed).normal(size=(len(runs), problems)), runs)


def test_runs_become_a_grid_whatever_their_order() -> None:
    runs: Runs = [(1, 0), (0, 1), (0, 0), (1, 1)]
    values = np.arange(4.0)[:, None] * np.ones((4, 3))
    grid = SeededValues.of_runs(values, runs)
    assert grid.seeds == ((0, 1), (0, 1))
    assert grid.values[:, :, 0].tolist() == [[2.0, 1.0], [0.0, 3.0]]
    with pytest.raises(DataError, match="every PMP seed with every fine-tuning seed"):
        SeededValues.of_runs(values[:3], runs[:3])


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        (row(0, 0), None, "problems"),
        (row(0, 2), None, "problems; mean of 2 fine-tuning seeds"),
        (row(0, 3), None, "problems × 3 fine-tuning seeds"),
        (row(3, 2), None, "problems × 3 PMP seeds; mean of 2 fine-tuning seeds"),
        (row(3, 2), row(3, 2, seed=1), "problems × 3 PMP seeds × 2 fine-tuning seeds"),
        (row(2, 2), row(2, 2, seed=1), "problems; mean of 2 PMP seeds × 2 fine-tuning seeds"),
        (row(3, 3), row(0, 3), "problems × 3 PMP seeds × 3 fine-tuning seeds"),
        (row(3, 1), row(0, 0), "problems × 3 PMP seeds; mean of 1 fine-tuning seed"),
        (row(3, 1), row(5, 1), "problems × 3 against 5 PMP seeds; mean of 1 fine-tuning seed"),
        (row(2, 1), row(5, 1), "problems; mean of 2 against 5 PMP seeds × 1 fine-tuning seed"),
    ],
)
def test_an_interval_says_what_it_covers(one: SeededValues, other: SeededValues | None, covers: str) -> None:
    interval = contrast(one, other).interval(np.arange(40), seed=0)
    assert interval.covers == covers
    assert interval.low < interval.estimate < interval.high


def test_the_fewest_seeds_are_the_same_everywhere() -> None:
    assert words.FEWEST_SEEDS == FEWEST_SEEDS


def test_a_p_value_is_one_less_the_level_whose_interval_ends_at_zero() -> None:
    for values in (row(3, 0, seed=1), row(6, 0, seed=2), row(3, 3, seed=3)):
        against = contrast(values)
        p_value = against.p_value(np.arange(40))
        interval = against.interval(np.arange(40), seed=0, level=1 - p_value)
        assert min(abs(interval.low), abs(interval.high)) == pytest.approx(0, abs=1e-4)


def test_without_seeds_it_is_the_t_test_over_problems() -> None:
    values = row(0, 0)
    expected = stats.ttest_1samp(values.mean, 0).pvalue
    assert contrast(values).p_value(np.arange(40)) == pytest.approx(expected)


def test_without_any_spread_nothing_is_claimed() -> None:
    alike = SeededValues.of_runs([[0.0, 1.0] * 20], [(None, None)])  # in twenty clusters of one right and one wrong
    assert not contrast(alike).has_spread(np.arange(40) // 2)
    interval = contrast(alike).interval(np.arange(40) // 2, seed=0)
    assert interval.low == interval.high == 0.5
    flat = SeededValues.of_runs(np.full((3, 40), 0.3), [(0, 0), (1, 0), (2, 0)])
    zero = SeededValues.of_runs(np.full((3, 40), 0.1), [(0, 0), (1, 0), (2, 0)])
    assert contrast(flat, zero).p_value(np.arange(40)) == 1.0
    assert not contrast(flat).has_spread(np.arange(40))


def test_differences_that_were_seen_to_change_sign_are_no_order() -> None:
    """Two learning rates without PMP, five fine-tuning seeds: once put in order by an interval over problems alone."""
    gaps = np.array([0.054, 0.053, -0.040, -0.003, 0.001])
    problems = 0.02 * np.random.default_rng(0).normal(size=300)
    one = SeededValues.of_runs(gaps[:, None] + problems - problems.mean(), [(None, seed) for seed in range(5)])
    other = SeededValues.of_runs(np.zeros((5, 300)), [(None, seed) for seed in range(5)])
    interval = contrast(one, other).interval(np.arange(300), seed=0)
    assert interval.estimate == pytest.approx(0.013)
    assert interval.low < 0 < interval.high
    assert contrast(one, other).p_value(np.arange(300)) > 0.3


def test_pairing_removes_what_problems_share() -> None:
    generator = np.random.default_rng(2)
    easy = generator.random(200)
    one, other = (
        SeededValues.of_runs([easy + gain + 0.01 * generator.normal(size=200)], [(None, None)]) for gain in (0.05, 0.0)
    )
    difference = contrast(one, other).interval(np.arange(200), seed=0)
    alone = contrast(one).interval(np.arange(200), seed=0)
    assert 0.04 < difference.low < 0.05 < difference.high < 0.06
    assert alone.high - alone.low > 10 * (difference.high - difference.low)
    swapped = contrast(other, one).interval(np.arange(200), seed=0)
    np.testing.assert_allclose([swapped.low, swapped.high], [-difference.high, -difference.low])
    with pytest.raises(DataError, match="share their problems"):
        contrast(one, row(0, 0))


def test_pooling_counts_the_rows_that_are_independent() -> None:
    rows = [row(3, 1, seed=seed) for seed in range(4)]
    pooled = pool([contrast(one) for one in rows], (4, 4))
    assert list(pooled) == [0]  # one fine-tuning seed has no spread
    assert pooled[0].degrees_of_freedom == 8
    expected = np.mean([one.values[:, 0].mean(axis=1).var(ddof=1) for one in rows])
    assert pooled[0].variance == pytest.approx(expected)


def test_copies_of_a_row_are_no_more_seeds() -> None:
    """As settings are before fine-tuning that differ in fine-tuning alone: their models are the same ones."""
    one, base, other = row(3, 0, seed=1), row(0, 0, seed=2), row(3, 0, seed=3)
    assert Pools([one, base, one, one]).of(one, base) is None
    pooled = Pools([one, base, one, other, other]).of(one, base)
    assert pooled is not None
    assert pooled[0].degrees_of_freedom == 4


def test_rows_without_pmp_bring_no_pmp_seeds() -> None:
    """Differences from many of them contain the seeds of the few rows that have any."""
    one, other, bare = row(3, 3, seed=1), row(3, 3, seed=2), [row(0, 3, seed=seed) for seed in range(10, 19)]
    for rows, degrees in (([one, *bare], {0: 2, 1: 2}), ([one, other, *bare], {0: 4, 1: 4})):
        pooled = Pools(rows).of(one, bare[0])
        assert pooled is not None
        assert {axis: found.degrees_of_freedom for axis, found in pooled.items()} == degrees


@pytest.mark.parametrize(
    "case",
    [
        Case(pmp_seeds=3, spread=4.0),
        Case(pmp_seeds=5, spread=2.0, pool=16),
        Case(pmp_seeds=0, finetune_seeds=3, without_pmp=4, spread=4.0),
        Case(pmp_seeds=3, finetune_seeds=3, without_pmp=1, spread=2.0),
        Case(pmp_seeds=3, finetune_seeds=2, finetune_spread=4.0),
        Case(pmp_seeds=3, spread=4.0, uneven=4.0),
    ],
)
def test_equal_arms_are_seldom_put_in_order(case: Case) -> None:
    """A slice of `tests/bench/bench_coverage.py`; over problems alone the first would be put in order by 70 %."""
    found = simulate(case, 150, seed=5)
    assert found.false_order <= 0.10
    assert found.cover >= 0.90
    assert found.problems_false_order > 2 * found.false_order


def test_two_seeds_put_nothing_in_order() -> None:
    assert simulate(Case(pmp_seeds=2, spread=4.0), 20, seed=1).false_order == 0.0

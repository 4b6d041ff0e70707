"""Intervals against closed forms and against simulated coverage; corrections and ranks against hand-worked cases."""

from __future__ import annotations

import json
import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from harness.errors import DataError
from harness.evaluation.ranks import holm, rank_groups
from harness.evaluation.statistics import (
    Interval,
    SeedVariance,
    cluster_bootstrap_mean,
    cluster_bootstrap_means,
    crossed_components,
    satterthwaite_degrees,
)

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def skewed(generator: np.random.Generator, clusters: NDArray[np.int64], columns: int) -> NDArray[np.float64]:
    """Accuracies in [0, 1] with mean 0.8 that pile up near 1, correlated 0.3 inside clusters."""
    shared = generator.normal(size=(clusters.max() + 1, columns))[clusters]
    own = generator.normal(size=(len(clusters), columns))
    latent = np.sqrt(0.3) * shared + np.sqrt(0.7) * own
    return np.asarray(stats.beta.ppf(stats.norm.cdf(latent), 1.6, 0.4))


@pytest.mark.parametrize("groups", [15, 30, 100])
def test_bootstrap_covers_about_95_percent(groups: int) -> None:
    generator = np.random.default_rng(groups)
    clusters = np.repeat(np.arange(groups), 1 + generator.integers(0, 8, size=groups))
    data = skewed(generator, clusters, 1_500)
    intervals = cluster_bootstrap_means(data, clusters, resamples=2_000, seed=1)
    cover = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert 0.93 <= cover <= 0.97


def test_ignoring_clusters_covers_too_little() -> None:
    clusters = np.repeat(np.arange(30), 10)
    data = skewed(np.random.default_rng(0), clusters, 500)
    intervals = cluster_bootstrap_means(data, np.arange(300), resamples=500, seed=1)
    assert np.mean([interval.low <= 0.8 <= interval.high for interval in intervals]) < 0.8


def test_bootstrap_of_equal_clusters_is_close_to_the_t_interval() -> None:
    values = np.random.default_rng(1).normal(size=40)
    interval = cluster_bootstrap_mean(values, np.arange(40), resamples=40_000, seed=2)
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert interval.estimate == pytest.approx(values.mean())
    np.testing.assert_allclose([interval.low, interval.high], expected, atol=0.04 * (expected[1] - expected[0]))
    assert interval.clusters == 40
    assert "39.0 degrees" in interval.method


def test_few_clusters_get_the_exact_t_interval() -> None:
    values = np.array([0.1, 0.5, 0.4, 0.9])
    interval = cluster_bootstrap_mean(np.repeat(values, 3), np.repeat(["a", "b", "c", "d"], 3), seed=0, level=0.9)
    low, high = stats.t.interval(0.9, 3, values.mean(), stats.sem(values))
    np.testing.assert_allclose([interval.low, interval.high], [low, high])
    assert interval.method == "CR2 t, 3.0 degrees of freedom"


@pytest.mark.parametrize("correlation", [0.0, 0.4, 1.0])
def test_degrees_of_freedom_are_those_of_the_full_matrices(correlation: float) -> None:
    counts = np.array([12, 1, 5, 2, 3])
    clusters = np.repeat(np.arange(5), counts)
    same = clusters[:, None] == clusters[None, :]
    covariance = np.where(same, correlation, 0.0)
    np.fill_diagonal(covariance, 1.0)
    problems = len(clusters)
    sums = np.eye(5)[:, clusters] @ (np.eye(problems) - 1 / problems)
    scaled = sums / np.sqrt(1 - counts / problems)[:, None]
    moments = scaled @ covariance @ scaled.T
    expected = np.trace(moments) ** 2 / np.trace(moments @ moments)
    assert satterthwaite_degrees(counts.astype(float), correlation) == pytest.approx(expected)
    assert expected < 4
    assert satterthwaite_degrees(np.full(7, 3.0), correlation) == pytest.approx(6)


def test_one_dominant_cluster_gets_the_t_interval() -> None:
    clusters = np.repeat(np.arange(20), [400] + [2] * 19)
    values = np.random.default_rng(3).normal(size=20)[clusters]
    assert cluster_bootstrap_mean(values, clusters, seed=0).method.startswith("CR2 t, 1.")


def test_the_estimate_is_a_ratio_of_sums_and_columns_are_independent_of_one_another() -> None:
    generator = np.random.default_rng(5)
    values, clusters = generator.random((60, 3)), generator.integers(0, 20, size=60)
    intervals = cluster_bootstrap_means(values, clusters, resamples=500, seed=7)
    assert [interval.estimate for interval in intervals] == pytest.approx(values.mean(axis=0))
    for column in range(3):
        alone = cluster_bootstrap_mean(values[:, column], clusters, resamples=500, seed=7)
        assert alone.low == pytest.approx(intervals[column].low)
        assert alone.high == pytest.approx(intervals[column].high)
    shuffled = generator.permutation(60)
    again = cluster_bootstrap_means(values[shuffled], clusters[shuffled], resamples=500, seed=7)
    assert again[0].low == pytest.approx(intervals[0].low)
    assert cluster_bootstrap_mean(values[:, 0], clusters, resamples=500, seed=8).low != intervals[0].low


def test_ten_thousand_resamples_of_a_thousand_problems_take_seconds() -> None:
    started = time.process_time()
    values = np.random.default_rng(0).random((1_000, 9))
    intervals = cluster_bootstrap_means(values, np.arange(1_000), seed=1)
    assert time.process_time() - started < 4.0
    assert all(interval.low < interval.estimate < interval.high for interval in intervals)


def test_bad_values_are_refused_and_equal_clusters_are_named() -> None:
    with pytest.raises(DataError, match="at least two clusters"):
        cluster_bootstrap_mean([1.0, 2.0], ["a", "a"], seed=0)
    with pytest.raises(DataError, match="1 of 2 are not"):
        cluster_bootstrap_mean([1.0, np.nan], ["a", "b"], seed=0)
    with pytest.raises(DataError, match="cluster label"):
        cluster_bootstrap_mean([1.0, 2.0], ["a"], seed=0)
    with pytest.raises(DataError, match="filled table"):
        cluster_bootstrap_means([1.0, 2.0], ["a", "b"], seed=0)
    same = cluster_bootstrap_mean([0.1] * 12, np.arange(12), resamples=100, seed=0)
    assert same.low == same.high == same.estimate
    assert "all clusters alike" in same.method


def test_intervals_are_json() -> None:
    interval = cluster_bootstrap_mean(np.arange(20.0), np.arange(20), resamples=200, seed=0)
    assert Interval(**json.loads(json.dumps(interval.as_json()))) == interval


def over_seeds(
    values: NDArray[np.float64], clusters: NDArray[np.int64], pooled: SeedVariance | None = None
) -> Interval:
    """Of the mean of (seeds, problems)."""
    return crossed_components(values, clusters, seed=pooled).interval(0.95, "problems and seeds")


def crossed(generator: np.random.Generator, seeds: int, problems: int, spread: float) -> NDArray[np.float64]:
    """Values of mean 0; seeds vary `spread` times as much as the error from problems."""
    seed_effects = spread / np.sqrt(problems) * generator.normal(size=(seeds, 1))
    return np.asarray(seed_effects + generator.normal(size=problems) + 0.5 * generator.normal(size=(seeds, problems)))


def cover(seeds: int, spread: float, arms: int, trials: int = 400) -> float:
    generator = np.random.default_rng(seeds * 100 + arms)
    hits = 0
    for _ in range(trials):
        runs = [crossed(generator, seeds, 120, spread) for _ in range(arms)]
        variance = float(np.mean([run.mean(axis=1).var(ddof=1) for run in runs]))
        pooled = SeedVariance(variance=variance, degrees_of_freedom=arms * (seeds - 1.0))
        interval = over_seeds(runs[0], np.arange(120), pooled if arms > 1 else None)
        hits += interval.low <= 0 <= interval.high
    return hits / trials


@pytest.mark.parametrize(("seeds", "spread", "arms"), [(2, 4.0, 5), (3, 1.0, 4), (5, 2.0, 1)])
def test_problem_and_seed_intervals_cover_about_95_percent(seeds: int, spread: float, arms: int) -> None:
    assert 0.92 <= cover(seeds, spread, arms) <= 0.98


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_two_unpooled_seeds_never_cover_less(spread: float) -> None:
    assert cover(2, spread, arms=1) >= 0.94


def test_intervals_over_problems_alone_miss_the_seeds() -> None:
    generator = np.random.default_rng(9)
    hits = 0
    for _ in range(300):
        values = crossed(generator, 2, 120, 4.0).mean(axis=0)
        interval = cluster_bootstrap_mean(values, np.arange(120), resamples=300, seed=0)
        hits += interval.low <= 0 <= interval.high
    assert hits / 300 < 0.7


def test_variance_components_reduce_to_their_limits() -> None:
    generator = np.random.default_rng(11)
    problems = generator.normal(size=50)
    no_seed_effect = over_seeds(np.stack([problems] * 6), np.arange(50))
    expected = stats.t.interval(0.95, 49, problems.mean(), stats.sem(problems))
    np.testing.assert_allclose([no_seed_effect.low, no_seed_effect.high], expected)
    seeds = generator.normal(size=6)
    no_problem_effect = over_seeds(np.repeat(seeds[:, None], 50, axis=1), np.arange(50))
    expected = stats.t.interval(0.95, 5, seeds.mean(), stats.sem(seeds))
    np.testing.assert_allclose([no_problem_effect.low, no_problem_effect.high], expected)


def test_noise_of_single_runs_is_counted_once() -> None:
    # Values with nothing but noise of their own show it in the seed means and in the problem means alike.
    seeds, problems = 3, 3_000
    values = np.random.default_rng(3).normal(size=(seeds, problems))
    pooled = SeedVariance(variance=1 / problems, degrees_of_freedom=1e9)
    interval = over_seeds(values, np.arange(problems) // 4, pooled)
    counted_once = 1.96 / np.sqrt(seeds * problems)
    assert 0.95 < (interval.high - interval.low) / 2 / counted_once < 1.15


def test_one_seed_needs_a_pooled_variance() -> None:
    values = np.random.default_rng(1).normal(size=(1, 30))
    with pytest.raises(DataError, match="pooled seed variance"):
        over_seeds(values, np.arange(30))
    wide = over_seeds(values, np.arange(30), SeedVariance(variance=0.5, degrees_of_freedom=4.0))
    narrow = cluster_bootstrap_mean(values[0], np.arange(30), resamples=500, seed=0)
    assert wide.high - wide.low > narrow.high - narrow.low
    assert "pooled, 4 degrees" in wide.method


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([]).tolist() == []
    with pytest.raises(DataError, match="p-values"):
        holm([0.1, np.nan])


@settings(max_examples=50, deadline=None)
@given(p_values)
def test_adjusted_p_values_are_ordered_between_raw_and_bonferroni(raw: list[float]) -> None:
    step_down = holm(raw)
    bonferroni = np.minimum(np.array(raw) * len(raw), 1)
    assert (np.array(raw) <= step_down + 1e-12).all()
    assert (step_down <= bonferroni + 1e-12).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(step_down[order]) >= 0).all()


def test_ranks_are_ordered_or_declared_tied() -> None:
    means = {"low": 0.1, "twin-a": 0.3, "twin-b": 0.31, "high": 0.5}
    near = {("twin-a", "twin-b"): 0.4}
    p_values = {pair: near.get(pair, 1e-6) for pair in combinations(means, 2)}
    ranks = {place.name: place for place in rank_groups(means, p_values)}
    assert {name: (place.low, place.high) for name, place in ranks.items()} == {
        "high": (1, 1),
        "twin-b": (2, 3),
        "twin-a": (2, 3),
        "low": (4, 4),
    }
    assert ranks["twin-a"].tied_with == ("twin-b",)
    assert ranks["high"].tied_with == ()
    assert next(iter(ranks)) == "high"


def test_ranks_are_corrected_for_the_number_of_pairs() -> None:
    three = dict(zip("abc", (0.1, 0.2, 0.3), strict=True))
    assert [place.low for place in rank_groups({"a": 0.1, "b": 0.2}, {("a", "b"): 0.03})] == [1, 2]
    assert [place.high for place in rank_groups(three, dict.fromkeys(combinations("abc", 2), 0.03))] == [3, 3, 3]
    assert rank_groups({"only": 1.0}, {})[0].high == 1

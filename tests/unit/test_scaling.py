"""The law along a numeric axis: exact on exact data, its intervals on simulated data, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy.special import expit

from harness.errors import DataError
from harness.evaluation.scaling import Law, fit_law
from harness.evaluation.seeds import SeededValues
from harness.evaluation.statistics import Interval

CLUSTERS = np.arange(100)


def flat(mean: float, *, pmp: int = 3, finetune: int = 2, problems: int = 100) -> SeededValues:
    """Every problem and run alike."""
    seeds = (tuple(range(pmp)), tuple(range(finetune)))
    return SeededValues(values=np.full((pmp, finetune, problems), mean), seeds=seeds)


def simulated(
    generator: np.random.Generator,
    doublings: range,
    *,
    intercept: float,
    slope: float,
    trunks: int,
    finetunes: int = 2,
    problems: int = 300,
    spread: float = 1.0,
) -> dict[float, SeededValues]:
    """Problems, trunks and fine-tuning seeds shift the curve and tilt it; seeds `spread` times as much as problems."""
    of_seeds = spread * 0.25 / np.sqrt(problems)
    shapes = [(1, 1, problems), (trunks, 1, 1), (1, finetunes, 1)]
    sizes = [0.25, of_seeds, of_seeds]
    shift, tilt = (
        sum(size * generator.normal(size=shape) for size, shape in zip(sizes, shapes, strict=True)) for _ in range(2)
    )
    middle = np.mean(doublings)
    return {
        2.0**x: SeededValues(
            values=expit(intercept + slope * x)
            + shift
            + 0.15 * tilt * (x - middle)
            + 0.2 * generator.normal(size=(trunks, finetunes, problems)),
            seeds=(tuple(range(trunks)), tuple(range(finetunes))),
        )
        for x in doublings
    }


def law_of(points: dict[float, SeededValues], clusters: ArrayLike = CLUSTERS, exclude: Sequence[float] = ()) -> Law:
    law, why_not = fit_law(points, clusters, exclude=exclude)
    assert law is not None, why_not
    assert why_not == ""
    return law


def test_an_exact_law_is_found_exactly() -> None:
    doublings = np.array([10, 11, 13, 14, 16])
    law = law_of({float(2**x): flat(expit(-3 + 0.25 * x)) for x in doublings})
    assert law.intercept == pytest.approx(-3)
    assert law.slope.estimate == pytest.approx(0.25)
    assert law.early == pytest.approx(0.25)
    assert law.late == pytest.approx(0.25)
    height = expit(-3 + 0.25 * 13)
    step = 1e-5
    numerical = 100 * (law.predict(2 ** (13 + step)) - law.predict(2 ** (13 - step))) / (2 * step)
    assert law.points_per_doubling.estimate == pytest.approx(float(numerical), rel=1e-6)
    assert law.predict([2.0**13])[0] == pytest.approx(height)
    assert law.holdout_error == pytest.approx(0, abs=1e-9)
    assert law.leave_one_out_error == pytest.approx(0, abs=1e-9)
    assert law.lacking == ""
    assert json.loads(json.dumps(law.as_json()))["late_minus_early"]["estimate"] == pytest.approx(0, abs=1e-9)


def test_points_inside_warm_up_are_left_out_and_counted() -> None:
    points = {float(2**x): flat(expit(-3 + 0.25 * x)) for x in range(10, 16)}
    spoiled = points | {2.0**10: flat(0.2), 2.0**11: flat(0.2)}
    law = law_of(spoiled, exclude=[2.0**10, 2.0**11, 2.0**3])
    assert law.excluded == 2
    assert law.x == (2.0**12, 2.0**13, 2.0**14, 2.0**15)
    assert law.slope.estimate == pytest.approx(0.25)
    assert fit_law(spoiled, CLUSTERS, exclude=list(spoiled)[:4]) == (
        None,
        "a law needs 3 points, and there are 2 besides 4 left out",
    )


def test_three_points_have_a_law_and_no_halves() -> None:
    law = law_of({float(2**x): flat(0.5 + 0.02 * x) for x in range(3)})
    assert law.late_minus_early is None
    assert law.early is law.late is None


def test_a_curve_that_levels_off_is_seen_in_its_late_half_and_in_its_prediction() -> None:
    generator = np.random.default_rng(0)
    points = simulated(generator, range(14, 22), intercept=-2.6, slope=0.2, trunks=5)
    top = points[2.0**17]
    law = law_of(points | {2.0**x: top for x in range(18, 22)}, np.arange(300))
    assert law.late_minus_early is not None
    assert law.early is not None
    assert law.late_minus_early.high < -law.early / 2
    assert law.holdout_error > 2
    straight = law_of(points, np.arange(300))
    assert abs(straight.holdout_error) < law.holdout_error / 2
    assert straight.leave_one_out_error < law.leave_one_out_error


def test_means_at_the_edge_are_moved_inside_by_half_a_problem_and_counted() -> None:
    law = law_of({1.0: flat(0.5), 2.0: flat(0.9), 4.0: flat(1.0)})
    assert law.clipped == 1
    assert law.means[-1] == 1.0
    assert law_of({1.0: flat(0.5), 2.0: flat(0.9), 4.0: flat(0.995)}).slope.estimate == law.slope.estimate


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ({0.0: flat(0.5), 1.0: flat(0.6), 2.0: flat(0.7)}, "positive numbers, but one is 0"),
        ({1.0: flat(-0.1), 2.0: flat(0.6), 4.0: flat(0.7)}, "between 0 and 1"),
        ({1.0: flat(0.5), 2.0: flat(0.6), 4.0: flat(0.7, problems=50)}, "share their problems"),
    ],
)
def test_what_has_no_logit_or_no_common_problems_is_refused(points: dict[float, SeededValues], says: str) -> None:
    with pytest.raises(DataError, match=says):
        fit_law(points, CLUSTERS)


def test_fewer_than_three_trunks_claim_nothing_and_do_not_enter() -> None:
    points = simulated(np.random.default_rng(0), range(12, 17), intercept=-1, slope=0.1, trunks=2)
    law = law_of(points, np.arange(300))
    assert law.lacking == "2 PMP seeds"
    assert law.slope.covers == "problems; mean of 2 PMP seeds × 2 fine-tuning seeds"


def test_branches_of_one_trunk_cancel_its_luck_and_trunks_of_their_own_do_not() -> None:
    points = simulated(np.random.default_rng(0), range(12, 17), intercept=-1, slope=0.1, trunks=4, spread=4)
    branches = law_of(points, np.arange(300)).slope
    apart = {
        x: SeededValues(values=row.values, seeds=(tuple(range(10 * at, 10 * at + 4)), row.seeds[1]))
        for at, (x, row) in enumerate(points.items())
    }
    alone = law_of(apart, np.arange(300)).slope
    assert branches.covers == "problems × 4 PMP seeds × 2 fine-tuning seeds"
    assert alone.covers == "problems × 4 PMP seeds, not the same at all points × 2 fine-tuning seeds"
    assert alone.estimate == branches.estimate
    assert width(alone) > 1.5 * width(branches)


@pytest.mark.parametrize(("trunks", "spread"), [(3, 2.0), (5, 0.5), (5, 4.0)])
def test_intervals_cover_the_truth_and_estimates_are_not_biased(trunks: int, spread: float) -> None:
    slope, doublings, rounds = 0.12, range(16, 22), 200
    height = expit(-2 + slope * np.mean(doublings))
    truth = np.array([slope, 100 * height * (1 - height) * slope, 0.0])
    generator = np.random.default_rng(trunks)
    laws = [
        law_of(
            simulated(generator, doublings, intercept=-2, slope=slope, trunks=trunks, finetunes=3, spread=spread),
            np.arange(300),
        )
        for _ in range(rounds)
    ]
    found = [[law.slope, law.points_per_doubling, law.late_minus_early] for law in laws]
    inside = np.array([[one.low <= true <= one.high for one, true in zip(row, truth, strict=True)] for row in found])
    assert (inside.mean(axis=0) >= 0.92).all(), inside.mean(axis=0)
    estimates = np.array([[one.estimate for one in row] for row in found])
    error = estimates.std(axis=0) / np.sqrt(rounds)
    assert (np.abs(estimates.mean(axis=0) - truth) < 4 * error).all()


def width(interval: Interval) -> float:
    return interval.high - interval.low

"""The sample-efficiency ratio: exact on exact curves, censored where no curve shows it, inside its interval."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from harness.errors import DataError
from harness.evaluation.efficiency import Bound, Ratio, SampleEfficiency, Verdict, sample_efficiency
from harness.evaluation.seeds import SeededValues

Arm = dict[int, SeededValues]

SIZES = [2**doublings for doublings in range(7, 16)]
PROBLEMS = 300


def curve(samples: float) -> float:
    return 0.52 + 0.33 * float(expit((np.log2(samples) - 11) / 1.3))


def flat(values: dict[int, float]) -> Arm:
    """Every problem alike."""
    return {
        size: SeededValues(values=np.full((1, 1, PROBLEMS), value), seeds=((), ())) for size, value in values.items()
    }


def simulated(generator: np.random.Generator, ratio: float, *, spread: float, seeds: int = 3) -> tuple[Arm, Arm]:
    """An arm with PMP seeds and one without, over the same problems and fine-tuning seeds."""
    of_seeds = spread * 0.25 / np.sqrt(PROBLEMS)
    problems = 0.25 * generator.normal(size=PROBLEMS)
    finetunes = of_seeds * generator.normal(size=(1, seeds, 1))

    def arm(trunks: int, ratio: float) -> Arm:
        shape = (max(trunks, 1), seeds, 1)
        luck = problems + 0.15 * generator.normal(size=PROBLEMS) + finetunes
        if trunks:
            luck = luck + of_seeds * generator.normal(size=(trunks, 1, 1))
        return {
            size: SeededValues(
                values=curve(size * ratio)
                + luck
                + 0.3 * of_seeds * generator.normal(size=shape)
                + 0.2 * generator.normal(size=(*shape[:2], PROBLEMS)),
                seeds=(tuple(range(trunks)), tuple(range(seeds))),
            )
            for size in SIZES
        }

    return arm(seeds, ratio), arm(0, 1.0)


def efficiency_of(arm: Arm, baseline: Arm, draws: int = 400, seed: int = 0) -> SampleEfficiency:
    found, why_not = sample_efficiency(arm, baseline, np.arange(PROBLEMS), seed=seed, draws=draws)
    assert found is not None, why_not
    assert why_not == ""
    return found


def test_a_curve_shifted_by_three_doublings_has_a_ratio_of_eight() -> None:
    arm = flat({size: curve(8 * size) for size in SIZES if size >= 2**7})
    baseline = flat({8 * size: curve(8 * size) for size in SIZES} | {size: curve(size) for size in SIZES[:3]})
    found = efficiency_of(arm, baseline)
    assert [one.ratio for one in found.ratios[1:]] == [Bound(value=pytest.approx(8)), Bound(value=pytest.approx(8))]
    middle = found.ratios[1]
    assert middle.low == middle.high == middle.ratio
    assert np.interp(np.log2(middle.baseline_samples), np.log2(found.baseline_sizes), found.baseline_curve) == (
        pytest.approx(middle.value)
    )
    assert found.verdict == "more efficient"
    assert json.loads(json.dumps(found.as_json()))["verdict"] == "more efficient"


def test_nothing_is_extrapolated_beyond_either_end_of_the_arm() -> None:
    baseline = {size: 0.5 + 0.04 * at for at, size in enumerate(SIZES)}
    above = efficiency_of(flat({size: 0.7 + 0.001 * at for at, size in enumerate(SIZES)}), flat(baseline))
    # the levels lie at 2, 4 and 6 steps of the baseline, and .70 is above the first two
    assert [one.ratio.censored for one in above.ratios] == [">", ">", "<"]
    assert above.ratios[0].ratio.value == pytest.approx(4)
    assert above.ratios[1].ratio.value == pytest.approx(16)
    assert above.ratios[2].ratio.value == pytest.approx(2**6 / 2**8)
    assert above.ratios[0].larger == above.ratios[2].smaller == 400
    assert above.ratios[0].low.at_least == pytest.approx(4)
    assert above.ratios[0].high.at_most == np.inf
    assert above.ratios[2].low.at_least == -np.inf


def test_a_curve_that_falls_is_levelled() -> None:
    falling = dict(zip(SIZES, [0.50, 0.54, 0.52, 0.60, 0.64, 0.68, 0.72, 0.76, 0.80], strict=True))
    found = efficiency_of(flat(falling), flat(falling))
    assert found.curve[1] == found.curve[2] == pytest.approx(0.53)
    assert found.ratios[0].ratio == Bound(value=pytest.approx(1))


def test_an_interval_that_the_largest_size_cuts_off_has_an_open_end() -> None:
    """The arm reaches three quarters of the baseline's gain just below its largest size: some draws do, others not."""
    generator = np.random.default_rng(2)
    arm, baseline = simulated(generator, 1.0, spread=1.0)
    largest = next(size for size in SIZES if curve(size) > 0.52 + 0.75 * (curve(SIZES[-1]) - curve(SIZES[0])))
    found = efficiency_of({size: row for size, row in arm.items() if size <= largest}, baseline, draws=2000)
    last = found.ratios[-1]
    assert 50 < last.smaller < 1950
    assert last.low.censored == "<"
    assert last.high.censored == ""
    assert last.high.value is not None
    assert found.ratios[0].low.censored == found.ratios[0].high.censored == ""


@pytest.mark.parametrize(("ratio", "spread", "seeds"), [(1.0, 2.0, 3), (4.0, 0.5, 5)])
def test_intervals_cover_the_ratio_and_the_estimate_is_not_biased(ratio: float, spread: float, seeds: int) -> None:
    generator, rounds = np.random.default_rng(seeds), 100
    found = [
        efficiency_of(*simulated(generator, ratio, spread=spread, seeds=seeds), draws=200, seed=at).ratios
        for at in range(rounds)
    ]
    # the truth between sizes is that of curves that are linear between them
    true = efficiency_of(
        flat({size: curve(ratio * size) for size in SIZES}), flat({size: curve(size) for size in SIZES})
    )
    for at, one in enumerate(true.ratios):
        assert one.ratio.value is not None
        covered = [row[at].low.at_least <= one.ratio.value <= row[at].high.at_most for row in found]
        assert np.mean(covered) >= 0.92
        estimates = np.log2([row[at].ratio.value for row in found])
        assert abs(np.median(estimates) - np.log2(one.ratio.value)) < 0.25 * max(1.0, estimates.std())


def test_shared_problems_and_seeds_move_both_arms_alike() -> None:
    _, arm = simulated(np.random.default_rng(1), 1.0, spread=2.0, seeds=5)
    paired = efficiency_of(arm, arm)
    assert paired.covers == "problems × 5 fine-tuning seeds"
    assert paired.ratios[1].low.value == paired.ratios[1].high.value == pytest.approx(1)
    apart = efficiency_of(arm, {size: replace(row, seeds=((), tuple(range(5, 10)))) for size, row in arm.items()})
    assert apart.covers == "problems × 5 fine-tuning seeds, not the same at all points"
    assert apart.ratios[1].low.at_least < 0.9
    assert apart.ratios[1].high.at_most > 1.1


def test_too_few_sizes_and_a_baseline_that_gains_nothing_have_no_ratio() -> None:
    rising, five = flat({size: curve(size) for size in SIZES}), flat({size: curve(size) for size in SIZES[:5]})
    constant = flat(dict.fromkeys(SIZES, 0.5))
    clusters = np.arange(PROBLEMS)
    assert sample_efficiency(rising, five, clusters, seed=0) == (
        None,
        "a sample-efficiency ratio needs 6 sizes an arm, and the baseline has 5",
    )
    assert sample_efficiency(five, rising, clusters, seed=0)[1].endswith("the arm has 5")
    assert "gains nothing" in sample_efficiency(rising, constant, clusters, seed=0)[1]
    with pytest.raises(DataError, match="positive numbers, but one is 0"):
        sample_efficiency(rising | {0: rising[SIZES[0]]}, rising, clusters, seed=0)


@pytest.mark.parametrize(
    ("lows", "highs", "lacking", "verdict"),
    [
        ([Bound(value=50), Bound(value=40, censored=">"), Bound(value=2)], [200, 200, 90], "", "80x class"),
        ([Bound(value=50), Bound(value=60, censored="<"), Bound(value=2)], [200, 200, 90], "", "more efficient"),
        ([Bound(value=1.4), Bound(value=1.6), Bound(value=1.7)], [3, 3, 3], "", "more efficient"),
        ([Bound(value=1.4), Bound(value=1.6), Bound(value=None)], [3, 3, 3], "", "inconclusive"),
        ([Bound(value=0.8), Bound(value=0.9), Bound(value=0.9)], [1.4, 1.6, 1.4], "", "none"),
        ([Bound(value=0.8), Bound(value=0.9), Bound(value=0.9)], [1.4, 1.6, 1.6], "", "inconclusive"),
        ([Bound(value=50), Bound(value=50), Bound(value=50)], [99, 99, 99], "2 PMP seeds", "inconclusive"),
    ],
)
def test_a_verdict_needs_two_levels(lows: list[Bound], highs: list[float], lacking: str, verdict: Verdict) -> None:
    arm = flat({size: curve(size) for size in SIZES})
    one = efficiency_of(arm, arm, draws=10)
    ratios: list[Ratio] = [
        replace(ratio, low=low, high=Bound(value=high))
        for ratio, low, high in zip(one.ratios, lows, highs, strict=True)
    ]
    assert replace(one, ratios=tuple(ratios), lacking=lacking).verdict == verdict

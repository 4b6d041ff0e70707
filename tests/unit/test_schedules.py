"""Learning rates at every boundary, exactly."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from harness.training.schedules import Constant, Cosine, Linear, Schedule, Wsd, learning_rate


def rates(schedule: Schedule, steps: int) -> list[float]:
    return [learning_rate(schedule, step) for step in range(steps)]


def test_wsd_warms_up_stays_and_decays() -> None:
    schedule = Wsd(peak=8.0, warmup_steps=4, decay_start=6, decay_steps=4)
    assert rates(schedule, 12) == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 8.0, 6.0, 4.0, 2.0, 0.0, 0.0]


def test_a_trunk_is_its_branches_before_they_begin() -> None:
    trunk = Wsd(peak=3e-6, warmup_steps=7)
    for decay_start, decay_steps in [(7, 1), (10, 3), (40, 5)]:
        branch = Wsd(peak=3e-6, warmup_steps=7, decay_start=decay_start, decay_steps=decay_steps)
        assert rates(branch, decay_start + 1) == rates(trunk, decay_start + 1)
        assert learning_rate(branch, decay_start + decay_steps - 1) == pytest.approx(3e-6 / decay_steps)
    assert learning_rate(trunk, 10**9) == 3e-6


def test_a_decay_that_begins_inside_the_warm_up_scales_it() -> None:
    schedule = Wsd(peak=1.0, warmup_steps=4, decay_start=2, decay_steps=2)
    assert rates(schedule, 5) == [0.25, 0.5, 0.75, 0.5, 0.0]


def test_wsd_without_warm_up_or_decay_steps() -> None:
    assert rates(Wsd(peak=2.0, warmup_steps=0, decay_start=1, decay_steps=1), 3) == [2.0, 2.0, 0.0]
    assert rates(Wsd(peak=2.0, warmup_steps=0, decay_start=1, decay_steps=0), 3) == [2.0, 2.0, 0.0]


def test_cosine() -> None:
    schedule = Cosine(peak=4.0, warmup=0.2, total_steps=10)
    values = rates(schedule, 11)
    assert schedule.warmup_steps == 2
    assert values[:3] == [2.0, 4.0, 4.0]
    assert values[6] == pytest.approx(2.0)
    assert values[9] == pytest.approx(2.0 * (1 + math.cos(math.pi * 7 / 8)))
    assert values[10] == 0.0
    assert all(0 < later < earlier for earlier, later in pairwise(values[2:10]))


def test_linear() -> None:
    assert rates(Linear(peak=4.0, warmup=0.2, total_steps=10), 11) == [2, 4, 4, 3.5, 3, 2.5, 2, 1.5, 1, 0.5, 0]


def test_constant() -> None:
    assert rates(Constant(peak=2.0), 3) == [2.0, 2.0, 2.0]
    assert rates(Constant(peak=2.0, warmup_steps=2), 3) == [1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("fraction", "total_steps", "steps"), [(0.07, 100, 7), (0.03, 625, 19), (0.0, 50, 0), (0.25, 8, 2), (0.03, 1, 1)]
)
def test_a_warm_up_fraction_rounds_up_but_not_over(fraction: float, total_steps: int, steps: int) -> None:
    assert Cosine(peak=1.0, warmup=fraction, total_steps=total_steps).warmup_steps == steps
    assert Linear(peak=1.0, warmup=fraction, total_steps=total_steps).warmup_steps == steps


@pytest.mark.parametrize(
    "schedule",
    [
        Wsd(peak=1.0, warmup_steps=5, decay_start=20, decay_steps=10),
        Cosine(peak=1.0, warmup=0.1, total_steps=30),
        Linear(peak=1.0, warmup=0.1, total_steps=30),
        Constant(peak=1.0, warmup_steps=3),
    ],
)
def test_no_update_is_made_at_rate_zero(schedule: Schedule) -> None:
    assert all(0 < rate <= 1.0 for rate in rates(schedule, 30))

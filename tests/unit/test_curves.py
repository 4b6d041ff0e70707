"""Thinned curves: few points, the ends among them, and nothing taken back as a training goes on."""

from __future__ import annotations

import pytest

from harness.report.curves import MOST_POINTS, spread, stride_of


@pytest.mark.parametrize("log_every", [1, 7, 10])
@pytest.mark.parametrize("total", [1, 2, 998, 999, 1_000, 1_999, 2_000, 54_321])
def test_a_curve_only_grows_and_never_beyond_the_most(total: int, log_every: int) -> None:
    logged = [step for step in range(1, total + 1) if step % log_every == 0 or step == total]
    stride = stride_of(total)
    shown: list[int] = []
    for reached in sorted({1, len(logged) // 3, len(logged) // 2, len(logged)}):
        now = spread(logged[:reached], stride)
        assert now[: len(shown)] == shown
        shown = now
    assert len({*shown, total}) <= MOST_POINTS
    assert shown[0] == logged[0]
    assert len(shown) >= min(len(logged), MOST_POINTS // 2) // 2


def test_a_stride_that_doubles_keeps_a_part_of_what_was_shown() -> None:
    steps = range(1, 10_000)
    for stride in (1, 2, 4, 8):
        assert set(spread(steps, 2 * stride)) <= set(spread(steps, stride))

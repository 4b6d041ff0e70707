"""The law of a value along a numeric axis, such as Best-of-N against the number of pretraining pairs.

The law is a line in logits, logit(value) = intercept + slope * log2(x), fitted to the means by weighted least squares
with the weights value (1 - value), the minimum logit chi-square fit of Berkson (1944). Whether the line holds is shown
by what it predicts of points that it was not fitted to, and by the slope of its late half less that of its early half.

Every quantity of the law is a smooth function of the means, so its interval is that of a mean: to first order it is the
mean over problems and seeds of sum over x of (derivative by the mean at x) * (value at x), the derivative taken through
the weights as well. Points that share their seeds (branches of one trunk) are summed seed by seed, so that a trunk
enters as a whole; other points bring a spread of their own. The interval is that of `statistics.crossed_components`.
A bootstrap of three trunks could not give it: no resample of three lies further out than the furthest of them.

Simulated cover of the slope at nominal 95 % (300 problems, 4 and 8 branches of 3 and 5 trunks that spread 0.5 and 2
times as much as the problem error): 94-100 % with one fine-tuning seed, 98-100 % with three; a crossed bootstrap of
three trunks covers 83 %.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from harness.errors import DataError
from harness.evaluation import Floats
from harness.evaluation.seeds import FEWEST_SEEDS, SeededValues, counted
from harness.evaluation.statistics import NO_SEEDS, Interval, SeedVariance, crossed_components

FEWEST_POINTS = 3
"""Two points lie on a line whatever the law is."""

FEWEST_POINTS_OF_HALVES = 4
"""So that either half has two."""

POINTS = 100.0
"""A point is a hundredth of the value's range."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """A fitted law.

    Attributes:
        x: what it was fitted to, ascending, in the axis's units.
        means: the mean value at each.
        intercept: logit at x = 1.
        slope: logits per doubling of x.
        points_per_doubling: points per doubling, the slope of the fitted curve at the middle of log2(x)'s range.
        early, late: slope (logits per doubling) of the first and the last half of the points, the middle one in both
            where their number is odd; None with fewer than `FEWEST_POINTS_OF_HALVES` points.
        late_minus_early: their difference.
        holdout_error: prediction less observation at the last x, fitted without it, in points.
        leave_one_out_error: mean absolute error of predicting each point from the others, in points.
        excluded: points that were left out on request.
        clipped: points whose mean lay within half a problem of 0 or 1 and was moved to there, since their logits are
            infinite or nearly so.
        lacking: why no interval of it claims anything, in words; "" where it does.
    """

    x: tuple[float, ...]
    means: tuple[float, ...]
    intercept: float
    slope: Interval
    points_per_doubling: Interval
    early: float | None
    late: float | None
    late_minus_early: Interval | None
    holdout_error: float
    leave_one_out_error: float
    excluded: int
    clipped: int
    lacking: str

    def predict(self, x: ArrayLike) -> Floats:
        """The law's value at each x > 0, of the same shape."""
        doublings = np.log2(np.asarray(x, dtype=np.float64))
        return np.asarray(special.expit(self.intercept + self.slope.estimate * doublings))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def fit_law(
    points: Mapping[float, SeededValues],
    clusters: ArrayLike,
    *,
    exclude: Collection[float] = (),
    level: float = 0.95,
) -> tuple[Law | None, str]:
    """The law of a value along an axis.

    Args:
        points: x > 0 -> its values, which average to between 0 and 1, all over the same problems in the same order.
        clusters: (problems,) labels.
        exclude: x values to leave out, such as those inside warm-up.
        level: nominal coverage of the intervals.

    Returns:
        The law and "", or None and the reason why there is none.

    Raises:
        DataError: an x that is not a positive number, points over different problems, or a mean outside 0 ... 1.
    """
    axis = sorted(x for x in points if x not in exclude)
    excluded = len(points) - len(axis)
    if len(axis) < FEWEST_POINTS:
        return None, f"a law needs {FEWEST_POINTS} points, and there are {len(axis)}" + (
            f" besides {excluded} left out" if excluded else ""
        )
    doublings, rows = log2_axis(axis), [points[x] for x in axis]
    problems = problems_of(rows)
    means = np.array([row.values.mean() for row in rows])
    if means.min() < 0 or means.max() > 1:
        raise DataError(
            "a law in logits is of values between 0 and 1",
            f"the means lie between {means.min():.4g} and {means.max():.4g}",
            "pass accuracies or Best-of-N, not differences",
        )
    edge = 0.5 / problems
    inside = np.clip(means, edge, 1 - edge)
    middle = (doublings[0] + doublings[-1]) / 2
    line = _Line.fit(doublings, inside, middle)

    def interval(estimate: float, gradient: Floats) -> Interval:
        return _interval(estimate, gradient, rows, clusters, level)

    early = late = between = None
    if len(axis) >= FEWEST_POINTS_OF_HALVES:
        half = (len(axis) + 1) // 2
        first = _Line.fit(doublings[:half], inside[:half], middle)
        last = _Line.fit(doublings[-half:], inside[-half:], middle)
        gradient = np.zeros(len(axis))
        gradient[-half:] += last.gradient[1]
        gradient[:half] -= first.gradient[1]
        early, late = first.slope, last.slope
        between = interval(late - early, gradient)
    height = float(special.expit(line.height))
    steep = POINTS * height * (1 - height)
    misses = [_miss(doublings, inside, left_out) for left_out in range(len(axis))]
    law = Law(
        x=tuple(float(x) for x in axis),
        means=tuple(means.tolist()),
        intercept=line.height - line.slope * middle,
        slope=interval(line.slope, line.gradient[1]),
        points_per_doubling=interval(
            steep * line.slope, steep * (line.gradient[1] + line.slope * (1 - 2 * height) * line.gradient[0])
        ),
        early=early,
        late=late,
        late_minus_early=between,
        holdout_error=misses[-1],
        leave_one_out_error=float(np.mean(np.abs(misses))),
        excluded=excluded,
        clipped=int((means != inside).sum()),
        lacking=lacking_of(rows),
    )
    return law, ""


def log2_axis(axis: Sequence[float]) -> Floats:
    """log2 of each x.

    Raises:
        DataError: an x is not a positive finite number.
    """
    wrong = [x for x in axis if not 0 < x < np.inf]
    if wrong:
        raise DataError(
            "the values of a log axis must be positive numbers", f"one is {wrong[0]}", "leave this point out"
        )
    return np.log2(np.asarray(axis, dtype=np.float64))


def problems_of(rows: Sequence[SeededValues]) -> int:
    """The number of problems of every row.

    Raises:
        DataError: the rows differ in it.
    """
    found = {row.values.shape[2] for row in rows}
    if len(found) > 1:
        raise DataError("points of a curve must share their problems", f"they have {sorted(found)}", "report this")
    return int(found.pop())


def lacking_of(rows: Sequence[SeededValues]) -> str:
    """Why nothing can be claimed of these rows together, in words; "" where it can."""
    return next((row.lacking for row in rows if row.lacking), "")


def seed_groups(rows: Sequence[SeededValues], axis: int) -> dict[tuple[int, ...], list[int]]:
    """The seeds along an axis -> the rows that have just these, and so share their luck. Rows without any are left out.

    Empty where a group has too few seeds to show its spread, by the rule of `seeds.Contrast`: what these rows say then
    averages over the seeds of this axis.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for at, row in enumerate(rows):
        if row.seeds[axis]:
            groups.setdefault(row.seeds[axis], []).append(at)
    fewest = FEWEST_SEEDS if lacking_of(rows) else 2
    return groups if all(len(seeds) >= fewest for seeds in groups) else {}


def covers(rows: Sequence[SeededValues]) -> str:
    """What an interval over these rows together covers, such as "problems × 3 PMP seeds; mean of 1 fine-tuning seed".

    Where the rows do not share their seeds it says so: "3 to 5 PMP seeds, not the same at all points".
    """
    varied, averaged = ["problems"], list[str]()
    for axis in (0, 1):
        sets = {row.seeds[axis] for row in rows if row.seeds[axis]}
        if sets:
            fewest, most = min(map(len, sets)), max(map(len, sets))
            words = (f"{fewest} to " if fewest < most else "") + counted(most, axis)
            words += ", not the same at all points" * (len(sets) > 1)
            (varied if seed_groups(rows, axis) else averaged).append(words)
    return " × ".join(varied) + (f"; mean of {' × '.join(averaged)}" if averaged else "")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Line:
    """A fitted line in logits.

    Attributes:
        height: logit at the middle.
        slope: logits per doubling.
        gradient: (2, points), the derivative of height and slope by each mean.
    """

    height: float
    slope: float
    gradient: Floats

    @classmethod
    def fit(cls, doublings: Floats, means: Floats, middle: float) -> _Line:
        """Weighted least squares with w = m (1 - m). With r the residual logits, D the design and dlogit/dm = 1 / w,

        d(height, slope) / dm_i = (D' W D)^-1 D_i (w_i dlogit_i + r_i dw_i) = (D' W D)^-1 D_i (1 + (1 - 2 m_i) r_i).
        """
        design = np.stack([np.ones_like(doublings), doublings - middle], axis=1)
        logits, weighted = special.logit(means), design * (means * (1 - means))[:, None]
        normal = weighted.T @ design
        found = np.linalg.solve(normal, weighted.T @ logits)
        by_mean = 1 + (1 - 2 * means) * (logits - design @ found)
        gradient = np.linalg.solve(normal, design.T * by_mean)
        return cls(height=float(found[0]), slope=float(found[1]), gradient=gradient)


def _miss(doublings: Floats, means: Floats, left_out: int) -> float:
    """Prediction less observation at a point, fitted without it, in points."""
    line = _Line.fit(np.delete(doublings, left_out), np.delete(means, left_out), doublings[left_out])
    return POINTS * float(special.expit(line.height) - means[left_out])


def _interval(
    estimate: float, gradient: Floats, rows: Sequence[SeededValues], clusters: ArrayLike, level: float
) -> Interval:
    """Of a quantity with this derivative by the mean of each row."""
    parts = [slope * (row.values - row.values.mean()) for slope, row in zip(gradient, rows, strict=True)]
    groups = [seed_groups(rows, axis) for axis in (0, 1)]
    shared = [axis for axis in (0, 1) if len(groups[axis]) == 1]
    more = []
    for axis in (0, 1):
        if not groups[axis] or axis in shared[:1]:
            continue  # the spread of the first is in the table, which also shows what seeds do to single problems
        variances, degrees = list[float](), list[float]()
        for seeds, members in groups[axis].items():
            luck = np.sum([parts[at].mean(axis=(1 - axis, 2)) for at in members], axis=0)
            variances.append(float(luck.var(ddof=1)) / len(seeds))
            degrees.append(len(seeds) - 1.0)
        more.append(_sum_of(np.array(variances), np.array(degrees)))
    averaged = tuple(axis for axis in (0, 1) if axis not in shared[:1])
    table = estimate + sum(part.mean(axis=averaged) for part in parts)
    components = crossed_components(np.atleast_2d(table), clusters, seed=None if shared else NO_SEEDS, more=more)
    return components.interval(level, covers(rows))


def _sum_of(variances: Floats, degrees: Floats) -> SeedVariance:
    """Of independent variances, with Satterthwaite's degrees of freedom."""
    total = float(variances.sum())
    if not total:
        return NO_SEEDS
    return SeedVariance(variance=total, degrees_of_freedom=total**2 / float((variances**2 / degrees).sum()))

"""Runs with seeds: means, differences and their intervals over problems and over every seed that varies.

A row of the board has values (PMP seeds, fine-tuning seeds, problems). Both kinds of seeds are crossed: a fine-tuning
seed draws the same subset whatever it goes on from. The spread of a kind of seed enters the interval of a row where
there are at least `FEWEST_SEEDS` of it; fewer are averaged, and the interval says so. What a difference may claim must
hold for other seeds of every kind, so two are enough to enter it, at the price of a wide interval. A row with fewer
than `FEWEST_SEEDS` of what differs claims nothing.

The variance of a mean is the sum of the parts, problems and each kind of seed, less what two of them contain both
(`statistics.crossed_components` has the formula and its simulated cover). Where two rows share their seeds the
difference is taken seed by seed; else each row's own spread is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import DataError
from harness.evaluation import Floats
from harness.evaluation.statistics import (
    NO_SEEDS,
    Components,
    Interval,
    SeedVariance,
    cluster_bootstrap_mean,
    crossed_components,
)

FEWEST_SEEDS = 3
"""Of what differs between two rows: with fewer a difference may be the luck of one run, so nothing is put in order."""

KINDS = ("PMP", "fine-tuning")
SEEDS = ("pretrain", "finetune")
"""The same, as recipes have them."""

Seeds = tuple[tuple[int, ...], tuple[int, ...]]
Pooled = Mapping[int, SeedVariance]
"""Axis -> variance of one seed's mean, pooled over rows or differences that share it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeededValues:
    """Values of one row, or of a difference of two.

    Attributes:
        values: (PMP seeds, fine-tuning seeds, problems); an axis of length 1 where the row has no such seed.
        seeds: the seeds along the first two axes; () where the row has none.
    """

    values: Floats
    seeds: Seeds

    @classmethod
    def of_runs(cls, values: ArrayLike, runs: Sequence[tuple[int | None, int | None]]) -> SeededValues:
        """From the values (runs, problems) of runs with these (PMP seed, fine-tuning seed).

        Raises:
            DataError: not every PMP seed was fine-tuned with every fine-tuning seed, or a run appears twice.
        """
        table = np.asarray(values, dtype=np.float64)
        axes = [sorted({run[axis] for run in runs}, key=lambda seed: (seed is not None, seed)) for axis in (0, 1)]
        order = sorted(range(len(runs)), key=lambda at: (axes[0].index(runs[at][0]), axes[1].index(runs[at][1])))
        if len(set(runs)) != len(runs) or len(runs) != len(axes[0]) * len(axes[1]) or len(table) != len(runs):
            raise DataError(
                "a row must have every PMP seed with every fine-tuning seed once",
                f"it has {len(runs)} runs of {len(axes[0])} and {len(axes[1])} seeds",
                "report this",
            )
        grid = table[order].reshape(len(axes[0]), len(axes[1]), -1)
        seeds = tuple(tuple(seed for seed in axis if seed is not None) for axis in axes)
        return cls(values=grid, seeds=(seeds[0], seeds[1]))

    @property
    def mean(self) -> Floats:
        """(problems,), averaged over seeds."""
        return np.asarray(self.values.mean(axis=(0, 1)))

    @property
    def lacking(self) -> str:
        """Why nothing can be put in order by this row, in words; "" where it can.

        What differs between trained rows is the pretraining where there was one, else the fine-tuning.
        """
        for axis in (0, 1):
            if self.seeds[axis]:
                return "" if len(self.seeds[axis]) >= FEWEST_SEEDS else counted(len(self.seeds[axis]), axis)
        return ""

    def by_run(self) -> list[float]:
        """The mean of every run, PMP seed by PMP seed."""
        return [round(float(one), 6) for one in self.values.mean(axis=2).ravel()]

    def seed_means(self, axis: int) -> Floats:
        """(seeds, problems) along one axis, averaged over the other."""
        if self.values.shape[1 - axis] == 1:  # as it is in most rows: nothing to average, and this is asked for often
            return np.asarray(self.values.take(0, axis=1 - axis))
        return np.asarray(self.values.mean(axis=1 - axis))


def counted(number: int, axis: int) -> str:
    return f"{number} {KINDS[axis]} seed{'s' * (number != 1)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """A row's mean, or the difference of two rows over the same problems.

    Attributes:
        paired: row minus other, seed by seed where they share their seeds.
        apart: axes along which both rows have seeds, and not the same ones: each row's spread is its own.
        of_row: whether it claims something of the row alone, which the other's own seeds do not limit.
    """

    row: SeededValues
    other: SeededValues | None
    paired: SeededValues
    apart: tuple[int, ...]
    of_row: bool = False

    @property
    def fewest(self) -> int:
        """Seeds of a kind whose spread enters."""
        claims = self.other is not None and not self.row.lacking and (self.of_row or not self.other.lacking)
        return 2 if claims else FEWEST_SEEDS

    def varies(self, axis: int) -> bool:
        """Whether the spread of a kind of seed enters."""
        if axis not in self.apart:
            return len(self.paired.seeds[axis]) >= self.fewest
        return all(len(one.seeds[axis]) >= self.fewest for one in (self.row, self.other) if one is not None)

    def covers(self) -> str:
        """What an interval of it covers, such as "problems × 3 PMP seeds; mean of 2 fine-tuning seeds"."""
        varied, averaged = ["problems"], list[str]()
        for axis in (0, 1):
            if axis in self.apart:
                assert self.other is not None
                sides = [row.seeds[axis] for row in (self.row, self.other)]
                words = f"{len(sides[0])} against {counted(len(sides[1]), axis)}"
            elif self.paired.seeds[axis]:
                words = counted(len(self.paired.seeds[axis]), axis)
            else:
                continue
            (varied if self.varies(axis) else averaged).append(words)
        return " × ".join(varied) + (f"; mean of {' × '.join(averaged)}" if averaged else "")

    def components(self, clusters: ArrayLike, pooled: Pooled | None = None) -> Components | None:
        """The parts of the variance of its mean; None where no seed enters, so that there are problems alone."""
        shared = [axis for axis in (0, 1) if axis not in self.apart and self.varies(axis)]
        apart = [
            _mean_variance(row, axis, None)
            for axis in self.apart
            if self.varies(axis)
            for row in (self.row, self.other)
            if row is not None
        ]
        if not shared and not apart:
            return None
        known = {axis: self._of_several(axis, pooled or {}) for axis in shared}
        return crossed_components(
            self.paired.seed_means(shared[0]) if shared else self.paired.mean[None],
            clusters,
            seed=known[shared[0]] if shared else NO_SEEDS,
            more=[*apart, *(_mean_variance(self.paired, axis, known[axis]) for axis in shared[1:])],
        )

    def spread(self, clusters: ArrayLike) -> dict[str, float | None]:
        """What the variance of its mean comes from, free of how many problems and seeds there are.

        A mean over S seeds and P problems has the variance `problem` / P + (`<seed>` + `<seed>_rest` / P) / S, summed
        over both kinds of seed. None: fewer than two seeds of the kind, or not the same ones on both sides; the rest of
        such a kind is within `problem`. Single differences of few seeds are rough, and may come out below 0: take means
        over several before cutting them off there.

        Args:
            clusters: (problems,) labels; `problem` includes what the problems of a cluster share.
        """
        problems = self.paired.values.shape[2]
        over = crossed_components(self.paired.mean[None], clusters, seed=NO_SEEDS).problems.variance
        found: dict[str, float | None] = {}
        for axis, name in enumerate(SEEDS):
            levels = len(self.paired.seeds[axis])
            if levels < 2:
                found |= {name: None, f"{name}_rest": None}
                continue
            parts = crossed_components(self.paired.seed_means(axis), clusters)
            rest = parts.rest.variance * levels
            found |= {name: parts.seed.variance * levels - rest, f"{name}_rest": rest * problems}
            over -= parts.rest.variance
        return {"problem": over * problems, **found}

    def _of_several(self, axis: int, pooled: Pooled) -> SeedVariance | None:
        """The pooled seed variance, unless this contrast's own seeds spread more: rows need not spread alike."""
        found = pooled.get(axis)
        return found if found is not None and _variance(self.paired.seed_means(axis)) <= found.variance else None

    def interval(
        self, clusters: ArrayLike, *, seed: int, level: float = 0.95, pooled: Pooled | None = None
    ) -> Interval:
        """The interval over what `covers` says.

        Args:
            clusters: (problems,) labels.
            seed: of the resamples, where only problems vary.
            pooled: seed variances of several rows.
        """
        components = self.components(clusters, pooled)
        if components is None:
            return cluster_bootstrap_mean(self.paired.mean, clusters, seed=seed, level=level, covers=self.covers())
        return components.interval(level, self.covers())

    def has_spread(self, clusters: ArrayLike) -> bool:
        """Whether its interval has any width: without one, nothing is known of other problems and runs."""
        return self._tested(clusters, None).half_width(0.5) > 0

    def p_value(self, clusters: ArrayLike, pooled: Pooled | None = None) -> float:
        """Two-sided, of a mean of zero. Without any spread nothing can be said, so it is 1."""
        return self._tested(clusters, pooled).p_value()

    def _tested(self, clusters: ArrayLike, pooled: Pooled | None) -> Components:
        components = self.components(clusters, pooled)
        return components or crossed_components(self.paired.mean[None], clusters, seed=NO_SEEDS)


def contrast(row: SeededValues, other: SeededValues | None = None) -> Contrast:
    """A row alone, or against another over the same problems in the same order."""
    if other is None:
        return Contrast(row=row, other=None, paired=row, apart=())
    if row.values.shape[2] != other.values.shape[2]:
        raise DataError("paired rows must share their problems", "they do not", "report this")
    sides, apart = [row.values, other.values], list[int]()
    seeds: list[tuple[int, ...]] = []
    for axis in (0, 1):
        ours, theirs = row.seeds[axis], other.seeds[axis]
        if ours and theirs and ours != theirs:
            apart.append(axis)
            sides = [side.mean(axis=axis, keepdims=True) for side in sides]
            seeds.append(())
        else:
            seeds.append(ours or theirs)
    paired = SeededValues(values=np.asarray(sides[0] - sides[1]), seeds=(seeds[0], seeds[1]))
    return Contrast(row=row, other=other, paired=paired, apart=tuple(apart))


def mean_of(rows: Sequence[SeededValues]) -> SeededValues:
    """The mean of rows over the same problems; one without a kind of seed enters every seed of the others.

    Raises:
        DataError: they have different seeds.
    """
    seeds: list[tuple[int, ...]] = []
    for axis in (0, 1):
        found = {row.seeds[axis] for row in rows} - {()}
        if len(found) > 1:
            raise DataError("rows that are averaged must share their seeds", "they do not", "give them the same seeds")
        seeds.append(next(iter(found), ()))
    values = np.mean(np.broadcast_arrays(*(row.values for row in rows)), axis=0)
    return SeededValues(values=values, seeds=(seeds[0], seeds[1]))


def pool(contrasts: Iterable[Contrast], rows: tuple[int, int]) -> Pooled:
    """Seed variances of rows, or of the differences between them, each used where a row's own is not larger.

    Args:
        contrasts: of rows of one design: the same seeds on the same axes. At least one; taken one at a time, since all
            pairs of hundreds of rows together would take gigabytes.
        rows: by axis, how many independent spreads are in them: k for k rows, k - 1 for all pairs of k rows, and 1
            along an axis whose seeds one and the same row brings to every difference.
    """
    variances: dict[int, list[float]] = {0: [], 1: []}
    levels: dict[int, int] = {}
    for one in contrasts:
        for axis in list(variances):
            if axis in one.apart or not one.varies(axis):
                del variances[axis]
            else:
                variances[axis].append(_variance(one.paired.seed_means(axis)))
                levels[axis] = len(one.paired.seeds[axis])
    return {
        axis: SeedVariance(
            variance=float(np.mean(found)), degrees_of_freedom=float((levels[axis] - 1) * max(1, rows[axis]))
        )
        for axis, found in variances.items()
    }


class Pools:
    """Seed variances that differences between rows judged on the same data share, by the seeds of the two.

    Rows of the same models count once, as those are before fine-tuning that differ in fine-tuning alone.
    """

    def __init__(self, rows: Sequence[SeededValues]) -> None:
        self._rows = list({(row.seeds, row.values.tobytes()): row for row in rows}.values())
        self._known: dict[tuple[Seeds, Seeds], Pooled | None] = {}

    def of(self, one: SeededValues, other: SeededValues) -> Pooled | None:
        """None where there is one such difference: it has its own."""
        key = (one.seeds, other.seeds)
        if key not in self._known:
            self._known[key] = self._pool(*key)
        return self._known[key]

    def _pool(self, ours: Seeds, theirs: Seeds) -> Pooled | None:
        groups = [[row for row in self._rows if row.seeds == seeds] for seeds in (ours, theirs)]
        if ours == theirs:
            pairs, count = list(combinations(groups[0], 2)), len(groups[0]) - 1
            return pool((contrast(*pair) for pair in pairs), (count, count)) if len(pairs) > 1 else None
        pairs = [(one, other) for one in groups[0] for other in groups[1]]
        counts = [len(group) for group in groups]
        rows = spreads(counts, [len(ours[0]), len(theirs[0])]), spreads(counts, [len(ours[1]), len(theirs[1])])
        return pool((contrast(*pair) for pair in pairs), rows) if len(pairs) > 1 else None


def spreads(rows: Sequence[int], seeds: Sequence[int]) -> int:
    """Independent spreads of a kind of seed in the differences between all rows of one sort and all of another.

    With PMP against without it, say: PMP seeds come with the rows that have any. Fine-tuning seeds come with both, and
    those of the few are in every difference.

    Args:
        rows: of each sort.
        seeds: of the kind, that each row of the sort has.
    """
    return min((count for count, there in zip(rows, seeds, strict=True) if there), default=1)


def _variance(seed_means: Floats) -> float:
    """Of one seed's mean over the problems."""
    return float(seed_means.mean(axis=1).var(ddof=1))


def _mean_variance(row: SeededValues, axis: int, pooled: SeedVariance | None) -> SeedVariance:
    """Of the mean over the seeds of an axis."""
    levels = len(row.seeds[axis])
    one = pooled or SeedVariance(variance=_variance(row.seed_means(axis)), degrees_of_freedom=levels - 1.0)
    return SeedVariance(variance=one.variance / levels, degrees_of_freedom=one.degrees_of_freedom)

"""What the models of a row have in common and where they differ: a row with its rewards, ensembles, alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.evaluation import Floats
from harness.evaluation.best_of_n import best_of_n_pools, fitting_sizes
from harness.evaluation.failures import (
    couples_a_problem,
    difficulty,
    disagreement,
    drop_from_peak,
    features,
    margins,
    picked,
    rank_correlations,
    spread,
)
from harness.evaluation.pair_accuracy import right_over_wrong_pools
from harness.evaluation.seeds import Contrast, SeededValues, contrast
from harness.pipeline.evaluations.best_of_n import AREA_POOL_SHARE
from harness.pipeline.failures import ALARM_LEVEL, CONSTANT_SHARE, LENGTH_LEVEL
from harness.stages.estimates import SIGNED, Estimates
from harness.stages.outcome_tables import Run
from harness.stages.pools import Pool

Subset = Literal["all", "right", "wrong"]
SUBSETS: tuple[Subset, ...] = ("all", "right", "wrong")

FEWEST_TO_CORRELATE = 3
"""Candidates: two ranks are in order or not, and correlate by 1 or by -1."""

SAME = 12
"""Decimals beyond which shares of problems differ by rounding alone."""

KINDS = {"PMP seeds": 0, "fine-tuning seeds": 1}
"""What an ensemble is over -> its place in a run's seeds."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Pools with the rewards of a row's models, by run and problem; no runs where there is nothing to compare with."""

    pools: Sequence[Pool]
    rewards: Sequence[Sequence[Floats]]
    runs: Sequence[Run]
    sizes: tuple[int, ...]

    @classmethod
    def of(
        cls, pools: Sequence[Pool], rewards: Sequence[Sequence[Floats]], runs: Sequence[Run], n: Sequence[int]
    ) -> Row:
        smallest = min((len(pool.correct) for pool in pools), default=1)
        return cls(pools=pools, rewards=rewards, runs=runs, sizes=fitting_sizes(n, smallest))

    @property
    def key_size(self) -> int:
        """The largest N above 1 and within a quarter of the pool, or else the largest N."""
        smallest = min((len(pool.correct) for pool in self.pools), default=1)
        return max([size for size in self.sizes if 1 < size <= smallest // AREA_POOL_SHARE] or self.sizes)

    @cached_property
    def difficulties(self) -> list[int | None]:
        return [difficulty(pool.correct) for pool in self.pools]

    @cached_property
    def mixed(self) -> list[int]:
        """Places of the problems with right and wrong candidates: the only ones that are always scored."""
        return [at for at, one in enumerate(self.difficulties) if one is not None]

    @cached_property
    def spreads(self) -> list[float]:
        """(runs,) the standard deviation of rewards within problems with right and wrong candidates."""
        return [spread([rewards[at] for at in self.mixed]) if self.mixed else 1.0 for rewards in self.rewards]

    @cached_property
    def curves(self) -> Floats:
        """(runs, problems, sizes) Best-of-N."""
        return np.array([best_of_n_pools(rewards, self._correct, self.sizes) for rewards in self.rewards])

    def at_key(self, rewards: Sequence[Floats]) -> Floats:
        """(problems,) Best-of-N at the key size."""
        return best_of_n_pools(rewards, self._correct, [self.key_size])[:, 0]

    @cached_property
    def right(self) -> Floats:
        """(runs, problems) the chance that the pick is right."""
        return np.array(
            [
                [float(picked(one) @ pool.correct) for one, pool in zip(rewards, self.pools, strict=True)]
                for rewards in self.rewards
            ]
        )

    @cached_property
    def standardised(self) -> list[list[Floats]]:
        """Rewards by run and problem on one scale: distances from the problem's mean in units of the run's spread."""
        return [
            [(one - one.mean()) / scale for one in rewards]
            for rewards, scale in zip(self.rewards, self.spreads, strict=True)
        ]

    def margins(self, run: int) -> list[Floats]:
        """Of the problems with right and wrong candidates."""
        most = couples_a_problem(len(self.mixed))
        return [margins(self.rewards[run][at], self.pools[at].correct, most) for at in self.mixed]

    def correlations(self, subset: Subset) -> Floats:
        """(runs, problems, features) rank correlations of rewards within problems.

        NaN where there is none: fewer than three such candidates, or only right or only wrong ones in the problem.
        """
        return self._correlations[subset]

    @cached_property
    def _correlations(self) -> dict[Subset, Floats]:
        found: dict[Subset, list[Floats]] = {subset: [] for subset in SUBSETS}
        for at, pool in enumerate(self.pools):
            described, rewards = features(pool.texts), np.array([one[at] for one in self.rewards])
            for subset, of in zip(SUBSETS, (np.ones_like(pool.correct), pool.correct, ~pool.correct), strict=True):
                enough = of.sum() >= FEWEST_TO_CORRELATE and self.difficulties[at] is not None
                values = rank_correlations(rewards[:, of], described[:, of]) if enough else None
                found[subset].append(np.full((len(rewards), len(described)), np.nan) if values is None else values)
        return {subset: np.stack(values, axis=1) for subset, values in found.items()}

    @property
    def _correct(self) -> list[Any]:
        return [pool.correct for pool in self.pools]

    def pairs(self, kind: str) -> list[tuple[int, int]]:
        """Runs that differ in one kind of seed alone."""
        axis = KINDS[kind]
        return [
            (one, other)
            for one, other in combinations(range(len(self.runs)), 2)
            if self.runs[one][1 - axis] == self.runs[other][1 - axis]
        ]

    def groups(self, kind: str) -> list[list[int]]:
        """Runs that differ in one kind of seed alone, all together; none where there is one such seed."""
        axis = KINDS[kind]
        found: dict[int | None, list[int]] = {}
        for at, run in enumerate(self.runs):
            found.setdefault(run[1 - axis], []).append(at)
        return [group for group in found.values() if len(group) > 1]


# ------------------------------------------------------------------------------------ disagreement and ensembles


def disagreements(row: Row, base: Row, estimates: Estimates) -> dict[str, Any]:
    """Shares of problems where the picks of two models are not equally right; means over pairs of models.

    Returns:
        by kind of seed with two or more, and `baseline` with what either side alone gets right.
    """
    found: dict[str, Any] = {}
    for kind in KINDS:
        pairs = row.pairs(kind)
        if pairs:
            apart = np.mean([disagreement(row.right[one], row.right[other]) for one, other in pairs], axis=0)
            found[kind] = {"pairs": len(pairs), "differ": estimates.of(apart)}
    if base.runs:
        ours, theirs = row.right.mean(axis=0), base.right.mean(axis=0)
        found["baseline"] = {
            "pairs": len(row.runs) * len(base.runs),
            "differ": estimates.of(disagreement(ours, theirs)),
            "only_this": estimates.of(ours * (1 - theirs)),
            "only_baseline": estimates.of(theirs * (1 - ours)),
        }
    return found


def ensembles(row: Row, estimates: Estimates) -> list[dict[str, Any]]:
    """Best-of-N at the key size by the mean of standardised rewards, and how much that is above single models.

    Over each kind of seed with two or more, at every seed of the other kind; and over all models where both vary.
    """
    single = np.mean([row.at_key(rewards) for rewards in row.rewards], axis=0)
    found: list[dict[str, Any]] = [
        {"over": "single models", "models": 1, "accuracy": estimates.of(single), "gain": None}
    ]
    grouped = {kind: row.groups(kind) for kind in KINDS}
    if all(grouped.values()):
        grouped["all models"] = [list(range(len(row.runs)))]
    for kind, groups in grouped.items():
        if groups:
            means = [
                [
                    np.mean(of_problem, axis=0)
                    for of_problem in zip(*(row.standardised[at] for at in group), strict=True)
                ]
                for group in groups
            ]
            together = np.mean([row.at_key(rewards) for rewards in means], axis=0)
            found.append(
                {
                    "over": kind,
                    "models": len(groups[0]),
                    "accuracy": estimates.of(together),
                    "gain": estimates.of(together - single, SIGNED),
                }
            )
    return found


# -------------------------------------------------------------------------------------------------------- alarms


def alarms(row: Row, base: Row, clusters: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """What stored scores can show of the failure signatures, each with its p-value.

    Two-sided p-values, and 1 where the estimate lies on the harmless side; whoever shows them corrects for how many
    are looked at, over all rows and tasks. `constant rewards` is no estimate but a count, and has none.
    """
    if len(set(clusters)) < 2:
        return []
    found: list[dict[str, Any]] = []

    def look(rule: str, values: Floats | None, **facts: Any) -> None:
        """Values by run and problem whose mean lies below zero where there is something to alarm of."""
        known = None if values is None else ~np.isnan(values).any(axis=0)
        if values is not None and known is not None and known.any():
            over = contrast(SeededValues.of_runs(np.round(values[:, known], SAME), row.runs))
            found.extend(_look(rule, over, np.array(clusters)[known], seed, facts))

    key = np.array([row.at_key(rewards) for rewards in row.rewards])
    look("falls with N", drop_from_peak(row.curves, clusters, seed), n=row.sizes[-1])
    lengths = [np.array([float(len(text)) for text in pool.texts]) for pool in row.pools]
    chance = np.array([pool.correct.mean() for pool in row.pools])
    for name, reference in (
        ("a random pick", chance),
        ("the longest", row.at_key(lengths)),
        ("the shortest", row.at_key([-one for one in lengths])),
    ):
        look("below a reference", key - reference, n=row.key_size, reference=name)
    above = np.array([right_over_wrong_pools(rewards, row._correct, None).accuracy for rewards in row.rewards])
    look("wrong above right", above - 0.5)
    of_length = np.stack([row.correlations(subset)[:, :, 0] for subset in ("right", "wrong")])
    known = ~np.isnan(of_length).all(axis=0)
    mean = np.full(known.shape, np.nan)
    mean[known] = np.nansum(of_length, axis=0)[known] / (~np.isnan(of_length)).sum(axis=0)[known]
    if known.any():
        overall = float(np.nanmean(mean))
        look("ranks by length", LENGTH_LEVEL - np.sign(overall or 1.0) * mean, correlation=overall, level=LENGTH_LEVEL)
    if base.runs and row.runs[0][0] is not None and base.runs[0][0] is None:
        sides = [
            SeededValues.of_runs(np.round([one.at_key(rewards) for rewards in one.rewards], SAME), one.runs)
            for one in (row, base)
        ]
        if not any(one.lacking for one in sides):
            found += _look("PMP below no PMP", contrast(*sides), np.array(clusters), seed, {"n": row.key_size})
    constant = np.mean([[not np.ptp(rewards[at]) for at in row.mixed] for rewards in row.rewards]) if row.mixed else 0.0
    found.append(
        {
            "rule": "constant rewards",
            "p_value": None,
            "estimate": float(constant),
            "fires": bool(constant > CONSTANT_SHARE),
        }
    )
    return found


def _look(
    rule: str, over: Contrast, clusters: NDArray[Any], seed: int, facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A rule's numbers, with an interval where it may alarm; none where all problems are one cluster."""
    groups = len(set(clusters.tolist()))
    if groups < 2:
        return []
    estimate, covers = float(over.paired.mean.mean()), over.covers()
    p_value = 1.0
    if estimate < 0 and over.has_spread(clusters):
        p_value = over.p_value(clusters)
    elif estimate < 0:
        p_value = 2.0 ** (1 - groups)  # all clusters alike: a sign test is what is left
    one: dict[str, Any] = {"rule": rule, "p_value": p_value, "estimate": estimate, "covers": covers, **facts}
    if p_value <= ALARM_LEVEL:
        interval = over.interval(clusters, seed=seed)
        one |= {"low": interval.low, "high": interval.high}
    return [one]

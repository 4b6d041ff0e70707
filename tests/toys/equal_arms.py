"""Boards of arms that are equally good: how often they are put in order, and what the interval of a difference covers.

A run's value on a problem is the problem's, what the arm does to that problem, the luck of the run's seeds, and noise
of the run on the problem. Seeds spread `spread` times as much as the error that the problems alone give an arm's mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.evaluation.ranks import rank_groups
from harness.evaluation.seeds import SeededValues
from harness.evaluation.statistics import cluster_bootstrap_mean
from harness.stages.analysis import Key, _differences, _ranks
from harness.stages.outcome_tables import Table

BASELINE = "arm 0"
OF_PROBLEMS = 0.2  # standard deviation of what an arm does to a problem
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Case:
    """A board.

    Attributes:
        pmp_seeds, finetune_seeds: of each arm.
        without_pmp: how many of the arms have fine-tuning seeds alone.
        pool: candidates a problem, of which the noise of a run falls with the root.
        finetune_spread: of an arm's fine-tuning seeds, whatever PMP seed they go on from.
        uneven: the first arm's seeds spread so many times as much as the others'.
    """

    pmp_seeds: int
    finetune_seeds: int = 1
    spread: float = 1.0
    problems: int = 300
    pool: int = 256
    arms: int = 4
    without_pmp: int = 0
    finetune_spread: float = 0.0
    uneven: float = 1.0


def board(case: Case, generator: np.random.Generator) -> dict[Key, Table]:
    names = tuple(f"p{index}" for index in range(case.problems))
    problems = generator.beta(2, 2, case.problems)
    of_seeds = OF_PROBLEMS / np.sqrt(case.problems)
    tables: dict[Key, Table] = {}
    for arm in range(case.arms):
        pmp: list[int | None] = [None] if arm < case.without_pmp else list(range(case.pmp_seeds))
        runs = [(seed, finetune) for seed in pmp for finetune in range(case.finetune_seeds)]
        shape = (len(pmp), case.finetune_seeds, 1)
        luck = (
            generator.normal(size=(len(pmp), 1, 1)) * np.ones(shape) if pmp != [None] else generator.normal(size=shape)
        )
        luck = luck * case.spread + case.finetune_spread * generator.normal(size=(1, case.finetune_seeds, 1))
        luck = luck * (case.uneven if arm == 0 else 1.0)
        noise = generator.normal(size=(*shape[:2], case.problems)) * 2 / np.sqrt(case.pool)
        values = problems + OF_PROBLEMS * generator.normal(size=case.problems) + of_seeds * luck + noise
        seeded = SeededValues.of_runs(values.reshape(len(runs), -1), runs)
        tables["task", "best_of_n", "setting", f"arm {arm}"] = Table(
            data="", values={"area": seeded}, problems={"area": names}, clusters={"area": names}
        )
    return tables


@dataclass(frozen=True, kw_only=True)
class Found:
    """Shares of simulated boards.

    Attributes:
        false_order: on which some arms were put in order.
        cover: on which the interval of the first difference held zero; with too few seeds it is the one over problems.
        problems_false_order, problems_cover: the same with intervals over problems alone, as a comparison.
    """

    false_order: float
    cover: float
    problems_false_order: float
    problems_cover: float


def simulate(case: Case, trials: int, seed: int) -> Found:
    generator = np.random.default_rng(seed)
    counts = np.zeros(4)
    for _ in range(trials):
        tables = board(case, generator)
        means = {name: table.mean("area") for (*_, name), table in tables.items()}
        first = means["arm 1"] - means[BASELINE]
        alone = cluster_bootstrap_mean(first, np.arange(case.problems), resamples=200, level=LEVEL, seed=0)
        seeded = alone
        if not tables["task", "best_of_n", "setting", "arm 1"].values["area"].lacking:
            row = next(one for one in _differences(tables, BASELINE, 0) if one["row"] == "arm 1")
            seeded = replace(alone, low=row["low"], high=row["high"])
        counts += [
            any(len(place["tied_with"]) < case.arms - 1 for place in _ranks(tables)),
            seeded.low <= 0 <= seeded.high,
            _orders_by_problems(means),
            alone.low <= 0 <= alone.high,
        ]
    shares = (counts / trials).tolist()
    return Found(false_order=shares[0], cover=shares[1], problems_false_order=shares[2], problems_cover=shares[3])


def _orders_by_problems(means: dict[str, np.ndarray]) -> bool:
    """Whether t tests over the problems alone put some arms in order."""
    names = list(means)
    p_values = {}
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            gaps = means[one] - means[other]
            ratio = abs(gaps.mean()) / (gaps.std(ddof=1) / np.sqrt(len(gaps)))
            p_values[one, other] = float(2 * _normal_tail(ratio))
    places = rank_groups({name: float(values.mean()) for name, values in means.items()}, p_values)
    return any(len(place.tied_with) < len(names) - 1 for place in places)


def _normal_tail(ratio: float) -> float:
    from math import erfc, sqrt

    return 0.5 * erfc(ratio / sqrt(2))

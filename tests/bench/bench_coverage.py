"""How often equal arms are put in order, and what intervals cover, by seeds, their spread, problems and pool.

    python -m tests.bench.bench_coverage [TRIALS]

Simulated (`tests/toys/equal_arms.py`); writes results/coverage.json. About ten minutes with the default of 400 trials.
"""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.toys.equal_arms import Case, simulate

RESULTS = Path(__file__).parent / "results" / "coverage.json"
SEEDS, SPREADS, PROBLEMS, POOLS = (2, 3, 5), (0.5, 1.0, 2.0, 4.0), (300, 1_000), (16, 256)


def cases() -> list[Case]:
    grid = itertools.product(SEEDS, SPREADS, PROBLEMS, POOLS)
    found = [Case(pmp_seeds=seeds, spread=spread, problems=size, pool=pool) for seeds, spread, size, pool in grid]
    found += [Case(pmp_seeds=3, finetune_seeds=finetune, spread=spread) for finetune in (2, 3) for spread in SPREADS]
    found += [Case(pmp_seeds=3, finetune_seeds=3, spread=spread, without_pmp=1) for spread in SPREADS]
    found += [
        Case(pmp_seeds=0, finetune_seeds=seeds, spread=spread, without_pmp=4) for seeds in (3, 5) for spread in SPREADS
    ]
    found += [Case(pmp_seeds=seeds, spread=spread, arms=2) for seeds in (3, 5) for spread in SPREADS]
    found += [Case(pmp_seeds=seeds, spread=spread, uneven=4.0) for seeds in (3, 5) for spread in SPREADS]
    found += [Case(pmp_seeds=3, finetune_seeds=seeds, finetune_spread=spread) for seeds in (2, 3) for spread in SPREADS]
    return found


def main(trials: int) -> None:
    rows = []
    for case in cases():
        rows.append({**asdict(case), **asdict(simulate(case, trials, seed=len(rows)))})
        print(json.dumps(rows[-1]), flush=True)  # noqa: T201
    RESULTS.write_text(json.dumps({"trials": trials, "level": 0.95, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)

"""How evenly a global batch is dealt to processes: `python -m tests.bench.bench_dealing` writes
tests/bench/results/dealing.json. Nothing is timed: all exchange at the same times, so a round takes as long as its
longest row.

Efficiency is the tokens of a batch over the processes times the longest rows of all rounds. "best fit" is what one
process does, with rows short enough for each process to get one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.models.packing import Row, group_tokens, pack
from tests.bench.bench_training import LENGTHS, pairs_of

HERE = Path(__file__).parent
BUDGETS = (1_024, 8_192, 16_384)
SHAPES = ((2, 16), (8, 64), (8, 128), (8, 256), (8, 1_024), (32, 256), (32, 1_024), (64, 1_024))  # (processes, pairs)


def efficiency(rows: list[Row], processes: int) -> float:
    longest = [len(rows[first]) for first in range(0, len(rows), processes)]
    return sum(map(len, rows)) / (processes * sum(longest))


def measure(lengths: str, pairs: int, processes: int, budget: int) -> dict[str, Any]:
    groups = [[np.zeros(len(part), dtype=np.int64) for part in pair] for pair in pairs_of(lengths, pairs)]
    sizes = [group_tokens(group) for group in groups]
    short_enough = min(budget, max(max(sizes), -(-sum(sizes) // processes)))
    return {
        "lengths": lengths,
        "row_tokens": budget,
        "processes": processes,
        "pairs": pairs,
        "efficiency": round(efficiency(pack(groups, budget, processes), processes), 3),
        "best_fit": round(efficiency(pack(groups, short_enough), processes), 3),
    }


def main() -> None:
    cells = [
        measure(lengths, pairs, processes, budget)
        for lengths in LENGTHS
        for budget in BUDGETS
        for processes, pairs in SHAPES
    ]
    (HERE / "results" / "dealing.json").write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Step time against a pair's length and the pairs a row holds: `python -m tests.bench.bench_rows` writes
tests/bench/results/rows.json.

The PMP step (RM and LM loss, bf16 autocast, SmolLM2-135M's shape, one thread, processor seconds) on the same number of
tokens, cut into pairs of one length and laid so many in a row, a row a micro-batch. Cells are measured in rounds, in
another order each; what is told is the median.
"""

from __future__ import annotations

import json
import platform
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.models.packing import pack
from tests.bench.bench_training import THREADS, VOCABULARY, our_step

HERE = Path(__file__).parent
LENGTHS = (128, 256, 512, 1_024)
PAIRS_A_ROW = (1, 2, 4, 8)
LONGEST_ROW = 2_048
TOKENS = 2_048
ROUNDS = 3
SHARES = (0.4, 0.3, 0.3)  # prompt, chosen, rejected


def pairs_of(length: int, tokens: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(length)
    prompt, chosen = (round(share * length) for share in SHARES[:2])
    sizes = (prompt, chosen, length - prompt - chosen)
    return [[rng.integers(0, VOCABULARY - 2, size) for size in sizes] for _ in range(tokens // length)]


def measure(
    lengths: Sequence[int], a_row: Sequence[int], tokens: int, rounds: int, longest: int = LONGEST_ROW
) -> list[dict[str, Any]]:
    step = our_step(lm=1.0)
    cells = [(length, count) for length in lengths for count in a_row if length * count <= min(longest, tokens)]
    times: dict[tuple[int, int], list[float]] = {cell: [] for cell in cells}
    for cell in cells:  # warms up every shape
        step(pairs_of(cell[0], tokens), (cell[0] * cell[1], 1))
    for seed in range(rounds):
        for cell in random.Random(seed).sample(cells, len(cells)):
            length, count = cell
            times[cell].append(step(pairs_of(length, tokens), (length * count, 1))["seconds"])
    found = []
    for (length, count), seconds in times.items():
        rows = pack(pairs_of(length, tokens), length * count)
        assert {len(row.spans) for row in rows} == {2 * count}
        found.append(
            {
                "pair_tokens": length,
                "pairs_a_row": count,
                "row_tokens": length * count,
                "milliseconds_a_token": round(1_000 * statistics.median(seconds) / tokens, 4),
                "spread": round(max(seconds) / min(seconds), 3),
            }
        )
    return found


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    told = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "tokens_a_step": TOKENS,
        "cells": measure(LENGTHS, PAIRS_A_ROW, TOKENS, ROUNDS),
    }
    if len(sys.argv) == 1:
        (HERE / "results" / "rows.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))  # noqa: T201

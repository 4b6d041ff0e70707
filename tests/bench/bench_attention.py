"""Attention of short pieces in bf16, written out against SDPA: `python -m tests.bench.bench_attention` writes
tests/bench/results/attention.json.

First the operation alone, forward and backward, by a piece's size (SmolLM2-135M's heads), then the whole PMP step on
short pairs. One thread, processor seconds; the two take turns, and what is told is the median of the rounds' ratios.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from harness.models import short_attention
from tests.bench.bench_training import matmul_peak, our_step, pairs_of

RESULT = Path(__file__).parent / "results" / "attention.json"
HEADS, KEY_HEADS, HEAD_SIZE = 9, 3, 64
SIZES = ((40, 40), (60, 100), (100, 160), (150, 150), (100, 250), (150, 250), (200, 200), (200, 385), (400, 400))
TOKENS = 800  # queries of one call
PAIRS, ROWS = 16, (1_024, 1)
ROUNDS = 9


def ratios(sdpa: Callable[[], float], written: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Of the seconds that SDPA takes, how many go by while the same is written out."""
    sdpa(), written()
    seconds = [(sdpa(), written()) for _ in range(rounds)]
    shares = [own / theirs for theirs, own in seconds]
    return {
        "sdpa_milliseconds": round(1_000 * statistics.median(one for one, _ in seconds), 2),
        "written_milliseconds": round(1_000 * statistics.median(one for _, one in seconds), 2),
        "share": round(statistics.median(shares), 3),
        "shares": [round(one, 3) for one in shares],
    }


def measure_operation(queries: int, keys: int, rounds: int = ROUNDS) -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    parts = max(1, TOKENS // queries)

    def draw(heads: int, tokens: int) -> torch.Tensor:
        drawn = torch.randn(parts, tokens, heads, HEAD_SIZE, generator=rng).bfloat16()
        return drawn.transpose(1, 2).requires_grad_()

    query, key, value = draw(HEADS, queries), draw(KEY_HEADS, keys), draw(KEY_HEADS, keys)
    seen = torch.arange(keys) <= torch.arange(queries)[:, None] + keys - queries
    mask = seen.expand(parts, 1, queries, keys)
    gradient = draw(HEADS, queries).detach()

    def timed(attend: Callable[[], torch.Tensor]) -> float:
        start = time.process_time()
        torch.autograd.grad(attend(), (query, key, value), gradient)
        return time.process_time() - start

    def by_sdpa() -> torch.Tensor:
        repeated = (side.repeat_interleave(HEADS // KEY_HEADS, 1) for side in (key, value))
        return functional.scaled_dot_product_attention(query, *repeated, attn_mask=mask)

    found = ratios(
        lambda: timed(by_sdpa), lambda: timed(lambda: short_attention.attention(query, key, value, mask)), rounds
    )
    return {"queries": queries, "keys": keys, "parts": parts, **found}


def measure_step(pairs: int = PAIRS, rounds: int = ROUNDS) -> dict[str, Any]:
    step, data, largest = our_step(lm=1.0), pairs_of("short", pairs), short_attention.LARGEST

    def seconds(limit: int) -> float:
        short_attention.LARGEST = limit
        taken: float = step(data, ROWS)["seconds"]
        short_attention.LARGEST = largest
        return taken

    return {"pairs": pairs, "row_tokens": ROWS[0], **ratios(lambda: seconds(0), lambda: seconds(largest), rounds)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    told = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "matmul_peak_gflops": {kind: round(matmul_peak("cpu", kind) / 1e9) for kind in ("fp32", "bf16")},
        "operation": [measure_operation(*size) for size in SIZES],
        "step": measure_step(rounds=5),
    }
    if len(sys.argv) == 1:
        RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))  # noqa: T201

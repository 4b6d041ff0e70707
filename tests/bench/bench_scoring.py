"""Candidates a second: ours against a plain padded transformers loop: `python -m tests.bench.bench_scoring` writes
tests/bench/results/scoring.json.

SmolLM2-135M's shape with random weights (they do not matter for speed), fp32, one thread, processor seconds with wall
time beside them. Problems with 64 distinct candidates. Lengths are drawn from GSM8K's: every twentieth of the questions
and of the solutions of its test set, counted in words, signs and single digits. The longer prompt is the same question
behind solved examples. The plain loop pads to the longest of a batch, with its candidates sorted by length and as they
come, at several batch sizes; its best is compared. Ours and that best then take turns.

Beside it stands what counting tokens predicts: how many tokens, padding included, each side puts through the layers.
"""

from __future__ import annotations

import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, PreTrainedConfig

from harness.models.packing import collate, pack
from harness.models.reward_model import RewardModel
from harness.models.scoring import pieces_of, score_groups
from tests.bench.bench_training import configuration

RESULT = Path(__file__).parent / "results" / "scoring.json"
QUESTIONS = (21, 30, 34, 36, 38, 40, 43, 46, 48, 50, 53, 55, 58, 61, 64, 67, 72, 78, 85, 96, 184)
SOLUTIONS = (30, 59, 67, 74, 80, 87, 93, 100, 106, 111, 119, 125, 133, 141, 148, 157, 170, 183, 200, 225, 434)
CANDIDATES = 64
BATCHES = (1, 4, 16, 64)
ROW_TOKENS = (256, 1_024, 4_096)
ROUNDS = 2

Ids = NDArray[np.int64]
Group = list[Ids]


class Memory:
    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def group(self, index: int) -> list[NDArray[np.integer]]:
        return list(self.groups[index])


def problem(candidates: int, examples: int, vocabulary: int, seed: int = 0) -> Group:
    """A prompt and distinct candidates, of GSM8K's lengths."""
    rng = np.random.default_rng(seed)

    def length(of: Sequence[int]) -> int:
        return round(float(np.interp(rng.uniform(0, len(of) - 1), np.arange(len(of)), of)))

    shots = sum(length(QUESTIONS) + length(SOLUTIONS) for _ in range(examples))
    sizes = [shots + length(QUESTIONS), *(length(SOLUTIONS) for _ in range(candidates))]
    return [rng.integers(0, vocabulary - 2, size) for size in sizes]


def batches_of(group: Group, size: int, *, in_order: bool) -> list[list[int]]:
    numbers = list(range(1, len(group)))
    if not in_order:
        numbers.sort(key=lambda number: len(group[number]))
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def plain(model: RewardModel, group: Group, batches: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Prompt and candidate as one sequence, right-padded, the head at the last token."""
    model.backbone.config._attn_implementation = "sdpa"
    scores = np.zeros(len(group) - 1)
    with torch.inference_mode():
        for batch in batches:
            texts = [torch.from_numpy(np.concatenate([group[0], group[number]])) for number in batch]
            ends = torch.tensor([len(text) - 1 for text in texts])
            ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
            mask = torch.arange(ids.shape[1]) <= ends[:, None]
            hidden = model.backbone.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
            last = hidden.last_hidden_state[torch.arange(len(batch)), ends]
            scores[np.array(batch) - 1] = model.head(last).squeeze(-1).double().numpy()
    return scores


def ours(model: RewardModel, group: Group, row_tokens: int) -> NDArray[np.float64]:
    return score_groups(model, Memory([group]), [0], row_tokens=row_tokens, rows_per_micro_batch=1)[0]


def plain_tokens(group: Group, batches: Sequence[Sequence[int]]) -> int:
    return sum(len(batch) * (len(group[0]) + max(len(group[number]) for number in batch)) for batch in batches)


def our_tokens(group: Group, row_tokens: int) -> int:
    rows = pack([piece for piece, _ in pieces_of(group, row_tokens)], row_tokens)
    return sum(collate([row]).input_ids.numel() for row in rows)


def timed(score: Callable[[], NDArray[np.float64]]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    scores = score()
    return {"scores": scores, "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def measure(
    shape: PreTrainedConfig, candidates: int, examples: int, batches: Sequence[int], budgets: Sequence[int], rounds: int
) -> dict[str, Any]:
    torch.manual_seed(0)
    model = RewardModel(AutoModelForCausalLM.from_config(shape), head_seed=0).eval()
    group = problem(candidates, examples, shape.vocab_size)
    sides: dict[str, tuple[Callable[[], NDArray[np.float64]], int]] = {}
    for size, in_order in itertools.product(batches, (False, True)):
        cut = batches_of(group, size, in_order=in_order)
        if in_order and size == 1:
            continue  # one at a time the order is nothing
        name = f"plain, batches of {size}, {'as they come' if in_order else 'sorted'}"
        sides[name] = (lambda cut=cut: plain(model, group, cut), plain_tokens(group, cut))  # type: ignore[misc]
    for budget in budgets:
        sides[f"ours, rows of {budget}"] = (
            lambda budget=budget: ours(model, group, budget),  # type: ignore[misc]
            our_tokens(group, budget),
        )
    ours(model, group[:3], budgets[0])
    plain(model, group[:3], [[1, 2]])
    found = {name: [timed(score)] for name, (score, _) in sides.items()}

    def best(who: str) -> str:
        return min((name for name in sides if name.startswith(who)), key=lambda name: found[name][0]["cpu"])

    first, second = best("ours"), best("plain")
    for _ in range(rounds - 1):
        for name in (first, second):
            found[name].append(timed(sides[name][0]))
    seconds = {name: statistics.median(one["cpu"] for one in times) for name, times in found.items()}
    apart = max(float(np.abs(times[0]["scores"] - found[first][0]["scores"]).max()) for times in found.values())
    assert apart <= 1e-4, f"scores differ by {apart}"
    return {
        "candidates": candidates,
        "prompt_tokens": len(group[0]),
        "mean_candidate_tokens": round(float(np.mean([len(one) for one in group[1:]])), 1),
        "largest_difference_of_scores": apart,
        "sides": {
            name: {
                "candidates_a_second": round(candidates / seconds[name], 3),
                "wall_seconds": round(statistics.median(one["wall"] for one in found[name]), 2),
                "tokens": tokens,
                "rounds": len(found[name]),
            }
            for name, (_, tokens) in sides.items()
        },
        "best": [first, second],
        "ratio": round(seconds[second] / seconds[first], 3),
        "predicted_by_tokens": round(sides[second][1] / sides[first][1], 3),
        "most_that_sharing_gives": round(
            sum(len(group[0]) + len(one) for one in group[1:]) / sum(map(len, group)), 3
        ),  # over a plain loop without any padding
    }


CASES: dict[str, dict[str, Any]] = {
    "questions alone": {"candidates": CANDIDATES, "examples": 0, "batches": BATCHES},
    "behind 4 solved examples": {"candidates": 8, "examples": 4, "batches": (1, 4)},
}


def main() -> None:
    """Measure every case, or the one that is named, and write the results."""
    torch.set_num_threads(1)
    told = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"cases": {}}
    told |= {"python": platform.python_version(), "machine": platform.machine(), "threads": 1}
    for name in sys.argv[1:] or CASES:
        told["cases"][name] = measure(configuration(), **CASES[name], budgets=ROW_TOKENS, rounds=ROUNDS)
        RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

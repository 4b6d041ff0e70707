"""Rewards of many groups of any size, on packed rows: the scoring side of evaluation.

A prompt is computed once for as many of its responses as fit a row, and equal responses of a group are scored once.
This file must not know about benchmarks or training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from harness.models.attention import PIECES
from harness.models.distributed import rank, reshard, sum_of_all, world_size
from harness.models.packing import Group, GroupSource, collate, pack
from harness.models.reward_model import Precision, RewardModel, autocast

GROUPS_PACKED_TOGETHER = 256
"""Enough to fill rows well; scores of finished windows can be reported while later ones are still being read."""


def score_groups(
    model: RewardModel,
    tokens: GroupSource,
    rows: Sequence[int] | NDArray[np.integer],
    *,
    row_tokens: int,
    rows_per_micro_batch: int = 1,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.float64]]:
    """Scores every response of some groups. Several processes of one training each score a part, and all get all.

    Args:
        model: moved to `device`.
        tokens: where groups are read.
        rows: indices of the groups, any order, repeats allowed.
        row_tokens, rows_per_micro_batch, device: runtime choices that move scores by rounding only. Where attention is
            computed in pieces, a micro-batch is one long row, which repeats fewer prompts at the same cost.
        precision: of the matrix products; the head is fp32 always.
        progress: called with (groups done, groups in all).

    Returns:
        For each of `rows` the scores of its responses, float64 (responses,).
    """
    model = model.to(device).eval()
    model.use_attention_of(device)
    if model.backbone.config._attn_implementation == PIECES:
        row_tokens, rows_per_micro_batch = row_tokens * rows_per_micro_batch, 1
    scores: list[NDArray[np.float64]] = []
    for start in range(0, len(rows), GROUPS_PACKED_TOGETHER):
        window = [tokens.group(int(row)) for row in rows[start : start + GROUPS_PACKED_TOGETHER]]
        with torch.inference_mode(), autocast(device, precision):
            scores += _score_window(model, window, row_tokens, rows_per_micro_batch, device)
        if progress is not None:
            progress(len(scores), len(rows))
    reshard(model)
    return scores


def _score_window(
    model: RewardModel, groups: Sequence[Group], row_tokens: int, rows_per_micro_batch: int, device: torch.device | str
) -> list[NDArray[np.float64]]:
    pieces: list[Group] = []
    owners: list[tuple[int, list[list[int]]]] = []  # of a piece: its group, and whom each response stands for
    for number, group in enumerate(groups):
        for piece, stands_for in pieces_of(group, row_tokens):
            pieces.append(piece)
            owners.append((number, stands_for))
    scores = [np.zeros(len(group) - 1) for group in groups]
    packed = pack(pieces, row_tokens, world_size())
    mine = packed[rank() :: world_size()]
    for start in range(0, len(packed[:: world_size()]), rows_per_micro_batch):
        # who has fewer rows computes one for company, since sharded weights are gathered by all at once
        batch = collate(mine[start : start + rows_per_micro_batch] or packed[-1:], device)
        rewards = model(batch, rewards=True, lm_loss=None).rewards.double().cpu().numpy()
        for (piece_number, response), reward in zip(batch.responses, rewards, strict=True):
            if start < len(mine):
                number, stands_for = owners[piece_number]
                scores[number][stands_for[response]] = reward
    bounds = np.cumsum([len(group) - 1 for group in groups])[:-1]
    return np.split(sum_of_all(np.concatenate(scores), device), bounds)


def pieces_of(group: Group, row_tokens: int) -> Iterator[tuple[Group, list[list[int]]]]:
    """The group's distinct responses with its prompt, cut where a row is full, and whom each of them stands for.

    A pool of hundreds of candidates in one row would take memory without end, and a whole mask is quadratic in it.
    """
    prompt, *responses = group
    same: dict[bytes, list[int]] = {}
    for number, response in enumerate(responses):
        same.setdefault(np.asarray(response, dtype=np.int64).tobytes(), []).append(number)
    piece: list[NDArray[np.integer]] = [prompt]
    stands_for: list[list[int]] = []
    used = len(prompt)
    for numbers in same.values():
        response = responses[numbers[0]]
        if stands_for and used + len(response) > row_tokens:
            yield piece, stands_for
            piece, stands_for, used = [prompt], [], len(prompt)
        piece.append(response)
        stands_for.append(numbers)
        used += len(response)
    yield piece, stands_for

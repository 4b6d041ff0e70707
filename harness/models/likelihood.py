"""How probable a language model finds texts: cross-entropies on packed rows, by the training's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from harness.models.packing import Group, collate, lm_target_count, pack
from harness.models.reward_model import Precision, RewardModel, autocast
from harness.models.scoring import GROUPS_PACKED_TOGETHER


def cross_entropies(
    model: RewardModel,
    groups: Sequence[Group],
    *,
    row_tokens: int,
    rows_per_micro_batch: int = 1,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of each group's first response after its prompt.

    Args:
        groups: as `packing.pack` takes them.
        row_tokens, rows_per_micro_batch, device: runtime choices that move values by rounding only.
        progress: called with (groups done, groups in all).

    Returns:
        Sum of -ln p over its predicted tokens in nats, and how many they are, both (groups,). The first token of a
        response without a prompt has no predecessor and is not predicted.
    """
    model = model.to(device).eval()
    model.use_attention_of(device)
    sums, counts = np.zeros(len(groups)), np.zeros(len(groups), dtype=np.int64)
    for start in range(0, len(groups), GROUPS_PACKED_TOGETHER):
        window = groups[start : start + GROUPS_PACKED_TOGETHER]
        packed = pack(window, row_tokens)
        for first in range(0, len(packed), rows_per_micro_batch):
            batch = collate(packed[first : first + rows_per_micro_batch], device)
            predicted = [group for group, place in batch.responses if place == 0 and lm_target_count(window[group])]
            with torch.inference_mode(), autocast(device, precision):
                losses = model.response_losses(batch)
            for group, (loss, targets) in zip(predicted, losses, strict=True):
                sums[start + group], counts[start + group] = loss, targets
        if progress is not None:
            progress(start + len(window), len(groups))
    return sums, counts

"""What a forward pass keeps in memory for its backward pass."""

from __future__ import annotations

import gc

import numpy as np
import torch

from harness.models.packing import collate, pack
from harness.models.reward_model import Recompute, RewardModel, autocast
from harness.models.sources import tiny_model


def kept(
    recompute: Recompute, hidden: int, intermediate: int, layers: int, tokens: int, *, compiled: bool = False
) -> int:
    """Bytes that a forward pass keeps for the backward pass, each once."""
    model = tiny_model(
        "llama",
        vocabulary=512,
        hidden_size=hidden,
        layers=layers,
        heads=4,
        key_value_heads=2,
        intermediate_size=intermediate,
        max_positions=1024,
        tie_embeddings=True,
        seed=0,
    )
    group = [np.arange(1, 1 + length) for length in (tokens // 2, tokens // 4, tokens // 4)]
    batch = collate(pack([group], tokens), "cpu")
    reward_model = RewardModel(model, head_seed=0).train()
    reward_model.compute_layers(recompute=recompute, compiled=compiled)
    before = alive()
    tensors: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        tensors.append(tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, autocast("cpu", "bf16"):
        outputs = reward_model(batch, rewards=True, lm_loss=None)
    assert outputs.rewards is not None  # what is kept lives as long as they do
    found = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors} | alive()
    return sum(size for pointer, size in found.items() if pointer not in before)


def alive() -> dict[int, int]:
    """Memory of the tensors that Python knows, which those are that checkpointing keeps: {where: bytes}."""
    kinds = (torch.Tensor, torch.nn.Parameter)  # what a compiler left behind is of others, or stands for another
    tensors = [one for one in gc.get_objects() if type(one) in kinds and not torch._is_functional_tensor(one)]
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}

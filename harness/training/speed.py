"""How much arithmetic a training step is, and how much of it this machine could do: the yardstick of every speed.

Counted is what the model needs, not what was computed: padding, masked attention and repeated forwards are no work, so
waste shows as a smaller share. This file must not know about losses' values, optimizers or files.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from harness.models.attention import head_size
from harness.models.packing import Group
from harness.models.reward_model import Precision, RewardModel

BACKWARD = 2
"""A backward pass multiplies twice what its forward does: once for the inputs, once for the weights."""

PEAK_SIZE = {"cpu": 1024, "cuda": 8192}
PEAK_TRIALS = 5
"""The peak is the best of so many square products: large enough to be limited by arithmetic, a blink to compute."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Of one global batch: what goes through a model.

    Attributes:
        tokens: through the layers, a shared prompt once.
        targets: positions the LM head is applied to.
        attended_pairs: pairs of tokens of which one sees the other, itself included.
    """

    tokens: int
    targets: int
    attended_pairs: int


def attended_pairs(group: Group) -> int:
    """Pairs of tokens that see each other in a group: each response sees its prompt and itself."""
    prompt, *responses = (len(part) for part in group)
    return _triangle(prompt) + sum(response * prompt + _triangle(response) for response in responses)


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """Floating-point operations of a training, a multiplication and an addition counted as two.

    Attributes:
        per_token: of the layers' matrices; embeddings are looked up.
        per_target: of the LM head.
        per_sight: of attention, scores and mixing; sliding windows are not considered.
        passes: forward passes a step's arithmetic amounts to.
    """

    per_token: float
    per_target: float
    per_sight: float
    passes: int

    @classmethod
    def of(cls, model: RewardModel, *, frozen_backbone: bool) -> Self:
        text = model.backbone.config.get_text_config()
        layers = model.backbone.base_model
        looked_up = {id(module.weight) for module in layers.modules() if isinstance(module, nn.Embedding)}
        multiplied = [weight for weight in layers.parameters() if weight.ndim == 2 and id(weight) not in looked_up]
        return cls(
            per_token=2.0 * sum(weight.numel() for weight in multiplied),
            per_target=2.0 * model.backbone.get_output_embeddings().weight.numel(),
            per_sight=4.0 * text.num_attention_heads * head_size(text) * text.num_hidden_layers,
            passes=1 if frozen_backbone else 1 + BACKWARD,
        )

    def flop(self, work: Work) -> float:
        forward = self.per_token * work.tokens + self.per_target * work.targets + self.per_sight * work.attended_pairs
        return self.passes * forward


@functools.cache
def matmul_peak(device: str, precision: Precision) -> float:
    """FLOP/s of the best of a few square matrix products on the device, with the threads of this process."""
    # Imported here: where CUDA's compiler is installed it asks for GPUs at once, and who has been asked before it forks
    # workers has forked workers that can use none.
    from torch.utils.benchmark import Timer

    size = PEAK_SIZE[device]
    left = torch.ones(size, size, dtype=torch.bfloat16 if precision == "bf16" else torch.float32, device=device)
    timer = Timer("torch.mm(left, left)", globals={"torch": torch, "left": left}, num_threads=torch.get_num_threads())
    return 2 * size**3 / min(timer.timeit(1).mean for _ in range(PEAK_TRIALS))


def _triangle(length: int) -> int:
    return length * (length + 1) // 2

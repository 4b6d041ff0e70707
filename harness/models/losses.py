"""The two training losses and the statistics of pairs. Every loss is a *sum*.

Whoever trains divides by the count of the whole global batch, so how the batch was cut into rows and micro-batches
never changes the result. This file knows tensors only: no models, no batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.function import once_differentiable
from torch.nn import functional

from harness.errors import RecipeError

PairLoss = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]

LM_CHUNK_POSITIONS = 1024
"""Positions whose logits exist at once: 1024 x 152k tokens (Qwen2) in fp32 are 0.6 GB, a whole batch would be tens of
GB."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """L = rm · L_RM + lm · L_LM. A loss of weight 0 costs no computation.

    Attributes:
        rm: weight of the Bradley-Terry loss, mean over the pairs of a global batch.
        lm: weight of the language-model loss, mean over the tokens of the chosen responses of a global batch.
        margin: what the chosen reward must lead by: -log sigmoid(r_chosen - r_rejected - margin).
        pair_loss: (chosen, rejected, margin) -> sum of the pairs' losses; a recipe may bring its own.
    """

    rm: float
    lm: float
    margin: float = 0.0
    pair_loss: PairLoss = field(default_factory=lambda: bradley_terry_sum)

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.rm, self.lm, self.margin)) or min(self.rm, self.lm) < 0:
            raise RecipeError("loss weights must be finite and not negative", f"they are {self}")
        if self.rm == 0 and self.lm == 0:
            raise RecipeError("one of the loss weights must be above zero", "both are 0")


def bradley_terry_sum(chosen: torch.Tensor, rejected: torch.Tensor, margin: float = 0.0) -> torch.Tensor:
    """Sum over pairs of -log sigmoid(chosen - rejected - margin) (Bradley & Terry 1952). Rewards have shape
    (pairs,)."""
    return -functional.logsigmoid(chosen - rejected - margin).sum()


def lm_cross_entropy_sum(
    hidden: torch.Tensor,
    labels: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    softcap: float | None = None,
    chunk_positions: int = LM_CHUNK_POSITIONS,
) -> torch.Tensor:
    """Sum of -log p(label), without ever holding logits of more than `chunk_positions` positions.

    Gradients are computed with the loss, chunk by chunk (as in Liger Kernel's fused linear cross-entropy), so the
    logits are made once only. Runs under autocast; sums, softmax and gradient accumulation are fp32 or better.

    Args:
        hidden: (positions, hidden), output of the backbone.
        labels: int64 (positions,).
        weight, bias: of the LM head, (vocabulary, hidden) and (vocabulary,).
        softcap: logits become softcap · tanh(logits / softcap) (Gemma 2).
        chunk_positions: positions of a chunk.
    """
    total: torch.Tensor = _ChunkedCrossEntropy.apply(hidden, weight, bias, labels, softcap, chunk_positions)  # type: ignore[no-untyped-call]
    return total


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        softcap: float | None,
        chunk_positions: int,
    ) -> torch.Tensor:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=exact, device=hidden.device)
        needs_gradient = any(ctx.needs_input_grad[:3])
        gradient_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        gradient_weight = torch.zeros_like(weight, dtype=exact) if ctx.needs_input_grad[1] else None
        gradient_bias = torch.zeros_like(bias, dtype=exact) if bias is not None and ctx.needs_input_grad[2] else None
        for start in range(0, len(labels), chunk_positions):
            chunk = slice(start, start + chunk_positions)
            target = labels[chunk, None]
            logits = functional.linear(hidden[chunk], weight, bias).to(exact)
            if softcap is not None:
                logits = torch.tanh(logits / softcap) * softcap
            log_probabilities = functional.log_softmax(logits, dim=-1)
            total -= log_probabilities.gather(1, target).sum()
            if not needs_gradient:
                continue
            # d(loss)/d(logits) = softmax - one-hot
            gradient = log_probabilities.exp_()
            gradient.scatter_add_(1, target, torch.full_like(target, -1, dtype=exact))
            if softcap is not None:
                gradient.mul_(1 - (logits / softcap).square_())
            if gradient_hidden is not None:
                gradient_hidden[chunk] = torch.mm(gradient, weight.to(exact))
            if gradient_weight is not None:
                gradient_weight += torch.mm(gradient.t(), hidden[chunk].to(exact))
            if gradient_bias is not None:
                gradient_bias += gradient.sum(0)
        ctx.save_for_backward(gradient_hidden, gradient_weight, gradient_bias)
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_total: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scaled = (
            None if saved is None else (saved * gradient_total).to(dtype)
            for saved, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return (*scaled, None, None, None)


def pair_statistics(chosen: NDArray[np.float64], rejected: NDArray[np.float64]) -> Mapping[str, float]:
    """What the rewards of a batch of pairs look like.

    Args:
        chosen, rejected: rewards, shape (pairs,), at least one pair.

    Returns:
        accuracy (ties count half), margin (mean of chosen - rejected), reward_mean and reward_std over all responses.
    """
    difference = chosen - rejected
    rewards = np.concatenate([chosen, rejected])
    return {
        "accuracy": float(np.mean((difference > 0) + 0.5 * (difference == 0))),
        "margin": float(np.mean(difference)),
        "reward_mean": float(np.mean(rewards)),
        "reward_std": float(np.std(rewards)),
    }

"""The two training losses and the statistics of pairs. Every loss is a *sum*.

Whoever trains divides by the count of the whole global batch, so how the batch was cut into rows and micro-batches
never changes the result. This file knows tensors only: no models, no batches.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.function import once_differentiable
from torch.nn import functional

PairLoss = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]

LmNormalization = Literal["token", "sequence"]
"""What the LM loss is the mean of: all predicted tokens of a global batch, or its responses' own means."""

POSITIONS_AT_ONCE = 512
VOCABULARY_AT_ONCE = 4096
"""Logits exist for so many positions and tokens of the vocabulary at once: 8 MB in fp32, which caches hold. All logits
of 8,000 positions and Qwen2's 152,000 tokens would be 5 GB, several times over with their gradients."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """L = rm · L_RM + lm · L_LM. A loss of weight 0 costs no computation.

    Attributes:
        rm: weight of the Bradley-Terry loss, mean over the pairs of a global batch.
        lm: weight of the language-model loss on the chosen responses of a global batch.
        lm_normalization: "token": every token of the chosen responses counts alike; "sequence": every response does.
        margin: what the chosen reward must lead by: -log sigmoid(r_chosen - r_rejected - margin).
        pair_loss: (chosen, rejected, margin) -> sum of the pairs' losses; a recipe may bring its own.
    """

    rm: float
    lm: float
    lm_normalization: LmNormalization = "token"
    margin: float = 0.0
    pair_loss: PairLoss = field(default_factory=lambda: bradley_terry_sum)


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
    position_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sum of -w · log p(label), without ever holding logits of more than a few positions and tokens of the vocabulary.

    Forward keeps one number a position, the logarithm of the softmax' denominator, and backward makes the logits again
    (Wijmans et al. 2024, arXiv 2411.09009): a fourth matrix product, but next to no memory and no second copy of the
    head's gradient. Runs under autocast; sums and softmax are fp32 or better.

    On a GPU, Liger Kernel's fused loss takes its place where it is installed and no position has a weight.

    Args:
        hidden: (positions, hidden), output of the backbone.
        labels: int64 (positions,).
        weight, bias: of the LM head, (vocabulary, hidden) and (vocabulary,).
        softcap: logits become softcap · tanh(logits / softcap) (Gemma 2).
        position_weights: (positions,); None is 1 everywhere.
    """
    liger = _liger_loss() if hidden.is_cuda and position_weights is None and len(labels) else None
    if liger is not None:
        fused: torch.Tensor = liger(
            hidden, weight, labels, bias=bias, reduction="sum", softcap=softcap, accum_dtype=torch.float32
        )
        return fused
    exact = torch.promote_types(hidden.dtype, torch.float32)
    weights = None if position_weights is None else position_weights.to(exact)
    total: torch.Tensor = _TiledCrossEntropy.apply(hidden, weight, bias, labels, softcap, weights)  # type: ignore[no-untyped-call]
    return total


@functools.cache
def _liger_loss() -> Callable[..., torch.Tensor] | None:
    """Liger's kernels are written in Triton, so they are a GPU's business: the extra `liger`."""
    try:
        functional_forms = importlib.import_module("liger_kernel.transformers.functional")
    except ImportError:
        return None
    loss: Callable[..., torch.Tensor] = functional_forms.liger_fused_linear_cross_entropy
    return loss


class _Logits:
    """Tiles of the logits: one slice of the vocabulary, and of it some positions at a time."""

    def __init__(
        self, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, softcap: float | None
    ) -> None:
        device = hidden.device.type
        lowered = torch.is_autocast_enabled(device)
        self.precision = torch.get_autocast_dtype(device) if lowered else hidden.dtype
        self.exact = torch.promote_types(hidden.dtype, torch.float32)
        self.hidden, self.weight, self.bias, self.softcap = hidden.to(self.precision), weight, bias, softcap

    def slices(self) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor | None]]:
        """Each slice of the vocabulary with its weights and biases, in the precision of matrix products."""
        for start in range(0, len(self.weight), VOCABULARY_AT_ONCE):
            part = slice(start, min(start + VOCABULARY_AT_ONCE, len(self.weight)))
            bias = None if self.bias is None else self.bias[part].to(self.precision)
            yield part, self.weight[part].to(self.precision), bias

    def chunks(self) -> Iterator[slice]:
        for start in range(0, len(self.hidden), POSITIONS_AT_ONCE):
            yield slice(start, start + POSITIONS_AT_ONCE)

    def tile(self, chunk: slice, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Logits of a chunk, after the cap."""
        logits = functional.linear(self.hidden[chunk], weight, bias).to(self.exact)
        return logits if self.softcap is None else logits.div_(self.softcap).tanh_().mul_(self.softcap)


def _targets(labels: torch.Tensor, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each position's label lies in a slice of the vocabulary, and where in it if so, (positions, 1).

    A list of those that do would have to be waited for on a GPU, tile by tile.
    """
    inside = (labels >= part.start) & (labels < part.stop)
    return inside.unsqueeze(1), torch.where(inside, labels - part.start, 0).unsqueeze(1)


class _TiledCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        softcap: float | None,
        position_weights: torch.Tensor | None,
    ) -> torch.Tensor:
        logits = _Logits(hidden, weight, bias, softcap)
        log_sums = torch.full(labels.shape, -torch.inf, dtype=logits.exact, device=hidden.device)
        right = torch.zeros_like(log_sums)
        with torch.autocast(hidden.device.type, enabled=False):
            for part, part_weight, part_bias in logits.slices():
                for chunk in logits.chunks():
                    tile = logits.tile(chunk, part_weight, part_bias)
                    inside, columns = _targets(labels[chunk], part)
                    right[chunk] = torch.where(inside, tile.gather(1, columns), right[chunk, None]).squeeze(1)
                    log_sums[chunk] = torch.logaddexp(log_sums[chunk], tile.logsumexp(1))
        ctx.save_for_backward(hidden, weight, bias, labels, log_sums, position_weights)
        ctx.logits = logits
        losses = log_sums - right
        return losses.sum() if position_weights is None else losses @ position_weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_total: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, labels, log_sums, position_weights = ctx.saved_tensors
        logits: _Logits = ctx.logits
        scale = gradient_total if position_weights is None else (position_weights * gradient_total)[:, None]
        wanted = ctx.needs_input_grad
        of_hidden = torch.zeros_like(hidden, dtype=logits.exact) if wanted[0] else None
        of_weight = torch.empty_like(weight) if wanted[1] else None
        of_bias = torch.empty_like(bias) if bias is not None and wanted[2] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for part, part_weight, part_bias in logits.slices():
                gradients = torch.empty(
                    len(labels), len(part_weight), dtype=logits.precision, device=hidden.device
                )  # bf16 under autocast, as the products below take it
                for chunk in logits.chunks():
                    tile = logits.tile(chunk, part_weight, part_bias)
                    slope = None if logits.softcap is None else 1 - (tile / logits.softcap).square_()
                    # d(loss)/d(logits) = softmax - one-hot
                    gradient = tile.sub_(log_sums[chunk, None]).exp_()
                    inside, columns = _targets(labels[chunk], part)
                    gradient.scatter_add_(1, columns, -inside.to(gradient.dtype))
                    if slope is not None:
                        gradient.mul_(slope)
                    gradient.mul_(scale if scale.ndim == 0 else scale[chunk])
                    gradients[chunk] = gradient
                if of_hidden is not None:
                    of_hidden += gradients @ part_weight
                if of_weight is not None:
                    of_weight[part] = gradients.t() @ logits.hidden
                if of_bias is not None:
                    of_bias[part] = gradients.sum(0, dtype=logits.exact)
        of_hidden = None if of_hidden is None else of_hidden.to(hidden.dtype)
        return of_hidden, of_weight, of_bias, None, None, None


PAIR_SUMS = 6


def pair_sums(chosen: torch.Tensor, rejected: torch.Tensor, turned: torch.Tensor) -> torch.Tensor:
    """What `pair_statistics` are made of, as sums, so that a batch's parts can be added: float64 (PAIR_SUMS,).

    Args:
        chosen, rejected: rewards, shape (pairs,).
        turned: bool (pairs,): whose second response is the better one by its label.
    """
    chosen, rejected = chosen.detach().double(), rejected.detach().double()
    difference, rewards = chosen - rejected, torch.cat([chosen, rejected])
    won = (difference > 0) + 0.5 * (difference == 0)
    by_label = torch.where(turned, 1 - won, won)
    count = torch.ones_like(won)
    return torch.stack([one.sum() for one in (count, won, by_label, difference, rewards, rewards**2)])


def pair_statistics(sums: NDArray[np.float64]) -> Mapping[str, float]:
    """What the rewards of a batch of pairs look like.

    Args:
        sums: of all its `pair_sums`; of at least one pair.

    Returns:
        accuracy and label_accuracy (ties count half), margin (mean of chosen - rejected), reward_mean and reward_std
        over all responses.
    """
    won, by_label, difference, rewards, squares = (sums[1:] / sums[0]).tolist()
    mean = rewards / 2
    return {
        "accuracy": won,
        "label_accuracy": by_label,
        "margin": difference,
        "reward_mean": mean,
        "reward_std": math.sqrt(max(0.0, squares / 2 - mean**2)),
    }

"""Attention of short pieces in bf16 on a CPU, written out: with SDPA it takes 1.7 to 6 times as long there.

As in SDPA scores and their softmax are fp32 and the other products bf16. Unlike it, the weights of attention are kept
for the backward pass (2 bytes a head, query and key): to compute them again would cost what is saved.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.amp.autocast_mode import custom_bwd, custom_fwd

LARGEST = 200 * 200
"""Queries times keys of a piece; above, SDPA is as fast."""


def is_faster(query: torch.Tensor, key: torch.Tensor) -> bool:
    """Whether to write it out: it is to be differentiated, in bf16, on a CPU, and short (bench_attention.py).

    Args:
        query, key: (parts, heads, tokens, size).
    """
    if query.device.type != "cpu" or not (torch.is_grad_enabled() and query.requires_grad):
        return False
    if torch.compiler.is_compiling():  # every size of a piece is compiled anew, and this would take half as long again
        return False
    rounded = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return (rounded or query.dtype == torch.bfloat16) and query.shape[2] * key.shape[2] <= LARGEST


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float | None = None
) -> torch.Tensor:
    """softmax(query keyᵀ · scale) value, where the mask allows it; several query heads may share a key's.

    Args:
        query: (parts, heads, queries, size).
        key, value: (parts, key heads, keys, size).
        mask: bool (parts, 1, queries, keys); every query sees a key.
        scale: size^-½ by default.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    found: torch.Tensor = _Attention.apply(query, key, value, mask, scale)  # type: ignore[no-untyped-call]
    return found


class _Attention(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
    ) -> torch.Tensor:
        # Heads that share a key's stand one under another, so that its products are one.
        shared = key.shape[0] * key.shape[1]
        queries, keys, values = (side.reshape(shared, -1, side.shape[-1]) for side in (query, key, value))
        scores = torch.bmm(queries.float() * scale, keys.float().mT)
        scores.view(*query.shape[:3], -1).masked_fill_(~mask, -torch.inf)
        weights = torch.softmax(scores, dim=-1).to(value.dtype)
        ctx.save_for_backward(queries, keys, values, weights)
        ctx.scale, ctx.shapes = scale, (query.shape, key.shape)
        return torch.bmm(weights, values).view(query.shape)

    @staticmethod
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, keys, values, weights = ctx.saved_tensors
        of_query, of_key = ctx.shapes
        gradient = gradient.reshape(queries.shape)
        of_values = torch.bmm(weights.mT, gradient)
        of_weights = torch.bmm(gradient, values.mT).float()
        of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights.float(), -1, torch.float32)
        rounded = of_scores.mul_(ctx.scale).to(queries.dtype)
        return (
            torch.bmm(rounded, keys).view(of_query),
            torch.bmm(rounded.mT, queries).view(of_key),
            of_values.view(of_key),
            None,
            None,
        )

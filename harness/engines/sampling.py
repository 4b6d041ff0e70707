"""Drawing tokens from logits so that a draw depends on its own row, seed and sampling alone.

Every request has a random source of its own, and one uniform number a token is turned into a token by the inverse of
the cumulated probabilities: rounding of a logit moves the borders between tokens, never the number that is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.engines.base import Sampling


def draw(
    logits: torch.Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float]
) -> tuple[list[int], list[float]]:
    """One token a row.

    Args:
        logits: (rows, vocabulary), any float dtype.
        samplings: one a row.
        uniforms: one number in [0, 1) a row; unused at temperature 0.

    Returns:
        The tokens, and the natural logarithms of their chances at the row's sampling.
    """
    scores = logits.float()
    greedy = torch.tensor([sampling.temperature == 0 for sampling in samplings], device=scores.device)
    temperatures = [sampling.temperature or 1.0 for sampling in samplings]
    scores = scores - scores.amax(-1, keepdim=True)  # so that a low temperature cannot overflow
    weights = torch.softmax(scores / _column(temperatures, scores), -1).double()
    if any(sampling.top_p < 1 for sampling in samplings):
        weights = _nucleus(weights, _column([sampling.top_p for sampling in samplings], weights))
    cumulated = weights.cumsum(-1)
    total = cumulated[:, -1:]
    drawn = torch.searchsorted(cumulated, _column(uniforms, weights) * total, right=True).squeeze(-1)
    drawn = drawn.clamp(max=weights.shape[-1] - 1)
    tokens = torch.where(greedy, scores.argmax(-1), drawn)
    logprobs = torch.log(weights.gather(-1, tokens[:, None]) / total).squeeze(-1)
    return tokens.tolist(), torch.where(greedy, 0.0, logprobs).tolist()


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


def _nucleus(weights: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """The weights with those outside the nucleus set to 0; the token that crosses `top_p` stays in."""
    ordered, order = weights.sort(stable=True, dim=-1, descending=True)
    outside = (ordered.cumsum(-1) - ordered >= top_p) & (top_p < 1)
    return weights.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), 0.0)

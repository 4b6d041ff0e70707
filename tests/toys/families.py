"""Tiny models of every decoder family that training supports, with weights that make mistakes show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from harness.models.attention import attention_to_load
from harness.models.reward_model import RewardModel
from harness.models.sources import tiny_configuration
from harness.recipe.blocks import TinyFamily

VOCABULARY = 61
WINDOW = 9
"""Tokens a sliding layer sees: less than most sequences of the tests have, so that it matters."""

ALTERNATING = ["sliding_attention", "full_attention"]


def _settings(window: int) -> dict[str, tuple[TinyFamily, dict[str, Any]]]:
    windowed = {"use_sliding_window": True, "sliding_window": window, "layer_types": ALTERNATING}
    return {
        "llama": ("llama", {}),
        "qwen2": ("qwen2", {}),
        "qwen2-window": ("qwen2", windowed),
        "qwen3": ("qwen3", {}),
        "qwen3-window": ("qwen3", windowed),
        "gemma2": (
            "gemma2",
            {"sliding_window": window, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        ),
        "gemma3": ("gemma3", {"sliding_window": window}),
        "mistral": ("mistral", {"sliding_window": window}),
    }


FAMILIES = tuple(_settings(WINDOW))


def family_configuration(
    family: str, *, tie: bool = False, vocabulary: int = VOCABULARY, window: int = WINDOW, **more: Any
) -> PreTrainedConfig:
    """Two layers, 32 wide unless `more`, as for `tiny_configuration`, says otherwise. No token has a special role."""
    name, settings = _settings(window)[family]
    sizes: dict[str, Any] = {
        "vocabulary": vocabulary,
        "hidden_size": 32,
        "layers": 2,
        "heads": 4,
        "key_value_heads": 2,
        "intermediate_size": 48,
        "max_positions": 128,
        "tie_embeddings": tie,
    }
    return tiny_configuration(name, **{**sizes, **settings, **more})


def family_model(
    family: str, *, tie: bool = False, seed: int = 0, attention: str | None = None, **more: Any
) -> RewardModel:
    """Fresh weights are so small that attention is nearly uniform: enlarged, a leak or a wrong position shows."""
    configuration = family_configuration(family, tie=tie, **more)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        backbone: PreTrainedModel = AutoModelForCausalLM.from_config(
            configuration,
            dtype=torch.float32,
            attn_implementation=attention or attention_to_load(configuration),
        )
        model = RewardModel(backbone, head_seed=seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(8.0)
                else:  # Gemma's norms begin at 0, others at 1: neither may stay a special value
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model


class _ExactNorm(nn.Module):
    """An RMS norm in the precision of its input; Gemma's scale by 1 + weight."""

    def __init__(self, weight: nn.Parameter, epsilon: float, offset: float) -> None:
        super().__init__()
        self.weight, self.epsilon, self.offset = weight, epsilon, offset

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(hidden, self.weight.shape, self.weight + self.offset, self.epsilon)


def _exact_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    softcap: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Eager attention whose softmax is in the precision of its input, for masks that are added."""
    groups = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if attention_mask is not None:
        scores = scores + attention_mask
    mixed = scores.softmax(-1) @ value.repeat_interleave(groups, 1)
    return mixed.transpose(1, 2).contiguous(), None


def in_double(model: RewardModel) -> RewardModel:
    """The model in fp64, RMS norms too, which transformers computes in fp32 whatever they are given."""

    def replace(module: nn.Module) -> None:
        for name, child in module.named_children():
            if type(child).__name__.endswith("RMSNorm"):
                gemma = type(child).__name__.startswith("Gemma")
                epsilon = child.eps if gemma else child.variance_epsilon
                assert isinstance(child.weight, nn.Parameter)
                assert isinstance(epsilon, float)
                setattr(module, name, _ExactNorm(child.weight, epsilon, 1.0 if gemma else 0.0))
            else:
                replace(child)

    replace(model)
    return model.double()


@contextmanager
def exact_eager_attention() -> Iterator[None]:
    """Eager attention without its rounding to fp32, for as long as it lasts: what fp64 comparisons of it need."""
    AttentionInterface.register("eager", _exact_attention)
    try:
        yield
    finally:
        del AttentionInterface._global_mapping["eager"]

"""What of attention depends on packed rows: which implementation a model may use, and the mask that it is given.

The library makes masks for whole rows; ours say who sees whom inside a group, so they are handed over ready-made (a
four-dimensional mask passes through transformers as it is). Three implementations take one: SDPA a boolean, eager
attention one it can add, FlexAttention a block mask that is never written out in full. This file must not know about
losses, heads or training.
"""

from __future__ import annotations

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import PreTrainedConfig

from harness.errors import RecipeError
from harness.models.packing import Batch

WINDOW_BY_LAYER = ("qwen2", "qwen3", "gemma2", "gemma3", "gemma3_text")
"""Model types that choose between a full and a sliding mask layer by layer, and so take both."""

WINDOW_THROUGHOUT = ("mistral",)
"""Model types whose every layer has the window, and so take one mask."""

SMALLEST_FLEX_HEAD = 16
"""FlexAttention's kernels multiply blocks of at least so many channels."""

Mask = torch.Tensor | BlockMask


def attention_to_load(configuration: PreTrainedConfig) -> str | None:
    """Eager where scores are soft-capped, which SDPA ignores without a word; else None, the library's choice."""
    return "eager" if _is_capped(configuration.get_text_config()) else None


def suits_flex_attention(configuration: PreTrainedConfig, device: torch.device | str) -> bool:
    """Whether a model on a device is computed by FlexAttention: it has no backward on CPUs."""
    return torch.device(device).type == "cuda" and _head_size(configuration.get_text_config()) >= SMALLEST_FLEX_HEAD


def require_attention(configuration: PreTrainedConfig) -> None:
    """Refuses what cannot be reproduced on packed rows.

    Raises:
        RecipeError: the model's attention takes no mask of ours, ignores the model's soft-capping, or looks ahead.
    """
    text = configuration.get_text_config()
    implementation = configuration._attn_implementation
    if implementation not in ("sdpa", "eager", "flex_attention"):
        raise RecipeError(
            "packed rows need attention that takes a mask (sdpa, eager or flex_attention)",
            f"the model uses {implementation}",
        )
    if implementation == "sdpa" and _is_capped(text):
        raise RecipeError(
            "a model with soft-capped attention needs eager or flex attention",
            "it uses sdpa, which leaves the cap out and so computes another model",
            "load it with `attn_implementation='eager'`",
        )
    if getattr(text, "use_bidirectional_attention", None) in (True, "all"):
        raise RecipeError("a preference model must be a decoder", "this one's attention looks ahead")


def attention_masks(batch: Batch, configuration: PreTrainedConfig, dtype: torch.dtype) -> Mask | dict[str, Mask]:
    """The mask of a batch, or the masks by kind of layer, as the model's forward takes them.

    Args:
        batch: on the model's device.
        configuration: the model's.
        dtype: of the attention scores, which eager attention adds its mask to.

    Raises:
        RecipeError: a sequence is longer than the sliding window of a model that is not known to take a mask for it.
    """
    text = configuration.get_text_config()
    implementation = configuration._attn_implementation
    full = _mask(batch, None, implementation, dtype)
    window = _window(text)
    if window is None:
        return full
    # Within its window a sliding layer sees what a full one does.
    reaching = full if batch.longest <= window else _mask(batch, window, implementation, dtype)
    if text.model_type in WINDOW_BY_LAYER:
        return {"full_attention": full, "sliding_attention": reaching}
    if text.model_type in WINDOW_THROUGHOUT or batch.longest <= window:
        return reaching
    raise RecipeError(
        "sequences must fit the sliding attention window of a model that is not known to take a mask",
        f"one has {batch.longest} tokens and the window of {text.model_type} {window}",
        "lower `max_tokens`",
    )


def _mask(batch: Batch, window: int | None, implementation: str, dtype: torch.dtype) -> Mask:
    if implementation == "flex_attention":
        return block_mask(batch, window)
    visible = batch.mask(window)
    if implementation == "sdpa":
        return visible
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min)


def block_mask(batch: Batch, window: int | None) -> BlockMask:
    """`Batch.mask` as FlexAttention asks for it: a question about one query and one key."""
    segments, prompts, positions = batch.segments, batch.prompts, batch.position_ids

    def visible(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        of_key = segments[row, key]
        seen = (key <= query) & ((of_key == segments[row, query]) | (of_key == prompts[row, query]))
        return seen if window is None else seen & (positions[row, query] - positions[row, key] < window)

    rows, tokens = segments.shape
    # Compiled, no (tokens x tokens) mask is ever written out; compiling it for a CPU would cost more than it saves.
    compiled = segments.device.type == "cuda"
    return create_block_mask(visible, rows, None, tokens, tokens, device=segments.device, _compile=compiled)


def _window(text: PreTrainedConfig) -> int | None:
    """The sliding window of a model some of whose layers have one, in tokens, the query's own included."""
    window: int | None = getattr(text, "sliding_window", None)
    layer_types = getattr(text, "layer_types", None)
    if window is None or (layer_types is not None and "sliding_attention" not in layer_types):
        return None
    return window


def _is_capped(text: PreTrainedConfig) -> bool:
    return bool(getattr(text, "attn_logit_softcapping", None))


def _head_size(text: PreTrainedConfig) -> int:
    size: int | None = getattr(text, "head_dim", None)
    return size or text.hidden_size // text.num_attention_heads

"""What of attention depends on packed rows: which implementation a model may use, and what it is given.

The library makes masks for whole rows; ours say who sees whom inside a group, so they are handed over ready-made (a
four-dimensional mask passes through transformers as it is). Three implementations take one: SDPA a boolean, eager
attention one it can add, FlexAttention a block mask that is never written out in full.

SDPA with a mask computes the whole square of a row, hidden or not, so rows are cut into pieces for it (`pieces.py`).
This file must not know about losses, heads or training.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from harness.errors import RecipeError
from harness.models import short_attention
from harness.models.packing import Batch
from harness.models.pieces import Pieces

WINDOW_BY_LAYER = ("qwen2", "qwen3", "gemma2", "gemma3", "gemma3_text")
"""Model types that choose between a full and a sliding mask layer by layer, and so take both."""

WINDOW_THROUGHOUT = ("mistral",)
"""Model types whose every layer has the window, and so take one mask."""

SMALLEST_FLEX_HEAD = 16
"""FlexAttention's kernels multiply blocks of at least so many channels."""

FLEX = "flex_attention"

MOST_GRAPHS = 32
"""Times that a layer, or the making of block masks, is compiled at most; beyond it torch computes it uncompiled. With
FlexAttention all packed rows take four: one row and several, of one block of the mask and of several. A second kind of
mask takes as many again, and so do a layer's passes without gradients."""

PIECES = "sdpa_pieces"
"""Our attention's name in transformers: SDPA, but piece by piece where it is given the pieces of packed rows."""

PASSES_ARGUMENTS_ON = ("llama", "qwen2", "qwen3", "gemma3_text", "mistral")
"""Model types known to hand what they are given on to attention, down all layers, and their layers' windows with it."""


def attention_to_load(configuration: PreTrainedConfig) -> str | None:
    """Eager where scores are soft-capped, which SDPA ignores without a word; else None, the library's choice."""
    return "eager" if _is_capped(configuration.get_text_config()) else None


def suits_flex_attention(configuration: PreTrainedConfig, device: torch.device | str) -> bool:
    """Whether a model on a device is computed by FlexAttention: it has no backward on CPUs."""
    return torch.device(device).type == "cuda" and head_size(configuration.get_text_config()) >= SMALLEST_FLEX_HEAD


def require_attention(configuration: PreTrainedConfig) -> None:
    """Refuses what cannot be reproduced on packed rows.

    Raises:
        RecipeError: the model's attention takes no mask of ours, ignores the model's soft-capping, or looks ahead.
    """
    text = configuration.get_text_config()
    implementation = configuration._attn_implementation
    if implementation not in ("sdpa", PIECES, "eager", FLEX):
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


def attention_of_rows(configuration: PreTrainedConfig) -> str:
    """The implementation for packed rows, given the one that is set: in SDPA's place ours, where the model suits it."""
    implementation: str = configuration._attn_implementation
    return PIECES if implementation == "sdpa" and configuration.model_type in PASSES_ARGUMENTS_ON else implementation


def attention_arguments(batch: Batch, configuration: PreTrainedConfig, dtype: torch.dtype) -> dict[str, Any]:
    """What a model's forward takes so that each token of a batch sees what it would see alone.

    Args:
        batch: on the model's device.
        configuration: the model's.
        dtype: of the attention scores, which eager attention adds its mask to.

    Raises:
        RecipeError: a sequence is longer than the sliding window of a model that is not known to take a mask for it.
    """
    text = configuration.get_text_config()
    implementation = configuration._attn_implementation
    window = _window(text)
    reaches = window is None or batch.longest <= window  # then a sliding layer sees what a full one does
    by_layer = window is not None and text.model_type in WINDOW_BY_LAYER
    if implementation == PIECES:
        # a mask keeps the library from making one; nobody looks at it
        ignored = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=batch.input_ids.device)
        pieces = Pieces.of(batch)
        masks = {width: [piece.mask(width) for piece in pieces.pieces] for width in {None, window}}
        return {
            "attention_mask": {"full_attention": ignored, "sliding_attention": ignored} if by_layer else ignored,
            "packed": pieces,
            "piece_masks": masks,
        }
    if by_layer:
        full = _mask(batch, None, implementation, dtype)
        sliding = full if reaches else _mask(batch, window, implementation, dtype)
        return {"attention_mask": {"full_attention": full, "sliding_attention": sliding}}
    if reaches or text.model_type in WINDOW_THROUGHOUT:
        return {"attention_mask": _mask(batch, None if reaches else window, implementation, dtype)}
    raise RecipeError(
        "sequences must fit the sliding attention window of a model that is not known to take a mask",
        f"one has {batch.longest} tokens and the window of {text.model_type} {window}",
        "lower `max_tokens`",
    )


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed: Pieces | None = None,
    piece_masks: Mapping[int | None, Sequence[torch.Tensor]] | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA, (rows, heads, tokens, size) to (rows, tokens, heads, size); of packed rows piece by piece.

    Args:
        packed: of the rows.
        piece_masks: the pieces' masks by sliding window; a layer without one has None.
    """
    if packed is None or piece_masks is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return plain
    rows, _, tokens, size = query.shape

    def laid_out(tensor: torch.Tensor, index: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, ...]:
        # index_select, not indexing: its backward adds row by row, the other's sorts first. Once for all pieces: each
        # backward fills a whole row with zeros first.
        flat = tensor.transpose(1, 2).reshape(rows * tokens, -1)
        return torch.split(flat.index_select(0, index), sizes)

    pieces = packed.pieces
    queries = laid_out(query, packed.queries, [piece.queries.numel() for piece in pieces])
    key_sizes = [piece.keys.numel() for piece in pieces]
    keys, values = (laid_out(tensor, packed.keys, key_sizes) for tensor in (key, value))
    mixed = []
    masks = piece_masks[options.get("sliding_window")]
    for piece, mask, *sides in zip(pieces, masks, queries, keys, values, strict=True):
        parts = (side.view(len(piece.queries), -1, side.shape[1] // size, size).transpose(1, 2) for side in sides)
        of_query, of_key, of_value = parts
        if short_attention.is_faster(of_query, of_key):
            scale = options.get("scaling")
            output = short_attention.attention(of_query, of_key, of_value, mask, scale).transpose(1, 2)
        else:
            output, _ = sdpa_attention_forward(module, of_query, of_key, of_value, mask, **options)
        mixed.append(output.reshape(piece.queries.numel(), -1))
    return torch.cat(mixed).index_select(0, packed.places).view(rows, tokens, -1, size), None


AttentionInterface.register(PIECES, _attend)
AttentionMaskInterface.register(PIECES, sdpa_mask)


def _mask(batch: Batch, window: int | None, implementation: str, dtype: torch.dtype) -> torch.Tensor | BlockMask:
    if implementation == FLEX:
        return block_mask(batch, window)
    visible = batch.mask(window)
    if implementation in ("sdpa", PIECES):
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
    create = compiled_block_mask() if segments.device.type == "cuda" else create_block_mask
    with torch.no_grad():  # or training and scoring would each compile it for themselves
        mask: BlockMask = create(visible, rows, None, tokens, tokens, device=segments.device)
    return mask


@functools.cache
def compiled_block_mask() -> Callable[..., BlockMask]:
    """For all sizes at once: sizes that were fixed one by one would soon be more than torch compiles."""
    # torch types its decorator without the limit
    compiled: Callable[..., BlockMask] = torch.compile(  # type: ignore[call-overload]
        create_block_mask, dynamic=True, recompile_limit=MOST_GRAPHS
    )
    return compiled


def _window(text: PreTrainedConfig) -> int | None:
    """The sliding window of a model some of whose layers have one, in tokens, the query's own included."""
    window: int | None = getattr(text, "sliding_window", None)
    layer_types = getattr(text, "layer_types", None)
    if window is None or (layer_types is not None and "sliding_attention" not in layer_types):
        return None
    return window


def _is_capped(text: PreTrainedConfig) -> bool:
    return bool(getattr(text, "attn_logit_softcapping", None))


def head_size(text: PreTrainedConfig) -> int:
    """Channels of an attention head."""
    size: int | None = getattr(text, "head_dim", None)
    return size or text.hidden_size // text.num_attention_heads

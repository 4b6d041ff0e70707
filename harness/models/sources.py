"""Where language models come from: a local folder, or a tiny configuration with seeded weights. A model of the hub, a
GGUF file and a model that a package carries become a folder first (`hub.py`, `gguf.py`, `fetch.py`).

Weights are read from safetensors only, and every model leaves this file without dropout: packing, resuming and
micro-batches reproduce a training bit for bit only where nothing is drawn at random. This file must not know about
rewards or training.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from harness.errors import CorruptArtifact, MissingRequirement, RecipeError, reason_of
from harness.models.attention import attention_to_load
from harness.models.folder import BUFFERS, require_model, tensors_of
from harness.recipe.blocks import TinyFamily

TINY_WINDOW = 64
"""Tokens that a sliding layer of a tiny model sees: fewer than many pairs have, so that windows matter."""

# The capping of Gemma 2 is the library's default: attention at 50, logits at 30.
CONFIGURATIONS: Mapping[TinyFamily, tuple[type[PreTrainedConfig], Mapping[str, Any]]] = {
    "llama": (LlamaConfig, {}),
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {}),
    "gemma2": (Gemma2Config, {"sliding_window": TINY_WINDOW}),
    "gemma3": (Gemma3TextConfig, {"sliding_window": TINY_WINDOW}),
    "mistral": (MistralConfig, {"sliding_window": TINY_WINDOW}),
}

# What transformers raises for files it cannot make a model of, besides its own checks (ValueError): it reads keys,
# calls code and builds modules by what they say.
NOT_LOADED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    StrictDataclassError,
)
# The score layer that a classifier has instead of a language-model head, and that.
HEADS = re.compile(r"^score\.weight$|^lm_head\.")
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def tiny_configuration(
    family: TinyFamily,
    *,
    vocabulary: int,
    hidden_size: int,
    layers: int,
    heads: int,
    key_value_heads: int,
    intermediate_size: int,
    max_positions: int,
    tie_embeddings: bool,
    **more: Any,
) -> PreTrainedConfig:
    """The configuration of a decoder of any size. No token id has a special role in it: whoever generates says where to
    stop.

    Every head has hidden_size / heads channels, also in families whose published models all have more.

    Args:
        more: of the family's own settings, in the place of ours.
    """
    configuration_class, own = CONFIGURATIONS[family]
    head_size = hidden_size // heads
    if family not in ("llama", "qwen2"):  # these have no other
        own = {"head_dim": head_size, **own}
    if family.startswith("gemma"):
        own = {"query_pre_attn_scalar": head_size, "layer_types": _alternating(layers), **own}
    return configuration_class(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=max_positions,
        tie_word_embeddings=tie_embeddings,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **{**own, **more},
    )


def _alternating(layers: int) -> list[str]:
    """Gemma 2's order of layers; Gemma 3's has a full one in six, which a model of few layers would not reach."""
    return [("sliding_attention", "full_attention")[layer % 2] for layer in range(layers)]


def tiny_model(family: TinyFamily, *, seed: int, **sizes: Any) -> PreTrainedModel:
    """A causal language model of any size (see `tiny_configuration`) with weights drawn from `seed`, in fp32.

    The process's own random state is left as it was.
    """
    configuration = tiny_configuration(family, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            configuration, dtype=torch.float32, attn_implementation=attention_to_load(configuration)
        )
    return without_dropout(model)


def load_causal_model(
    folder: str | Path,
    *,
    trust_remote_code: bool = False,
    dtype: torch.dtype = torch.float32,
    weights: bool = True,
) -> PreTrainedModel:
    """A causal language model from a local folder, safetensors only.

    Args:
        trust_remote_code: run code shipped with the model. Off unless the recipe says so.
        dtype: of the weights. Training keeps fp32 weights and lowers precision by autocast.
        weights: False makes the model without their values, on the meta device: to see that it can be loaded, whatever
            sizes its configuration names.

    Raises:
        MissingRequirement: nothing can be loaded from there, or not as safetensors.
        CorruptArtifact: a weight is missing, appears twice or is one too many, or a file is not whole.
    """
    require_model(Path(folder))
    tensors_of(Path(folder))
    try:
        configuration = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=configuration,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            dtype=dtype,
            attn_implementation=attention_to_load(configuration),
            output_loading_info=True,
            **({} if weights else {"device_map": {"": "meta"}, "ignore_mismatched_sizes": True}),
        )
    except SafetensorError as error:
        raise CorruptArtifact(
            "a model's weights must be whole", f"loading {folder!s} failed: {error}", "fetch the model again"
        ) from error
    except NOT_LOADED as error:
        raise MissingRequirement(
            "a model must be a folder with a configuration and safetensors weights",
            f"loading {folder!s} failed: {reason_of(error)}",
            "fetch the model again, or convert its weights to safetensors",
        ) from error
    if report["missing_keys"]:  # the library would draw them at random and only warn
        missing = sorted(report["missing_keys"])
        raise CorruptArtifact(
            "a model's weights must be whole",
            f"{folder!s} lacks {len(missing)} of them, e.g. {missing[0]}",
            "fetch the model again",
        )
    for name, held, wanted in sorted(report["mismatched_keys"]):
        raise CorruptArtifact(
            "a model's weights must have the sizes of its configuration",
            f"{name} of {folder!s} is {tuple(held)} instead of {tuple(wanted)}",
            "correct config.json, or fetch the model again",
        )
    surplus = sorted(name for name in report["unexpected_keys"] if not (BUFFERS.search(name) or HEADS.search(name)))
    if surplus:  # the library would leave them out: adapters that were not merged, more layers than configured
        raise CorruptArtifact(
            "a model's weights must be those of its configuration",
            f"{folder!s} has {len(surplus)} more, e.g. {surplus[0]}",
            "merge adapters into the weights, or correct config.json",
        )
    make_savable(model, folder)
    return without_dropout(model)


def empty_causal_model(folder: Path) -> PreTrainedModel | None:
    """A causal language model of which only buffers have values; its weights, on the meta device, are read later.

    Returns:
        None where the folder's files name them in another way than the model, so that it must be loaded as a whole.

    Raises:
        HarnessError: as `load_causal_model`.
    """
    model = load_causal_model(folder, weights=False)
    if {name for name, _ in model.named_parameters()} - tensors_of(folder).keys():
        return None
    with init_empty_weights(include_buffers=False):
        other = type(model)(model.config)
    for name, buffer in other.named_buffers():
        owner, _, own = name.rpartition(".")
        setattr(model.get_submodule(owner), own, buffer)
    return model


def make_savable(model: PreTrainedModel, source: str | Path) -> None:
    """See now that the library will save this model, which it checks only when a training is over.

    Sampling values that contradict one another, as some models are published with, are dropped: nothing reads them.

    Raises:
        MissingRequirement: its configuration cannot be saved.
    """
    try:
        model.generation_config.validate(strict=True)
    except NOT_LOADED:
        kept = {name: getattr(model.generation_config, name) for name in TOKEN_IDS}
        model.generation_config = GenerationConfig(**kept)
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.config.save_pretrained(folder)
            model.generation_config.save_pretrained(folder)
        except NOT_LOADED as error:
            raise MissingRequirement(
                "a model's configuration must be one that can be saved again",
                f"that of {folder!s} cannot: {reason_of(error)}",
                "correct its config.json",
            ) from error


def load_tokenizer(folder: str | Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer that belongs to a model, as transformers' fast tokenizer.

    Raises:
        MissingRequirement: there is none.
    """
    require_model(Path(folder))
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # besides what transformers raises, tokenizers raises plain Exception
        raise MissingRequirement(
            "a model that reads text needs its tokenizer",
            f"loading the one of {folder!s} failed: {reason_of(error)}",
            "put the tokenizer's files beside the weights",
        ) from error


def require_tokenizer(folder: Path, rows: int, *, trust_remote_code: bool = False) -> None:
    """That a model's tokenizer can be loaded and saved, and gives ids that the model knows.

    Args:
        rows: of the model's embeddings.

    Raises:
        MissingRequirement: it cannot, or does not.
    """
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if not 0 <= largest < rows:
        raise MissingRequirement(
            "a tokenizer must fit its model's embeddings",
            f"that of {folder} has the id {largest} of {rows:,} rows",
            "use the model's own, or give the embeddings rows for what was added",
        )
    with tempfile.TemporaryDirectory() as scratch:
        try:
            tokenizer.save_pretrained(scratch)
        except Exception as error:  # as in `load_tokenizer`
            raise MissingRequirement(
                "a model's tokenizer must be one that can be saved again",
                f"that of {folder} cannot: {reason_of(error)}",
                "correct its tokenizer_config.json",
            ) from error


def end_tokens(tokenizer: Any, *configurations: Any) -> set[int]:
    """Ids that end a text: what the tokenizer and the given configurations (model, generation) call `eos_token_id`."""
    ends: set[int] = set()
    for owner in (tokenizer, *configurations):
        named = getattr(owner, "eos_token_id", None)
        ends.update(named if isinstance(named, list | tuple) else [] if named is None else [named])
    return ends


def context_tokens(configuration: PreTrainedConfig, asked: int | None) -> int:
    """Tokens a model can see: all that its configuration allows, or fewer if asked.

    Raises:
        RecipeError: more is asked than the model can see, or its configuration does not say.
    """
    allowed: int | None = getattr(configuration.get_text_config(), "max_position_embeddings", None)
    if asked is None and allowed is None:
        raise RecipeError("a model's context must be known", "its configuration names none", "give the context")
    if asked is not None and allowed is not None and asked > allowed:
        raise RecipeError(
            "the context must not exceed the model's", f"requested {asked:,} of {allowed:,} tokens", "lower it"
        )
    context = allowed if asked is None else asked
    assert context is not None
    return context


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """Sets every dropout probability to zero, in place, so that a model in training mode draws nothing at random."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    return model

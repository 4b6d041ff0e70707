"""A causal language model with a scalar reward head: one forward gives rewards, the LM loss, or both.

Works on packed batches only (`packing`). It must not know about optimizers, schedules or where tokens came from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from torch.nn.utils import skip_init
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

from harness.errors import CorruptArtifact, RecipeError, reason_of
from harness.models.attention import (
    FLEX,
    MOST_GRAPHS,
    attention_arguments,
    attention_of_rows,
    attention_to_load,
    require_attention,
    suits_flex_attention,
)
from harness.models.distributed import assign, full_tensor, full_weights, is_main, wait_for_all
from harness.models.folder import tensors_of
from harness.models.losses import LmNormalization, lm_cross_entropy_sum
from harness.models.packing import Batch
from harness.models.sources import empty_causal_model, load_causal_model, require_tokenizer, without_dropout
from harness.sources.models import FAMILIES, shape_of

Precision = Literal["fp32", "bf16"]
Recompute = bool | Literal["selective"]
"""Whether a layer keeps nothing but what goes into it for its backward pass, or, selectively, the results of matrix
products and attention too: then only what is cheap is computed again."""

HEAD_FILE = "reward_head.safetensors"
SCORE = "score.weight"
"""The head of a sequence classifier of transformers, among its weights."""
DESCRIPTION_FILE = "reward_model.json"
DEFAULT_HEAD_SPREAD = 0.02
"""Standard deviation of a new head where the configuration names no `initializer_range`."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Of one batch. `rewards`: fp32 (responses,), in the order of `Batch.responses`. `lm_loss`: scalar, the sum of the
    cross-entropies of all LM targets, or of their means over each response. What was not asked for is None."""

    rewards: torch.Tensor | None
    lm_loss: torch.Tensor | None


def _recomputing(forward: Callable[..., Any], recompute: Recompute) -> Callable[..., Any]:
    how: dict[str, Any] = {"context_fn": _keep_products} if recompute == "selective" else {}

    def recomputed(*args: Any, **kwargs: Any) -> Any:  # compiled, this is what the compiler begins to read at
        return checkpoint(forward, *args, use_reentrant=False, **how, **kwargs)

    return recomputed


def _keep_products() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Around a layer's forward pass, and around its second one."""
    aten = torch.ops.aten
    kept = [
        aten.mm.default,
        aten.addmm.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_cudnn_attention.default,
        torch.ops.higher_order.flex_attention,
    ]
    forward, backward = create_selective_checkpoint_contexts(kept)  # type: ignore[no-untyped-call]
    return forward, backward


class RewardModel(nn.Module):
    """Backbone and head.

    Attributes:
        backbone: the causal language model, its LM head included.
        head: Linear(hidden, 1) without bias, kept in fp32 whatever the backbone's precision.
        has_head: whether the head has ever been trained; a fresh one carries no preference.
        unread: the folder whose weights `fill` is to read; None where the model has weights.

    Args:
        backbone: any decoder-only causal language model of transformers.
        head_seed: seed of the head's first weights.

    Raises:
        RecipeError: the backbone's attention or output layer cannot be reproduced on packed rows.
    """

    def __init__(self, backbone: PreTrainedModel, *, head_seed: int) -> None:
        super().__init__()
        _require_supported(backbone)
        self.backbone = without_dropout(backbone)
        self.use_attention_of(backbone.device)
        hidden_size = backbone.config.get_text_config().hidden_size
        # skip_init: the usual constructor would draw from the process's random state
        self.head: nn.Linear = skip_init(  # type: ignore[no-untyped-call]
            nn.Linear, hidden_size, 1, bias=False, dtype=torch.float32, device=_real(backbone.device)
        )
        self.has_head = False
        self.unread: Path | None = None
        self.reset_head(head_seed)

    def reset_head(self, seed: int) -> None:
        """Draws the head anew from N(0, initializer_range²), as transformers does for a new classification head."""
        spread = getattr(self.backbone.config.get_text_config(), "initializer_range", DEFAULT_HEAD_SPREAD)
        generator = torch.Generator().manual_seed(seed)
        weight = torch.normal(0.0, spread, self.head.weight.shape, generator=generator, dtype=torch.float32)
        with torch.no_grad():
            self.head.weight.copy_(weight)
        self.has_head = False

    def forward(self, batch: Batch, *, rewards: bool, lm_loss: LmNormalization | None) -> Outputs:
        """Rewards and LM loss of a batch.

        The LM loss is part of the forward so that a wrapper that gathers sharded weights sees the LM head used here.

        Args:
            batch: packed rows on the model's device.
            rewards: whether to apply the reward head.
            lm_loss: what to sum of the LM head's losses, at the LM targets only; None applies no LM head.
        """
        hidden = self._hidden_states(batch)
        return Outputs(
            rewards=self._rewards(hidden, batch) if rewards else None,
            lm_loss=self._lm_loss(hidden, batch, lm_loss) if lm_loss is not None else None,
        )

    def response_losses(self, batch: Batch) -> list[tuple[float, int]]:
        """(cross-entropy of its LM targets, how many they are) of every response that has any, in the batch's order:
        what `forward` sums."""
        hidden = self._hidden_states(batch)[batch.lm_index]
        found, start = [], 0
        while start < len(hidden):
            targets = int(batch.lm_lengths[start])
            ours = slice(start, start + targets)
            found.append((float(self._cross_entropy(hidden[ours], batch.lm_labels[ours], None)), targets))
            start += targets
        return found

    def use_attention_of(self, device: torch.device | str) -> None:
        """Switches to the attention that suits a device; results differ by rounding only."""
        configuration = self.backbone.config
        if suits_flex_attention(configuration, device) and self.backbone._supports_flex_attn:
            self.backbone.set_attn_implementation(FLEX)
        elif configuration._attn_implementation == FLEX:
            self.backbone.set_attn_implementation(attention_to_load(configuration) or "sdpa")
        self.backbone.set_attn_implementation(attention_of_rows(configuration))

    def layers(self) -> list[nn.Module]:
        """The backbone's repeated blocks, first to last: what is gathered, recomputed or compiled as one."""
        names = self.backbone._no_split_modules or ()
        return [module for module in self.backbone.modules() if type(module).__name__ in names]

    def compute_layers(self, *, recompute: Recompute, compiled: bool | None) -> None:
        """How training computes the layers: what it computes again in the backward pass, and `compiled`, each by
        itself. None compiles with FlexAttention alone, which takes rows of all lengths at once; the pieces of SDPA are
        compiled anew for each length.
        """
        flex = self.backbone.config._attn_implementation == FLEX
        for layer in self.layers():
            if recompute:
                # Not by the library's `gradient_checkpointing_enable`, which would be outside of what is compiled: the
                # choice of what to keep does not reach into that, so that all would be computed again.
                once = partial(type(layer).forward, layer)  # however often a model is trained
                layer.forward = _recomputing(once, recompute)
            if flex if compiled is None else compiled:
                # No number of a layer varies, and FlexAttention takes none that might: Gemma 2's soft cap, say.
                torch._dynamo.config.specialize_float = True
                layer.compile(recompile_limit=MOST_GRAPHS, dynamic=True if flex else None)

    def save(self, directory: Path) -> None:
        """Writes the backbone as an ordinary transformers checkpoint (safetensors), and the head beside it.

        Processes that hold the weights together all call it; one of them writes.
        """
        weights = full_weights(self.backbone)
        head = full_tensor(self.head.weight.detach())
        if is_main():
            directory.mkdir(parents=True, exist_ok=True)
            self.backbone.save_pretrained(directory, state_dict=weights)
            save_file({"weight": head.contiguous()}, directory / HEAD_FILE)
            (directory / DESCRIPTION_FILE).write_text(json.dumps({"has_head": self.has_head}) + "\n", encoding="utf-8")
        wait_for_all()

    @classmethod
    def load(cls, directory: Path, *, dtype: torch.dtype = torch.float32, later: bool = False) -> Self:
        """The model that `save` wrote, head included, on the CPU.

        Args:
            later: processes will share its weights: `fill` reads them then, each process its part, so that none of them
                ever holds all.

        Raises:
            MissingRequirement: there is no model in the folder.
            CorruptArtifact: the head is missing or does not fit the backbone.
        """
        empty = empty_causal_model(directory) if later else None
        model = cls(empty or load_causal_model(directory, dtype=dtype), head_seed=0)
        model.unread = directory if empty is not None else None
        model._load_head(directory)
        return model

    def restore(self, directory: Path) -> None:
        """Takes over, in place, the weights that `save` wrote for a model of the same configuration."""
        if self.unread is None:
            self._read(directory)
        else:
            self.unread = directory
        self._load_head(directory)

    def fill(self, device: torch.device) -> None:
        """Moves the model to a device, and reads its weights if they were left for later."""

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            return torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.to(device)

        self._apply(moved)  # type: ignore[no-untyped-call]  # not `to_empty`, which would lose the buffers' values
        if self.unread is not None:
            directory, self.unread = self.unread, None
            self._read(directory)

    def _read(self, directory: Path) -> None:
        """Weights one at a time, so that a process that holds a part never has all in memory."""
        files = tensors_of(directory)
        weights = dict(self.backbone.named_parameters())
        if weights.keys() - files.keys():  # a model whose files name them in another way
            saved = type(self.backbone).from_pretrained(directory, use_safetensors=True, dtype=self.backbone.dtype)
            for name, weight in saved.named_parameters():
                assign(weights[name], weight)
            return
        for name, weight in weights.items():
            with safe_open(files[name], framework="pt") as file:
                assign(weight, file.get_tensor(name).to(weight.dtype))

    def _load_head(self, directory: Path) -> None:
        try:
            has_head = bool(json.loads((directory / DESCRIPTION_FILE).read_text(encoding="utf-8"))["has_head"])
            weight = load_file(directory / HEAD_FILE)["weight"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError, SafetensorError) as error:
            raise CorruptArtifact(
                "a reward model's folder must hold its head", f"{directory} does not: {reason_of(error)}"
            ) from error
        if weight.shape != self.head.weight.shape:
            raise CorruptArtifact(
                "the reward head must fit the backbone",
                f"its shape is {tuple(weight.shape)} instead of {tuple(self.head.weight.shape)}",
            )
        assign(self.head.weight, weight)
        self.has_head = has_head

    def _hidden_states(self, batch: Batch) -> torch.Tensor:
        """Last hidden states, (rows · tokens, hidden)."""
        output = self.backbone.base_model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            **attention_arguments(batch, self.backbone.config, self.backbone.dtype),
        )
        hidden: torch.Tensor = output.last_hidden_state.flatten(0, 1)
        return hidden

    def _rewards(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        last = hidden[batch.score_index].to(self.head.weight.dtype)
        with torch.autocast(last.device.type, enabled=False):
            # a copy, since FSDP warns of what a model returns of a larger tensor
            return functional.linear(last, self.head.weight).squeeze(-1).clone()

    def _lm_loss(self, hidden: torch.Tensor, batch: Batch, normalization: LmNormalization) -> torch.Tensor:
        weights = 1 / batch.lm_lengths.double() if normalization == "sequence" else None
        return self._cross_entropy(hidden[batch.lm_index], batch.lm_labels, weights)

    def _cross_entropy(self, hidden: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        lm_head = self.backbone.get_output_embeddings()
        return lm_cross_entropy_sum(
            hidden,
            labels,
            lm_head.weight,
            lm_head.bias,
            softcap=getattr(self.backbone.config.get_text_config(), "final_logit_softcapping", None),
            position_weights=weights,
        )


def add_fresh_head(directory: Path, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Put a head that knows nothing beside a model from elsewhere, so that `RewardModel.load` reads the folder.

    Its weights are zero: whoever trains it draws them anew. That the model can be loaded, read text, be trained on
    packed rows and saved is seen here, and not when a training ends.

    Returns:
        `parameters`: weights of the backbone, tied ones once; `model_type`; `shape` where it can be counted.

    Raises:
        MissingRequirement: it or its tokenizer cannot be loaded, or not be saved again.
        CorruptArtifact: its weights are not those of its configuration, or there is a score layer among them.
        RecipeError: its attention or output layer cannot be reproduced on packed rows.
    """
    backbone = load_causal_model(directory, trust_remote_code=trust_remote_code, weights=False)
    _require_supported(backbone)
    tensors = tensors_of(directory)
    if SCORE in tensors:
        raise CorruptArtifact(
            "a model to train must be a language model",
            f"{directory} has a score layer, which would be left out",
            "`harness import checkpoint` scores with it; to train, use the model it was made from",
        )
    rows = backbone.get_input_embeddings().weight.shape[0]
    require_tokenizer(directory, rows, trust_remote_code=trust_remote_code)
    configuration = backbone.config
    hidden_size = configuration.get_text_config().hidden_size
    save_file({"weight": torch.zeros(1, hidden_size)}, directory / HEAD_FILE)
    (directory / DESCRIPTION_FILE).write_text(json.dumps({"has_head": False}) + "\n", encoding="utf-8")
    count = 0
    for path in set(tensors.values()):
        with safe_open(path, framework="pt") as weights:
            count += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    known = configuration.model_type in FAMILIES
    shape = {"shape": shape_of(configuration.to_dict())} if known else {}
    return {"parameters": count, "model_type": configuration.model_type, **shape}


def autocast(device: torch.device | str, precision: Precision, *, keep_cast: bool = True) -> torch.autocast:
    """Matrix products in bf16 over fp32 weights, or everything in the weights' own precision.

    Args:
        keep_cast: weights are cast once within it and their bf16 copies kept, and not anew at every use.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bf16", cache_enabled=keep_cast)


def _real(device: torch.device) -> torch.device:
    """The device of what has values from the beginning: a head is small."""
    return torch.device("cpu") if device.type == "meta" else device


def _require_supported(backbone: PreTrainedModel) -> None:
    configuration = backbone.config.get_text_config()
    require_attention(backbone.config)
    for name in ("logits_scaling", "logit_scale"):  # Granite, Cohere: a factor outside the LM head's weights
        if getattr(configuration, name, 1.0) not in (None, 1.0):
            raise RecipeError(f"models with `{name}` are not supported", f"it is {getattr(configuration, name)}")

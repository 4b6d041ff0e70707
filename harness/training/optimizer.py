"""Which parameters a training moves, the optimizer that moves them, and its state by parameter name.

Names, not places in a list, are what is saved. This file must not know about files, batches or schedules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from harness.models.losses import LossWeights
from harness.models.reward_model import RewardModel


@dataclass(frozen=True, kw_only=True)
class AdamWSettings:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101); the learning rate is the schedule's.

    Attributes:
        weight_decay: of tensors with two or more dimensions (matrices, embeddings, heads). Norm weights and biases
            never decay, the usual practice (nanoGPT; transformers' Trainer).
        betas, epsilon: of the moments.
        clip_norm: the whole gradient is scaled down to this L2 norm; None leaves it.
    """

    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip_norm: float | None = 1.0


def select_parameters(model: RewardModel, loss: LossWeights, *, frozen_backbone: bool) -> None:
    """Lets the parameters that the losses can move require a gradient, and no others."""
    lm_head = model.backbone.get_output_embeddings()
    # A tied LM head is the input embedding under another name: `named_parameters` lists it once, as the latter.
    only_lm = {f"backbone.{name}" for name, module in model.backbone.named_modules() if module is lm_head}
    for name, parameter in model.named_parameters():
        in_head = name.startswith("head.")
        in_lm_head = name.rpartition(".")[0] in only_lm
        trained = loss.rm > 0 if in_head else not frozen_backbone
        trained = trained and (loss.lm > 0 or not in_lm_head)
        parameter.requires_grad_(trained)


def selected_parameters(model: RewardModel) -> dict[str, torch.nn.Parameter]:
    """Those that are trained, by name; of a sharded model the parts this process holds."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def new_optimizer(parameters: Mapping[str, torch.nn.Parameter], settings: AdamWSettings) -> torch.optim.AdamW:
    """Fused AdamW in one parameter group for each decay, parameters in their given order within it.

    Moments exist from the start: else a parameter without a gradient so far (the head, before the first batch with a
    pair) would be missing from a saved state.
    """
    decaying = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    others = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups = [{"params": decaying, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # The rate given here is never used: every step sets its own.
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=0.0, betas=settings.betas, eps=settings.epsilon, fused=True
    )
    for parameter in parameters.values():
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """All the optimizer knows, by "<moment>/<parameter>"; the tensors themselves, not copies."""
    return {
        f"{moment}/{name}": tensor
        for name, parameter in parameters.items()
        for moment, tensor in optimizer.state[parameter].items()
    }

"""Loss and gradient of one global batch, however it is cut into rows and micro-batches.

Normalisers (pairs, target tokens) are counted over the whole global batch before anything is computed, so every
micro-batch adds exactly its share. This file must not know about optimizers, schedules or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.errors import DataError
from harness.models.losses import LossWeights
from harness.models.packing import Batch, Group, collate, lm_target_count, pack
from harness.models.reward_model import Outputs, Precision, autocast
from harness.training.speed import Work, sights


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """Of one global batch.

    Attributes:
        loss: the weighted sum that was differentiated.
        loss_rm, loss_lm: each loss unweighted, or None where nothing of it was computed.
        chosen, rejected: rewards of the pairs, float64 (pairs,), in no particular order.
        work: that was done, without padding.
    """

    loss: float
    loss_rm: float | None
    loss_lm: float | None
    chosen: NDArray[np.float64]
    rejected: NDArray[np.float64]
    work: Work


def accumulate_gradients(
    model: nn.Module,
    groups: Sequence[Group],
    *,
    loss: LossWeights,
    row_tokens: int,
    rows_per_micro_batch: int,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
) -> BatchResult:
    """Adds the gradient of a global batch's loss to the model's parameters.

    What carries no weight is not computed: without RM loss the rejected responses are left out of the rows, without LM
        loss
    groups that are not pairs are.

    Args:
        model: a RewardModel, or a wrapper with its forward.
        groups: the global batch: pairs [prompt, chosen, rejected] and texts [prompt, text].
        loss: weights of the two losses.
        row_tokens, rows_per_micro_batch, device: runtime choices that change results by rounding only.
        precision: of the matrix products.
        backward: how to differentiate a scalar.

    Raises:
        DataError: a group has more than two responses, or the batch has nothing to learn from.
    """
    used = [group for group in map(_needed(loss), groups) if group is not None]
    pairs = sum(len(group) == 3 for group in used) if loss.rm else 0
    # what the LM losses are divided by: targets, or responses that have one
    counts = [lm_target_count(group) for group in used] if loss.lm else []
    targets = sum(counts) if loss.lm_normalization == "token" else sum(count > 0 for count in counts)
    if pairs == 0 and targets == 0:
        raise DataError(
            "a global batch must hold a pair (for the RM loss) or a token to predict (for the LM loss)",
            f"one of {len(groups)} groups has neither",
            "check the loss weights against the data",
        )
    rows = pack(used, row_tokens)
    rm_sums: list[torch.Tensor] = []
    lm_sums: list[torch.Tensor] = []
    pair_rewards: list[torch.Tensor] = []
    # One autocast around the whole step: it keeps the weights it has cast, so they are cast once and not in every
    # micro-batch. Losses and backward are outside it.
    with autocast(device, precision):
        for start in range(0, len(rows), rows_per_micro_batch):
            batch = collate(rows[start : start + rows_per_micro_batch], device)
            outputs: Outputs = model(batch, rewards=pairs > 0, lm_loss=loss.lm_normalization if targets else None)
            with autocast(device, "fp32"):
                terms: list[torch.Tensor] = []
                if outputs.rewards is not None:
                    chosen, rejected = _pair_rewards(outputs.rewards, batch)
                    rm_sums.append(loss.pair_loss(chosen, rejected, loss.margin))
                    pair_rewards.append(torch.stack([chosen, rejected]).detach())
                    terms.append(rm_sums[-1] * (loss.rm / pairs))
                if outputs.lm_loss is not None:
                    lm_sums.append(outputs.lm_loss)
                    terms.append(lm_sums[-1] * (loss.lm / targets))
                backward(torch.stack(terms).sum())
    loss_rm = _mean(rm_sums, pairs)
    loss_lm = _mean(lm_sums, targets)
    rewards = torch.cat(pair_rewards, dim=1).double().cpu().numpy() if pair_rewards else np.empty((2, 0))
    return BatchResult(
        loss=loss.rm * (loss_rm or 0.0) + loss.lm * (loss_lm or 0.0),
        loss_rm=loss_rm,
        loss_lm=loss_lm,
        chosen=rewards[0],
        rejected=rewards[1],
        work=Work(
            tokens=sum(len(row) for row in rows),
            targets=sum(map(lm_target_count, used)) if targets else 0,
            sights=sum(map(sights, used)),
        ),
    )


def loss_gradient_norms(
    model: nn.Module,
    parameters: Iterable[nn.Parameter],
    groups: Sequence[Group],
    *,
    loss: LossWeights,
    accumulate: Callable[..., BatchResult],
) -> dict[str, float]:
    """Norm of each loss's own weighted gradient on a global batch, by the name it is logged under.

    Costs a pass for each loss. The parameters' gradients must be clear, and are clear afterwards.

    Args:
        accumulate: `accumulate_gradients`, given how to compute.

    Returns:
        `grad_norm_rm` and `grad_norm_lm`; nothing where the batch has only one of the losses.
    """
    pairs, targets = sum(len(group) == 3 for group in groups), sum(map(lm_target_count, groups))
    if not (loss.rm and loss.lm and pairs and targets):
        return {}
    moved = list(parameters)
    norms: dict[str, float] = {}
    for name, alone in (("grad_norm_rm", replace(loss, lm=0.0)), ("grad_norm_lm", replace(loss, rm=0.0))):
        accumulate(model, groups, loss=alone)
        gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
        norms[name] = float(torch.nn.utils.get_total_norm(gradients))
        for parameter in moved:
            parameter.grad = None
    return norms


def _needed(loss: LossWeights) -> Callable[[Group], Group | None]:
    """Cuts a group down to what the losses look at."""

    def cut(group: Group) -> Group | None:
        if len(group) > 3:
            raise DataError("training groups have one or two responses", f"one has {len(group) - 1}")
        if loss.rm == 0:
            return group[:2]
        return None if loss.lm == 0 and len(group) == 2 else group

    return cut


def _pair_rewards(rewards: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Chosen and rejected rewards, (pairs,) each: a group's responses are neighbours in a batch."""
    second = torch.from_numpy(np.flatnonzero(batch.responses[:, 1] == 1)).to(rewards.device)
    return rewards[second - 1], rewards[second]


def _mean(sums: Sequence[torch.Tensor], count: int) -> float | None:
    """Mean of a loss from its micro-batches' sums, added in double precision."""
    return float(torch.stack(list(sums)).detach().double().sum()) / count if count else None

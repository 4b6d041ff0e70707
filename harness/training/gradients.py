"""Loss and gradient of one global batch, however it is cut into rows and micro-batches and dealt to processes.

Normalisers (pairs, target tokens) are counted over the whole global batch before anything is computed, so every
micro-batch adds exactly its share. This file must not know about optimizers, schedules or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.errors import DataError
from harness.models.distributed import full_tensor, world_size
from harness.models.losses import PAIR_SUMS, LossWeights, pair_statistics, pair_sums
from harness.models.packing import Batch, Group, collate, lm_target_count, pack
from harness.models.reward_model import Outputs, Precision, autocast
from harness.training.parallel import Parallel
from harness.training.speed import Work, attended_pairs


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """Of one global batch.

    Attributes:
        loss: the weighted sum that was differentiated.
        loss_rm, loss_lm: each loss unweighted, or None where nothing of it was computed.
        statistics: of the pairs' rewards, see `pair_statistics`; {} where none were computed.
        work: that was done, without padding.
    """

    loss: float
    loss_rm: float | None
    loss_lm: float | None
    statistics: Mapping[str, float]
    work: Work


def accumulate_gradients(
    model: nn.Module,
    groups: Sequence[Group],
    *,
    loss: LossWeights,
    turned: NDArray[np.bool_] | None = None,
    row_tokens: int,
    rows_per_micro_batch: int,
    precision: Precision = "fp32",
    parallel: Parallel | None = None,
    exchange: bool = True,
) -> BatchResult:
    """Adds the gradient of a global batch's loss to the model's parameters.

    What carries no weight is not computed: without RM loss the rejected responses are left out of the rows, without LM
    loss groups that are not pairs are.

    Args:
        model: a RewardModel, or what `Parallel.distribute` made of it.
        groups: the global batch, the same in every process: pairs [prompt, chosen, rejected] and texts [prompt, text].
        loss: weights of the two losses.
        turned: (groups,), whose second response the RM loss prefers; None is none. The LM loss is always of the first.
        row_tokens, rows_per_micro_batch: runtime choices that change results by rounding only.
        precision: of the matrix products.
        parallel: who computes it, and where; by default this process, on the CPU.
        exchange: whether every process gets the whole batch's gradient, or its own rows' alone.

    Raises:
        DataError: a group has more than two responses, or the batch has nothing to learn from.
    """
    parallel = parallel or Parallel(torch.device("cpu"))
    needs = [_needed(group, loss) for group in groups]
    used = [needed for needed in needs if needed is not None]
    turned_of_used = (np.zeros(len(groups), bool) if turned is None else turned)[[one is not None for one in needs]]
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
    rows = pack(used, row_tokens, world_size())
    micro_batches = parallel.micro_batches(rows, rows_per_micro_batch)
    sums = torch.zeros(2 + PAIR_SUMS, dtype=torch.float64, device=parallel.device)  # RM loss, LM loss, rewards
    # One autocast around the whole step: it keeps the weights it has cast, so they are cast once and not in every
    # micro-batch (but not sharded weights: to keep what was gathered is what they are sharded against). Losses and
    # backward are outside it.
    with autocast(parallel.device, precision, keep_cast=not parallel.shards):
        for number, micro_batch in enumerate(micro_batches):
            batch = collate(micro_batch.rows, parallel.device)
            last = number == len(micro_batches) - 1
            with parallel.gradient_sync(model, exchange and last):
                outputs: Outputs = model(batch, rewards=pairs > 0, lm_loss=loss.lm_normalization if targets else None)
                with autocast(parallel.device, "fp32"):
                    terms: list[torch.Tensor] = []
                    if outputs.rewards is not None:
                        chosen, rejected, other = _pair_rewards(outputs.rewards, batch, turned_of_used)
                        better, worse = torch.where(other, rejected, chosen), torch.where(other, chosen, rejected)
                        rm_loss = loss.pair_loss(better, worse, loss.margin) * micro_batch.weight
                        terms.append(rm_loss * (loss.rm / pairs))
                        sums[0] += rm_loss.detach()
                        sums[2:] += pair_sums(chosen, rejected, other) * micro_batch.weight
                    if outputs.lm_loss is not None:
                        lm_loss = outputs.lm_loss * micro_batch.weight
                        terms.append(lm_loss * (loss.lm / targets))
                        sums[1] += lm_loss.detach()
                    parallel.backward(torch.stack(terms).sum())
    everywhere = parallel.sum(sums.cpu().numpy())
    loss_rm = float(everywhere[0]) / pairs if pairs else None
    loss_lm = float(everywhere[1]) / targets if targets else None
    return BatchResult(
        loss=loss.rm * (loss_rm or 0.0) + loss.lm * (loss_lm or 0.0),
        loss_rm=loss_rm,
        loss_lm=loss_lm,
        statistics=pair_statistics(everywhere[2:]) if pairs else {},
        work=Work(
            tokens=sum(len(row) for row in rows),
            targets=sum(map(lm_target_count, used)) if targets else 0,
            attended_pairs=sum(map(attended_pairs, used)),
        ),
    )


def loss_gradient_norms(
    model: nn.Module,
    parameters: Iterable[nn.Parameter],
    groups: Sequence[Group],
    *,
    loss: LossWeights,
    accumulate: Callable[..., BatchResult],
    parallel: Parallel,
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
        # Exchanged afterwards: what exchanges during the backward pass waits for every weight, and one loss has not all
        accumulate(model, groups, loss=alone, exchange=False)
        parallel.exchange(moved, model)
        gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
        norms[name] = float(full_tensor(torch.nn.utils.get_total_norm(gradients)))
        for parameter in moved:
            parameter.grad = None
    return norms


def _needed(group: Group, loss: LossWeights) -> Group | None:
    """What the losses look at of a group."""
    if len(group) > 3:
        raise DataError("training groups have one or two responses", f"one has {len(group) - 1}")
    if loss.rm == 0:
        return group[:2]
    return None if loss.lm == 0 and len(group) == 2 else group


def _pair_rewards(
    rewards: torch.Tensor, batch: Batch, turned: NDArray[np.bool_]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Chosen and rejected rewards and whose label is turned, (pairs,) each: a group's responses are neighbours in a
    batch."""
    places = np.flatnonzero(batch.responses[:, 1] == 1)
    second = torch.from_numpy(places).to(rewards.device)
    other = torch.from_numpy(turned[batch.responses[places, 0]]).to(rewards.device)
    return rewards[second - 1], rewards[second], other

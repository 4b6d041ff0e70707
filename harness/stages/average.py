"""average: the mean of several checkpoints' weights, head included, in the place of one (Izmailov et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch

from harness.errors import DataError
from harness.models.reward_model import RewardModel
from harness.stages.context import StageContext
from harness.store.artifacts import Checkpoint, TrunkState


def run(context: StageContext) -> dict[str, Any]:
    """Take the mean, one checkpoint after another: two models are held at a time."""
    found = [checkpoint for _, checkpoint in context.inputs_like("checkpoint", Checkpoint)]
    found += [state for _, state in context.inputs_like("trunk", TrunkState)]
    mean = RewardModel.load(found[0].model)
    for number, checkpoint in enumerate(found[1:], start=2):
        add_to_mean(mean, RewardModel.load(checkpoint.model), number)
        context.progress(number, len(found), "checkpoints")
    mean.save(Checkpoint(context.directory).model)
    return {"checkpoints": len(found)}


@torch.no_grad()
def add_to_mean(mean: RewardModel, model: RewardModel, number: int) -> None:
    """Make the mean of `number` - 1 models, in place, that of `number`.

    Raises:
        DataError: the models are not of one shape, or not all have a trained head.
    """
    weights = dict(model.named_parameters())
    own = dict(mean.named_parameters())
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (own, weights)]
    if shapes[0] != shapes[1] or mean.has_head != model.has_head:
        raise DataError("checkpoints to average must be of one shape", "they differ", "average seeds of one setting")
    for name, parameter in own.items():
        parameter.lerp_(weights[name], 1 / number)

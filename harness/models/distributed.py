"""Weights that several processes of one training hold together, each a part or each all of them.

A process alone is a world of one: the same calls do nothing there. Every process of a world must make the same calls in
the same order. This file must not know about optimizers, losses or schedules.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def rank() -> int:
    """Number of this process among those of its training, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes what all have in common."""
    return rank() == 0


def wait_for_all(group: distributed.ProcessGroup | None = None) -> None:
    """Returns when every process has come here: what one wrote before, all can read after."""
    if distributed.is_initialized():
        distributed.barrier(group)


def sum_of_all(values: NDArray[np.float64], device: torch.device | str) -> NDArray[np.float64]:
    """Sums over all processes, element by element."""
    if world_size() == 1:
        return values
    total = torch.from_numpy(values).to(device)
    distributed.all_reduce(total)
    summed: NDArray[np.float64] = total.cpu().numpy()
    return summed


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor of which this process may hold a part; the tensor itself where it holds it all."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_weights(model: nn.Module) -> dict[str, torch.Tensor] | None:
    """All of a sharded model's weights on the CPU of the main process, tied ones once; None of a model that is whole.

    One weight at a time, so that no device ever holds all of them.
    """
    parameters = dict(model.named_parameters())
    if not any(isinstance(parameter, DTensor) for parameter in parameters.values()):
        return None
    weights = {}
    for name, parameter in parameters.items():
        gathered = full_tensor(parameter.detach())
        if is_main():
            weights[name] = gathered.cpu()
    return weights


def reshard(model: nn.Module) -> None:
    """Gives up the other processes' weights, which a forward pass without a backward pass leaves gathered."""
    if isinstance(model, FSDPModule):
        model.reshard()


def assign(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Takes over, in place, values that every process has read in full; each keeps its own part."""
    with torch.no_grad():
        if isinstance(tensor, DTensor):
            # no rank sends: the values are on every one
            values = distribute_tensor(
                values.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None
            )
        tensor.copy_(values)

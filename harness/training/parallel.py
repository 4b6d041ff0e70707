"""One training over several processes, on one machine or many: who holds which weights, who computes which rows.

Launched by torchrun, each process runs the same stage; alone, it is a world of one. Losses are normalised over the
global batch, so the number of processes moves results by rounding only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from harness.errors import MissingRequirement
from harness.models.distributed import rank, sum_of_all, world_size
from harness.models.packing import Row
from harness.models.reward_model import Precision, RewardModel

Sharing = Literal["ddp", "fsdp", "hsdp"]
"""Every process holds all weights (DistributedDataParallel), or a part of them, gathered layer by layer (FSDP2): of all
processes, or of those on its machine, so that between machines only gradients are exchanged."""


REPLICA = "_replica"
"""Under which a model knows its DistributedDataParallel, without being a part of itself."""


@dataclass(frozen=True)
class Parallel:
    """The processes of a training, seen from one of them.

    Attributes:
        device: of this process.
        sharing: what the others hold.
    """

    device: torch.device
    sharing: Sharing = "ddp"

    @classmethod
    def on(cls, device: str, sharing: Sharing = "ddp") -> Self:
        """Joins the world that the launcher's environment variables describe, or makes one of its own.

        Args:
            device: "cpu" or "cuda"; among several GPUs a process takes the one of its local rank.

        Raises:
            MissingRequirement: the device is not there.
        """
        found: torch.device = PartialState(cpu=device == "cpu").device
        if found.type != torch.device(device).type:
            raise MissingRequirement(
                "the device to train on must be there",
                f"{device} was asked for and {found.type} found",
                "set `runtime.device: cpu`, or run where the device is",
            )
        return cls(found, sharing)

    @property
    def shards(self) -> bool:
        return self.sharing != "ddp" and world_size() > 1

    def distribute(self, model: RewardModel, precision: Precision = "fp32") -> nn.Module:
        """The model on this process's device, to be called in the place of the model.

        What it shards it shards in place, once; parameters must be selected for training before. In bf16 layers are
        gathered as they are multiplied, so that no copy of them is kept for the backward pass, and the gradients are
        added up in fp32. Their norms' weights are rounded by it as well, which autocast alone would not.
        """
        if world_size() == 1:
            model.to(self.device)
            return model
        if not self.shards:
            if REPLICA not in vars(model):  # a second wrapper's hooks would wait for the first one's
                model.to(self.device)
                devices = None if self.device.type == "cpu" else [self.device]
                vars(model)[REPLICA] = nn.parallel.DistributedDataParallel(model, device_ids=devices)
            found: nn.Module = vars(model)[REPLICA]
            return found
        if not isinstance(model, FSDPModule):
            mesh = self._mesh()
            rounded = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
            for layer in model.layers():
                fully_shard(layer, mesh=mesh, mp_policy=rounded if precision == "bf16" else MixedPrecisionPolicy())
            fully_shard(model, mesh=mesh)
            for module in model.modules():
                # Else the compiler takes the numbers of a module for ones that vary, the size of its heads among them,
                # for which FlexAttention has no kernels.
                module._is_fsdp_managed_module = False  # type: ignore[assignment]
            model.fill(self.device)
        return model

    def _mesh(self) -> DeviceMesh:
        """The processes, in rows that hold all weights together."""
        if self.sharing == "fsdp":
            return init_device_mesh(self.device.type, (world_size(),))
        here = int(os.environ["LOCAL_WORLD_SIZE"])  # torchrun's, which numbers a machine's processes one after another
        names = ("machines", "processes")
        return init_device_mesh(self.device.type, (world_size() // here, here), mesh_dim_names=names)

    def gradient_sync(self, model: nn.Module, now: bool) -> contextlib.AbstractContextManager[None]:
        """Around a micro-batch: whether its backward pass exchanges gradients, or keeps its own to add to.

        Sharded weights' gradients are exchanged every time, since nobody has room for whole ones.
        """
        if isinstance(model, nn.parallel.DistributedDataParallel) and not now:
            no_sync: contextlib.AbstractContextManager[None] = model.no_sync()
            return no_sync
        return contextlib.nullcontext()

    def exchange(self, parameters: Iterable[nn.Parameter], model: nn.Module) -> None:
        """Exchanges gradients that no backward pass did."""
        if isinstance(model, nn.parallel.DistributedDataParallel):
            for parameter in parameters:
                if parameter.grad is not None:
                    distributed.all_reduce(parameter.grad)
                    parameter.grad /= world_size()

    def backward(self, loss: torch.Tensor) -> None:
        """Differentiates this process's share of a loss: gradients are averaged over processes, and it is a sum."""
        torch.autograd.backward(loss * world_size())

    def micro_batches(self, rows: Sequence[Row], size: int) -> list[MicroBatch]:
        """This process's share of a batch's rows, at most `size` at a time.

        Every process gets the same number of micro-batches, since all exchange weights and gradients at the same times;
        who has too few, in a batch of fewer groups than rows, computes a row of another that does not count.
        """
        count = -(-len(rows[:: world_size()]) // size)
        mine = rows[rank() :: world_size()]
        counted = [MicroBatch(mine[start : start + size], 1.0) for start in range(0, len(mine), size)]
        return counted + [MicroBatch(rows[-1:], 0.0)] * (count - len(counted))

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over all processes, element by element."""
        return sum_of_all(values, self.device)

    def any(self, *here: bool) -> list[bool]:
        """Of each question whether any process says yes."""
        return [bool(answer) for answer in self.sum(np.array(here, dtype=np.float64))]


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward and backward pass, and the weight of their loss: 0 where they are computed for company."""

    rows: Sequence[Row]
    weight: float

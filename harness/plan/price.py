"""What a plan costs on stated GPUs: GPU-hours, wall time on so many, memory of a GPU. Standard library only.

GPU-hours are FLOPs over a GPU's peak and a stated utilisation. FLOPs are those of matrix products with weights; what
attention adds to them, and reading data, stands in the utilisation. Memory is arithmetic: see docs/price.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from harness.pipeline.graph import Stage, times_needed
from harness.pipeline.judging import JUDGEMENTS
from harness.pipeline.kind import Known
from harness.pipeline.pair_kinds import CONSISTENT_PART, DESCRIPTIONS_PART, PAIRS, PAIRS_PART, WRITINGS_PART
from harness.pipeline.tokens import ENCODE
from harness.pipeline.training_kinds import TrainingSpec
from harness.pipeline.weights import FP32, MOMENTS, PUBLISHED, model_shape, weights_of
from harness.plan.cost import StageCost
from harness.plan.plan import Plan
from harness.plan.rows import Variant
from harness.recipe.runtime import Gpus, Runtime


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """FLOP/s of dense bf16 matrix products, and bytes of memory."""

    flops: float
    memory: float


GIGA, TERA = 1e9, 1e12
GPUS: Mapping[str, Gpu] = MappingProxyType(
    {  # as NVIDIA's data sheets have them, without sparsity
        "a100-40gb": Gpu(flops=312 * TERA, memory=40 * GIGA),
        "a100-80gb": Gpu(flops=312 * TERA, memory=80 * GIGA),
        "l40s": Gpu(flops=362 * TERA, memory=48 * GIGA),
        "h100": Gpu(flops=989 * TERA, memory=80 * GIGA),
        "h200": Gpu(flops=989 * TERA, memory=141 * GIGA),
        "b200": Gpu(flops=2_250 * TERA, memory=180 * GIGA),
    }
)

MADE_BY_COUNT = {PAIRS, PAIRS_PART, CONSISTENT_PART, DESCRIPTIONS_PART, WRITINGS_PART, JUDGEMENTS}
"""Kinds of which fewer pairs need fewer, or smaller, stages."""

# Bytes that a token leaves in a layer for its backward pass, a unit of hidden and of intermediate width each, under
# bf16 autocast: measured with `saved_tensors_hooks` (tests/unit/test_price.py).
KEPT_HIDDEN, KEPT_INTERMEDIATE = 40.0, 8.0
PRODUCTS_HIDDEN, PRODUCTS_INTERMEDIATE = 10.0, 4.0  # of matrix products and attention alone
LOGITS = 512 * 4096 * 4 * 2  # bytes of a tile of logits and of its gradient (`models/losses.py`)


@dataclass(frozen=True, kw_only=True)
class StagePrice:
    """One stage on GPUs.

    Attributes:
        gpus: that it holds at once.
        seconds: while it holds them; None where the model's size is not known.
        memory: bytes of each at the peak; None where that is not known, 0 for a stage that wants none.
    """

    stage: Stage
    gpus: int
    seconds: float | None
    memory: float | None

    @property
    def gpu_hours(self) -> float | None:
        return None if self.seconds is None else self.seconds * self.gpus / 3600


@dataclass(frozen=True, kw_only=True)
class Price:
    """Stages on stated GPUs, inputs first; what is unknown is counted and in no sum."""

    gpus: Gpus
    stages: tuple[StagePrice, ...]

    @cached_property
    def wall(self) -> float:
        """Seconds on all of the GPUs, by list scheduling."""
        return _wall(self.stages, self.gpus.count)

    @property
    def gpu_hours(self) -> float:
        return sum(stage.gpu_hours or 0.0 for stage in self.stages)

    @property
    def unknown(self) -> int:
        return sum(stage.seconds is None for stage in self.stages)

    @property
    def largest(self) -> StagePrice | None:
        """The stage that needs most of a GPU's memory."""
        known = [stage for stage in self.stages if stage.memory]
        return max(known, key=lambda stage: stage.memory or 0.0, default=None)

    @property
    def fits(self) -> bool:
        return self.largest is None or (self.largest.memory or 0.0) <= GPUS[self.gpus.kind].memory


def price_of(costs: Sequence[StageCost], known: Known, runtime: Runtime) -> Price:
    """Stages on the GPUs that `runtime.gpus` states.

    Args:
        costs: of the stages, inputs first.
    """
    memories: dict[Any, float | None] = {}
    stages = tuple(_priced(cost, known, runtime, memories) for cost in costs)
    return Price(gpus=runtime.priced_gpus, stages=stages)


def _priced(cost: StageCost, known: Known, runtime: Runtime, memories: dict[Any, float | None]) -> StagePrice:
    stage, stated = cost.stage, runtime.gpus
    if not stage.kind.wants_gpu(stage) or cost.flops == 0:
        return StagePrice(stage=stage, gpus=0, seconds=cost.seconds, memory=0.0)
    key = _alike(stage, known)
    if key not in memories:
        memories[key] = memory_of(stage, known, runtime)
    if cost.flops is None:
        return StagePrice(stage=stage, gpus=gpus_held(stage, runtime), seconds=None, memory=None)
    held = gpus_held(stage, runtime)
    used = stated.writing_utilisation if stage.kind.writes(stage) else stated.utilisation
    return StagePrice(
        stage=stage,
        gpus=held,
        seconds=cost.flops / (GPUS[stated.kind].flops * used * held),
        memory=memories[key],
    )


def gpus_held(stage: Stage, runtime: Runtime) -> int:
    """GPUs that a stage holds at once."""
    if stage.kind.trains:
        return runtime.training.processes * runtime.training.nodes
    return runtime.tensor_parallel if stage.kind.writes(stage) else 1


def _alike(stage: Stage, known: Known) -> Any:
    """What of a stage its memory depends on, so that thousands of alike ones are worked out once."""
    if stage.kind.writes(stage):
        return stage.kind, weights_of(stage, known)
    spec = stage.spec
    training = (spec.training.loss.rm > 0, spec.training.loss.lm > 0) if isinstance(spec, TrainingSpec) else ()
    precision = getattr(spec, "precision", "") or getattr(getattr(spec, "training", None), "precision", "")
    return stage.kind, training, precision, getattr(spec, "head", ""), weights_of(stage, known)


def memory_of(stage: Stage, known: Known, runtime: Runtime) -> float | None:
    """Bytes of one GPU at a stage's peak; None where the model's shape is not known.

    Training: fp32 weights, their gradients and moments (spread over processes unless `sharing: ddp`), the bf16 copies
    that autocast keeps, and what a micro-batch's tokens leave in each layer. Scoring: weights and one layer's share.
    Writing: the weights alone; an engine fills the rest of the memory with what it has read.
    """
    weights, shape = weights_of(stage, known), model_shape(stage, known)
    if weights is None or shape is None:
        return None
    if stage.kind.writes(stage):
        return float(PUBLISHED * weights.count / runtime.tensor_parallel)
    tokens = runtime.row_tokens * runtime.rows_per_micro_batch
    hidden, intermediate, layers = (int(shape[name]) for name in ("hidden_size", "intermediate_size", "layers"))
    layer = tokens * (KEPT_HIDDEN * hidden + KEPT_INTERMEDIATE * intermediate)
    spec = stage.spec
    if not isinstance(spec, TrainingSpec):
        lowered = PUBLISHED * weights.layers if getattr(spec, "precision", "fp32") == "bf16" else 0
        return FP32 * weights.count + lowered + layer
    loss, how = spec.training.loss, runtime.training
    wide = 2 if spec.training.precision == "fp32" else 1  # what is kept is twice as wide without autocast, at most
    trained = 0 if getattr(spec, "head", "") == "linear_probe" else weights.count - (0 if loss.lm else weights.only_lm)
    held: float = FP32 * (weights.count + (1 + MOMENTS) * trained)
    copies = PUBLISHED * weights.layers if wide == 1 and how.sharing == "ddp" else 0  # sharded ones are let go
    if how.sharing != "ddp":
        holders = how.processes * (how.nodes if how.sharing == "fsdp" else 1)
        whole = FP32 * 2 * weights.vocabulary  # embeddings and their gradient, and a layer, are gathered whole
        held = held / holders + whole + FP32 * 2 * weights.layers / layers
    kept = wide * layer * layers
    if how.activation_checkpointing:
        kept = layers * tokens * FP32 * hidden + wide * layer
    if how.activation_checkpointing == "selective":
        kept += wide * layers * tokens * (PRODUCTS_HIDDEN * hidden + PRODUCTS_INTERMEDIATE * intermediate)
    return held + copies + kept + (LOGITS if loss.lm else 0)


def _wall(stages: Iterable[StagePrice], count: int) -> float:
    """Wall seconds by list scheduling in plan order on identical GPUs; what wants none waits for its inputs alone."""
    ends: dict[str, float] = {}
    free = [0.0] * count
    for priced in stages:
        stage = priced.stage
        before = [item.stage for item in stage.inputs.values()] + stage.after + stage.gates
        start = max((ends.get(one.fingerprint, 0.0) for one in before), default=0.0)
        held = min(priced.gpus, count)
        if held:
            free.sort()
            start = max(start, free[held - 1])
            free[:held] = [start + (priced.seconds or 0.0) * priced.gpus / held] * held
            ends[stage.fingerprint] = free[0]
        else:
            ends[stage.fingerprint] = start + (priced.seconds or 0.0)
    return max(ends.values(), default=0.0)


# --------------------------------------------------------------------------------------------------- without sharing


def hours_alone(plan: Plan, price: Price) -> float:
    """GPU-hours if every variant were made alone, with as many pairs as it reads.

    Args:
        price: of all stages of the plan.
    """
    hours = {stage.stage: stage.gpu_hours or 0.0 for stage in price.stages}
    rows = plan.variants
    alone = times_needed(plan.stages, [row.targets for row in rows], after=True)
    streams: dict[Stage, float] = {}
    return sum(hours[stage] * times for stage, times in alone) - sum(_unread(row, hours, streams) for row in rows)


def _unread(row: Variant, hours: Mapping[Stage, float], streams: dict[Stage, float]) -> float:
    """GPU-hours for pairs that a row's PMP does not read, of a set that is as large as another's."""
    stage = row.pretrained
    while stage is not None and "tokens" not in stage.inputs:  # a mean of several
        stage = next((item.stage for item in stage.inputs.values() if item.stage.kind.trains), None)
    if stage is None:
        return 0.0
    read, tokens = stage.inputs["tokens"].rows, stage.inputs["tokens"].stage
    most: int | None = tokens.spec.limit if tokens.kind is ENCODE else None
    if read is None or not most:
        return 0.0
    if tokens not in streams:
        found, stack = set[Stage](), [item.stage for item in tokens.inputs.values()]
        while stack:
            one = stack.pop()
            if one.kind in MADE_BY_COUNT and one not in found:
                found.add(one)
                stack += [item.stage for item in one.inputs.values()]
        streams[tokens] = sum(hours[one] for one in found)
    return (1 - read / most) * streams[tokens]

"""What the training stages share: from spec to the training loop's settings, and a run from one step to another."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError
from harness.models.distributed import world_size
from harness.models.losses import LossWeights
from harness.models.reward_model import RewardModel
from harness.pipeline.optimization import AnnealSpec, LossSpec, OptimizationSpec
from harness.stages.context import StageContext
from harness.stages.order import Order
from harness.store.artifacts import Checkpoint, TokenReader, TrunkState
from harness.training.checkpoints import ResumePoint, TrainingState
from harness.training.loop import TrainingResult, TrainingRuntime, TrainingSettings, train
from harness.training.optimizer import AdamWSettings
from harness.training.schedules import Constant, Cosine, Linear, Schedule, Wsd


def loss_weights(loss: LossSpec) -> LossWeights:
    """The losses of a spec; a pair loss of one's own is imported here, inside the stage, and nowhere else."""
    weights = LossWeights(rm=loss.rm, lm=loss.lm, lm_normalization=loss.lm_normalization, margin=loss.margin)
    if loss.kind is None or ":" not in loss.kind:
        return weights
    module, _, name = loss.kind.partition(":")
    return replace(weights, pair_loss=getattr(importlib.import_module(module), name))


def anneal(schedule: AnnealSpec, peak: float, steps: int) -> Schedule:
    """A schedule over a whole run of `steps`."""
    match schedule.kind:
        case "cosine":
            return Cosine(peak=peak, warmup=schedule.warmup, total_steps=steps)
        case "linear":
            return Linear(peak=peak, warmup=schedule.warmup, total_steps=steps)
        case "constant":
            return Constant(peak=peak, warmup_steps=round(schedule.warmup * steps))


def wsd(peak: float, *, warmup_steps: int, decay_start: int | None, stop_step: int) -> Wsd:
    """A trunk (`decay_start` None) or a branch that decays from `decay_start` to `stop_step`."""
    if decay_start is None:
        return Wsd(peak=peak, warmup_steps=warmup_steps)
    return Wsd(peak=peak, warmup_steps=warmup_steps, decay_start=decay_start, decay_steps=stop_step - decay_start)


def settings_of(training: OptimizationSpec, schedule: Schedule, *, frozen_backbone: bool = False) -> TrainingSettings:
    """The loop's settings."""
    return TrainingSettings(
        global_batch=training.global_batch,
        schedule=schedule,
        loss=loss_weights(training.loss),
        optimizer=AdamWSettings(
            weight_decay=training.weight_decay,
            betas=training.betas,
            clip_norm=training.clip_norm,
        ),
        precision=training.precision,
        frozen_backbone=frozen_backbone,
    )


def beginning(context: StageContext, seed: int) -> tuple[RewardModel, TrainingState | None]:
    """Where preference-model pretraining begins: at the base model, or at a state that a fork goes on from.

    Args:
        seed: the pretrain seed, which sets order and head.
    """
    if "fork" not in context.inputs:
        model = load_model(context, context.input("base", Checkpoint).model)
        model.reset_head(seed)
        return model, None
    trunk = context.input("fork", TrunkState)
    model = load_model(context, trunk.model)
    if not model.has_head:
        model.reset_head(seed)
    return model, TrainingState.load(trunk.state).fork()


def run_training(
    context: StageContext,
    model: RewardModel,
    sources: Sequence[TokenReader],
    order: Order,
    *,
    settings: TrainingSettings,
    stop_step: int,
    state: TrainingState | None = None,
    turned: NDArray[np.bool_] | None = None,
) -> TrainingResult:
    """Train up to `stop_step`, resuming an interrupted attempt of this stage where there is one."""
    how = context.how
    resume = ResumePoint(directory=context.resume, every_seconds=how.checkpoint_seconds, beside=how.device != "cpu")
    saved = resume.latest()
    context.events.forget_steps_after(saved[0] if saved else (state.step if state else 0))
    return train(
        model,
        sources,
        order,
        settings=settings,
        runtime=TrainingRuntime(
            device="cpu" if how.device == "cpu" else "cuda",
            row_tokens=how.row_tokens,
            rows_per_micro_batch=how.rows_per_micro_batch,
            sharing=how.sharing,
            activation_checkpointing=how.activation_checkpointing,
            compile=how.compile,
            log_every=how.log_every,
            loss_balance_every=how.loss_balance_every,
            on_imbalance=how.on_imbalance,
        ),
        stop_step=stop_step,
        emit=context.emit,
        state=state,
        resume=resume,
        should_stop=context.should_stop,
        turned=turned,
    )


def facts(result: TrainingResult) -> dict[str, Any]:
    """What a training leaves in its record."""
    return {
        "steps": result.steps,
        "groups_trained": result.groups,
        "tokens_trained": result.tokens,
        "last": {name: round(value, 6) for name, value in sorted(result.smoothed.items())},
    }


def whole_steps(groups: int, global_batch: int, what: str) -> int:
    """Whole global batches of `groups`.

    Raises:
        DataError: not even one.
    """
    if groups < global_batch:
        raise DataError(
            f"{what} must fill a global batch", f"{groups} < {global_batch}", "raise it, or lower the batch"
        )
    return groups // global_batch


def load_model(context: StageContext, directory: Path) -> RewardModel:
    """The reward model of a checkpoint; processes that share its weights read them when training begins."""
    return RewardModel.load(directory, later=context.how.sharing != "ddp" and world_size() > 1)

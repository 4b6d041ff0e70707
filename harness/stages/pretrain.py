"""pretrain: preference-model pretraining up to a pair count: a decay from a trunk state, or a whole run."""

from __future__ import annotations

from typing import Any

from harness.pipeline.optimization import AnnealSpec
from harness.pipeline.training_kinds import PRETRAIN
from harness.stages.context import StageContext
from harness.stages.pair_order import pair_order, turned_labels
from harness.stages.train import anneal, beginning, facts, load_model, run_training, settings_of, wsd
from harness.store.artifacts import Checkpoint, Tokens, TrunkState
from harness.training.checkpoints import TrainingState
from harness.training.schedules import Schedule


def run(context: StageContext) -> dict[str, Any]:
    """Train from the trunk state (WSD) or the base model and save the checkpoint."""
    spec = PRETRAIN.read(context.spec)
    peak, stop = spec.training.learning_rate, spec.stop_step
    state = None
    if "trunk" in context.inputs:
        trunk = context.input("trunk", TrunkState)
        model, state = load_model(context, trunk.model), TrainingState.load(trunk.state)
    else:
        model, state = beginning(context, spec.order.seed)
    schedule: Schedule
    if isinstance(spec.schedule, AnnealSpec):
        schedule = anneal(spec.schedule, peak, stop)
    else:
        schedule = wsd(peak, warmup_steps=spec.warmup_steps, decay_start=spec.start_step, stop_step=stop)
    tokens = context.input("tokens", Tokens).open(limit=context.inputs["tokens"].rows)
    order = pair_order(context, spec.order, tokens, stop * spec.training.global_batch)
    result = run_training(
        context,
        model,
        [tokens],
        order,
        settings=settings_of(spec.training, schedule),
        stop_step=stop,
        state=state,
        turned=turned_labels(spec.training.loss, tokens, order),
    )
    model.save(Checkpoint(context.directory).model)
    return facts(result)

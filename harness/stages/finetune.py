"""finetune: a reward model from a checkpoint and reasoning preferences."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from harness.models.distributed import is_main
from harness.models.reward_model import RewardModel
from harness.models.scoring import score_groups
from harness.pipeline.optimization import AnnealSpec
from harness.pipeline.tokens import Precision
from harness.pipeline.training_kinds import FINETUNE, FinetuneSpec
from harness.recipe.fields import CODE
from harness.stages.context import StageContext
from harness.stages.order import Order, subset_order, with_replay
from harness.stages.train import anneal, facts, load_model, run_training, settings_of, whole_steps, wsd
from harness.store.artifacts import Checkpoint, TokenReader, Tokens
from harness.store.record import write_json
from harness.training.checkpoints import ResumePoint, TrainingState
from harness.training.loop import TrainingResult, TrainingSettings
from harness.training.schedules import Schedule

SELECTION = "selection.json"
BEST = "best"


def run(context: StageContext) -> dict[str, Any]:
    """Fine-tune on the seed's subset in the seed's order and save the last or the selected checkpoint."""
    spec = FINETUNE.read(context.spec)
    model = load_model(context, context.input("start", Checkpoint).model)
    if spec.head != "carry" or not model.has_head:
        model.reset_head(spec.seed)
    sources = [context.input(f"tokens-{name}", Tokens).open() for name in spec.tasks]
    order = subset_order(spec.seed, [len(source) for source in sources], spec.samples)
    if len(order) < spec.samples:
        context.warn(f"requested {spec.samples:,} samples, and there are {len(order):,} pairs that fit `max_tokens`")
    if spec.replay:
        code = context.input(f"tokens-{CODE}", Tokens).open(limit=context.inputs[f"tokens-{CODE}"].rows)
        order = with_replay(order, spec.seed, len(sources), len(code), spec.replay)
        sources.append(code)
    whole_steps(len(order), spec.training.global_batch, "`finetune.samples`")  # an epoch at least
    order = repeated(order, spec.seed, spec.epochs)
    steps = len(order) // spec.training.global_batch
    schedule = _schedule(spec, steps)
    settings = settings_of(spec.training, schedule, frozen_backbone=spec.head == "linear_probe")
    if spec.select is None:
        result = run_training(context, model, sources, order, settings=settings, stop_step=steps)
        chosen: dict[str, Any] = {}
    else:
        result, chosen = _run_and_select(context, spec, model, sources, order, settings, steps)
    model.save(Checkpoint(context.directory).model)
    return {**facts(result), **chosen}


def repeated(order: Order, seed: int, epochs: int) -> Order:
    """(rows · epochs, 2) the rows of an order once an epoch, after the first in a permutation of seed and epoch."""
    later = (order[np.random.default_rng([seed, epoch]).permutation(len(order))] for epoch in range(1, epochs))
    return np.concatenate([order, *later])


def _schedule(spec: FinetuneSpec, steps: int) -> Schedule:
    """Over the whole run; WSD's warm-up is in pairs here too."""
    schedule, peak = spec.schedule, spec.training.learning_rate
    if isinstance(schedule, AnnealSpec):
        return anneal(schedule, peak, steps)
    decay = max(1, round(schedule.decay * steps))
    warmup = -(-schedule.warmup_pairs // spec.training.global_batch)
    return wsd(peak, warmup_steps=warmup, decay_start=steps - decay, stop_step=steps)


def _run_and_select(
    context: StageContext,
    spec: FinetuneSpec,
    model: RewardModel,
    sources: list[TokenReader],
    order: Any,
    settings: TrainingSettings,
    steps: int,
) -> tuple[TrainingResult, dict[str, Any]]:
    """Train in pieces, judge each on dev pairs, end with the best one's weights (the earliest of equals)."""
    assert spec.select is not None
    every = spec.select.every_steps
    dev = [tokens.open() for _, tokens in context.inputs_like("dev", Tokens)]
    context.resume.mkdir(exist_ok=True)
    history_path = context.resume / SELECTION
    history: dict[str, float] = json.loads(history_path.read_text()) if history_path.exists() else {}
    resume = ResumePoint(directory=context.resume, every_seconds=0)
    state: TrainingState | None = None
    result: TrainingResult | None = None
    for stop in [*range(every, steps, every), steps]:
        if str(stop) in history and stop != steps:
            continue
        result = run_training(context, model, sources, order, settings=settings, stop_step=stop, state=state)
        state = result.state
        accuracy = _pair_accuracy(context, spec.training.precision, model, dev)
        if all(accuracy > earlier for earlier in history.values()):
            model.save(context.resume / BEST / str(stop))
        history[str(stop)] = accuracy
        if is_main():
            write_json(history_path, history)
        resume.save(state, model)
    assert result is not None
    best = max(history, key=lambda step: (history[step], -int(step)))
    model.restore(context.resume / BEST / best)
    return result, {"selected_step": int(best), "dev_pair_accuracy": history}


def _pair_accuracy(context: StageContext, precision: Precision, model: RewardModel, dev: list[TokenReader]) -> float:
    scores = [
        pair
        for reader in dev
        for pair in score_groups(
            model,
            reader,
            range(len(reader)),
            row_tokens=context.how.row_tokens,
            rows_per_micro_batch=context.how.rows_per_micro_batch,
            device=context.how.device,
            precision=precision,
        )
    ]
    return float(sum((chosen > rejected) + 0.5 * (chosen == rejected) for chosen, rejected in scores) / len(scores))

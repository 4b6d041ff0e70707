"""trunk_state: the stable path of a WSD run at one step, with everything needed to go on from it.

Reached from the nearest earlier state of the same trunk there is; the result is the same by any route.
"""

from __future__ import annotations

from typing import Any

from harness.models.reward_model import RewardModel
from harness.pipeline.training_kinds import TRUNK_STATE, TrunkStateSpec
from harness.stages.context import StageContext
from harness.stages.pair_order import pair_order, turned_labels
from harness.stages.train import beginning, facts, load_model, run_training, settings_of, wsd
from harness.store.artifacts import Tokens, TrunkState
from harness.training.checkpoints import TrainingState


def run(context: StageContext) -> dict[str, Any]:
    """Train on from an earlier state, or from the base model, up to the state's step."""
    spec = TRUNK_STATE.read(context.spec)
    training = spec.training
    model, state = _start(context, spec)
    tokens = context.input("tokens", Tokens).open(limit=context.inputs["tokens"].rows)
    order = pair_order(context, spec.order, tokens, spec.step * training.global_batch)
    result = run_training(
        context,
        model,
        [tokens],
        order,
        settings=settings_of(
            training,
            wsd(training.learning_rate, warmup_steps=spec.warmup_steps, decay_start=None, stop_step=spec.step),
        ),
        stop_step=spec.step,
        state=state,
        turned=turned_labels(spec.training.loss, tokens, order),
    )
    result.state.save(TrunkState(context.directory).state, model)
    return facts(result)


def _start(context: StageContext, spec: TrunkStateSpec) -> tuple[RewardModel, TrainingState | None]:
    earlier = [(at, state) for at, state in context.earlier_states() if at < spec.step]
    if earlier:
        _, nearest = max(earlier, key=lambda found: found[0])
        return load_model(context, nearest.model), TrainingState.load(nearest.state)
    return beginning(context, spec.order.seed)

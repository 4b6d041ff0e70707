"""A state taken up by a training of other losses: moments it has are kept, others begin, no more are asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.errors import CorruptArtifact
from harness.models.losses import LossWeights
from harness.models.reward_model import RewardModel
from harness.training.checkpoints import MODEL_FOLDER, TrainingState
from harness.training.loop import train
from tests.toys.small_training import HALF, ORDER, RUNTIME, SETTINGS, STEPS, Pairs, build

LM, RM = LossWeights(rm=0.0, lm=1.0), LossWeights(rm=1.0, lm=0.0)


@pytest.mark.parametrize(("before", "after"), [(LM, RM), (RM, LM), (LM, SETTINGS.loss)])
def test_losses_may_change(tmp_path: Path, before: LossWeights, after: LossWeights) -> None:
    model = build("both-losses")  # untied: the LM head and the scalar head are trained by one loss each
    half = train(
        model, [Pairs()], ORDER, settings=replace(SETTINGS, loss=before), runtime=RUNTIME, stop_step=HALF,
        emit=lambda event: None,
    )  # fmt: skip
    half.state.save(tmp_path / "state", model)
    kept = dict(half.state.optimizer)  # type: ignore[arg-type]
    state = TrainingState.load(tmp_path / "state")
    again = RewardModel.load(tmp_path / "state" / MODEL_FOLDER)
    changed = replace(SETTINGS, loss=after)
    with pytest.raises(CorruptArtifact, match="moments differ"):
        train(
            again, [Pairs()], ORDER, settings=changed, runtime=RUNTIME, stop_step=STEPS, state=state,
            emit=lambda event: None,
        )  # fmt: skip
    result = train(
        again, [Pairs()], ORDER, settings=changed, runtime=RUNTIME, stop_step=STEPS, state=state.fork(),
        emit=lambda event: None,
    )  # fmt: skip
    assert isinstance(result.state.optimizer, dict)
    steps = {name: float(tensor) for name, tensor in result.state.optimizer.items() if name.startswith("step/")}
    for name, step in steps.items():
        assert step == (STEPS if name in kept else STEPS - HALF), name
    assert len(set(steps.values())) == 2
    assert result.steps == STEPS
    assert all(torch.isfinite(parameter).all() for parameter in again.parameters())

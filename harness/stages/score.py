"""score: a reward for every response of a set of groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.models.reward_model import RewardModel
from harness.models.scoring import score_groups
from harness.pipeline.tokens import SCORE
from harness.stages.context import StageContext
from harness.stages.write_scores import write_scores
from harness.store.artifacts import Checkpoint, Scores, Tokens, TrunkState


def run(context: StageContext) -> dict[str, Any]:
    """Score and write, groups in order; `group` is the row in the tokens' source."""
    probed = "trunk" in context.inputs
    scored = context.input("trunk", TrunkState) if probed else context.input("checkpoint", Checkpoint)
    model = RewardModel.load(scored.model)
    reader = context.input("tokens", Tokens).open()
    scores = score_groups(
        model,
        reader,
        range(len(reader)),
        row_tokens=context.how.row_tokens,
        rows_per_micro_batch=context.how.rows_per_micro_batch,
        device=context.how.device,
        precision=SCORE.read(context.spec).precision,
        progress=lambda done, total: context.progress(done, total, "groups"),
    )
    write_scores(Scores(context.directory), list(reader.rows), scores)
    flat = np.concatenate(scores)
    return {"groups": len(scores), "responses": len(flat), "mean": round(float(flat.mean()), 6)}

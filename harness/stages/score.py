"""score: a reward for every response of a set of groups, except where no reward can change a result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.models.reward_model import RewardModel
from harness.models.scoring import score_groups
from harness.pipeline.tokens import SCORE
from harness.stages.context import StageContext
from harness.stages.scored_rows import pool_starts
from harness.stages.write_scores import write_scores
from harness.store.artifacts import Candidates, Checkpoint, Scores, Tokens, TrunkState


def run(context: StageContext) -> dict[str, Any]:
    """Score and write, groups in order; `group` is the row in the tokens' source.

    Of a candidate pool, a problem whose candidates are all right or all wrong is skipped: whichever is picked, the
    answer is the same. The record counts such problems.
    """
    probed = "trunk" in context.inputs
    scored = context.input("trunk", TrunkState) if probed else context.input("checkpoint", Checkpoint)
    model = RewardModel.load(scored.model)
    reader = context.input("tokens", Tokens).open()
    groups: NDArray[np.int64] = np.arange(len(reader))
    skipped: dict[str, int] = {}
    if "candidates" in context.inputs:
        undecided, skipped = _undecided(context.input("candidates", Candidates))
        groups = np.flatnonzero(undecided[reader.rows])
    scores = score_groups(
        model,
        reader,
        groups,
        row_tokens=context.how.row_tokens,
        rows_per_micro_batch=context.how.rows_per_micro_batch,
        device=context.how.device,
        precision=SCORE.read(context.spec).precision,
        progress=lambda done, total: context.progress(done, total, "groups"),
    )
    write_scores(Scores(context.directory), reader.rows[groups].tolist(), scores)
    flat = np.concatenate([*scores, np.zeros(0)])
    mean = round(float(flat.mean()), 6) if len(flat) else None
    return {"groups": len(scores), **skipped, "responses": len(flat), "mean": mean}


def _undecided(artifact: Candidates) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """(problems,) whether a problem has both right and wrong candidates; and how many have only one of them."""
    table = artifact.read(columns=["problem", "correct"])
    starts = pool_starts(table["problem"].to_pylist())
    right = np.add.reduceat(table["correct"].to_numpy().astype(np.int64), starts[:-1])
    all_right, all_wrong = right == np.diff(starts), right == 0
    return ~all_right & ~all_wrong, {"all_right": int(all_right.sum()), "all_wrong": int(all_wrong.sum())}

"""robustness: problem by problem, whether changes of a right solution move its reward as they should."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.stages.context import StageContext
from harness.stages.pools import Values, read_pool_scores, read_pools
from harness.store.artifacts import Candidates, ProblemValues, Scores
from harness.tasks.altered import HARMFUL, HARMLESS


def run(context: StageContext) -> dict[str, Any]:
    """A problem's robustness is the mean over the kinds of change that it has."""
    candidates = context.input("candidates", Candidates)
    scores = np.concatenate(read_pool_scores(context.input("scores", Scores), read_pools(candidates)))
    problems: list[tuple[str, str]] = []
    rewards: list[dict[str, float]] = []
    rows = candidates.stream(["problem", "cluster", "error_type"])
    for row, reward in zip(rows, scores.tolist(), strict=True):
        if not row["error_type"]:  # a problem's solution as it is comes first
            problems.append((row["problem"], row["cluster"]))
            rewards.append({})
        rewards[-1][row["error_type"]] = reward
    found = [kept(one) for one in rewards]
    values = Values(context)
    for metric in ("robustness", *HARMFUL, *HARMLESS):
        values.add(
            metric,
            [problem for problem, _ in problems],
            [cluster for _, cluster in problems],
            np.array([one.get(metric, np.nan) for one in found]),
        )
    values.write(ProblemValues(context.directory))
    return {"problems": len(problems), "trained_on": values.left_out, "means": values.means()}


def kept(rewards: Mapping[str, float]) -> dict[str, float]:
    """Metric -> value of one problem, from the rewards of its solution ("") and of its copies by kind.

    A harmful copy counts 1 where it has the lower reward. A harmless one counts the share of harmful ones that move the
    reward by more than it does. Ties count half.
    """
    solution = rewards[""]
    harmful = {kind: rewards[kind] for kind in HARMFUL if kind in rewards}
    found = {kind: _above(solution, reward) for kind, reward in harmful.items()}
    for kind in HARMLESS:
        if kind in rewards:
            moved = abs(rewards[kind] - solution)
            found[kind] = sum(_above(abs(reward - solution), moved) for reward in harmful.values()) / len(harmful)
    return {"robustness": sum(found.values()) / len(found), **found}


def _above(one: float, other: float) -> float:
    return 1.0 if one > other else 0.5 if one == other else 0.0

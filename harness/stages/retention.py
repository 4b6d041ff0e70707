"""retention: the geometric mean of the tokens' probabilities, by held-out pair."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.stages.context import StageContext
from harness.stages.pools import Values
from harness.store.artifacts import Pairs, ProblemValues, Scores

METRICS = ("code_probability", "text_probability")
"""Of response 0, the chosen side, and of response 1, the prompt, as the `likelihood` stage has them."""


def run(context: StageContext) -> dict[str, Any]:
    """exp(mean ln p) of each pair; one without a prompt of two tokens has none for its prompt."""
    pairs = context.input("pairs", Pairs).read().select(["id", "cluster"]).to_pylist()
    table = context.input("scores", Scores).read()
    groups, responses, means = (table[name].to_numpy() for name in ("group", "response", "score"))
    values = Values(context)
    for response, metric in enumerate(METRICS):
        of = responses == response
        rows = [pairs[group] for group in groups[of]]
        values.add(metric, [row["id"] for row in rows], [row["cluster"] for row in rows], np.exp(means[of]))
    values.write(ProblemValues(context.directory))
    return {"pairs": len(set(groups.tolist())), "trained_on": values.left_out, "means": values.means()}

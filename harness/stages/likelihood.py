"""likelihood: how probable a model without its head finds the chosen sides of pairs and their prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.models.likelihood import cross_entropies
from harness.models.reward_model import RewardModel
from harness.pipeline.tokens import LIKELIHOOD
from harness.stages.context import StageContext
from harness.stages.write_scores import write_scores
from harness.store.artifacts import Checkpoint, Scores, Tokens

NO_TOKENS = np.zeros(0, dtype=np.int64)


def run(context: StageContext) -> dict[str, Any]:
    """Mean ln p of a token: of the chosen side after its prompt as response 0, of the prompt itself as response 1.

    The result holds perplexities over all tokens, exp(-mean ln p), of the chosen sides and of the prompts.
    """
    model = RewardModel.load(context.input("checkpoint", Checkpoint).model)
    reader = context.input("tokens", Tokens).open()
    read = [reader.group(number) for number in range(len(reader))]
    with_prompt = [number for number, (prompt, *_) in enumerate(read) if len(prompt) > 1]
    groups = [[prompt, chosen] for prompt, chosen, _ in read]
    groups += [[NO_TOKENS, read[number][0]] for number in with_prompt]
    sums, counts = cross_entropies(
        model,
        groups,
        row_tokens=context.how.row_tokens,
        rows_per_micro_batch=context.how.rows_per_micro_batch,
        device=context.how.device,
        precision=LIKELIHOOD.read(context.spec).precision,
        progress=lambda done, total: context.progress(done, total, "texts"),
    )
    means = np.full(len(groups), np.nan)
    np.divide(-sums, counts, out=means, where=counts > 0)
    scores = [means[number : number + 1] for number in range(len(read))]
    for place, number in enumerate(with_prompt):
        scores[number] = np.append(scores[number], means[len(read) + place])
    write_scores(Scores(context.directory), list(reader.rows), scores)
    sides = {"chosen": slice(0, len(read)), "prompts": slice(len(read), None)}
    return {
        "groups": len(read),
        "tokens": {side: int(counts[of].sum()) for side, of in sides.items()},
        "perplexity": {
            side: round(float(np.exp(sums[of].sum() / counts[of].sum())), 6)
            for side, of in sides.items()
            if counts[of].sum()
        },
    }

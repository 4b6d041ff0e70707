"""Retention: how well a PMP checkpoint still predicts text as a language model, beside the base it was trained from.

Values lie between 0 and 1, as those of every metric: of each held-out pair the geometric mean of its tokens'
probabilities, exp(mean ln p), which is one over its perplexity. The perplexity over all tokens is in the record of the
`likelihood` stage. A setting without PMP has the values of its base, so that differences from it are what PMP cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.pipeline.evaluation import Evaluation
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, NoSpec
from harness.pipeline.tasks import Split
from harness.pipeline.tokens import EncodeSpec
from harness.pipeline.training import TrainingStages
from harness.recipe.fields import CODE
from harness.recipe.schema import Experiment
from harness.store.artifacts import ProblemValues

RETENTION: Kind[NoSpec] = Kind("retention", 1, NoSpec, ProblemValues)


class Retention(Evaluation):
    """On the chosen sides of held-out pairs after their prompts, and on the prompts."""

    name = "retention"
    noun = "retention"
    kind = RETENTION
    content = "pairs"
    headline = "code_probability"
    labels: ClassVar[Mapping[str, str]] = {
        "code_probability": "1/perplexity, code",
        "text_probability": "1/perplexity, descriptions",
    }
    counted = "pair"
    rewards = False

    def of_pretraining(self, experiment: Experiment) -> tuple[str, ...]:
        return (CODE,) if experiment.evaluate.retention else ()

    def source(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage:
        return stages.heldout_pairs(experiment, split)

    def tokens(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage[EncodeSpec]:
        return stages.heldout_tokens(experiment, split, ended=False)

    def scores(
        self, stages: TrainingStages, experiment: Experiment, model: Stage, tokens: Stage[EncodeSpec], label: str
    ) -> Stage:
        return stages.likelihoods(experiment, model, tokens, label)

    def spec(self, experiment: Experiment) -> NoSpec:
        return NoSpec()

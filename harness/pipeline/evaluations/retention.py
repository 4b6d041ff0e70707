"""Retention: how well a PMP checkpoint still does as a language model, beside the base it was trained from.

Values lie between 0 and 1, as those of every metric. Of each held-out pair it is the geometric mean of its tokens'
probabilities, exp(mean ln p), which is one over its perplexity; the perplexity over all tokens is in the record of the
`likelihood` stage. On tasks of lm-evaluation-harness it is the task's own metrics, by document. A setting without PMP
has the values of its base, so that differences from it are what PMP cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from harness.pipeline.evaluation import Evaluation
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, Known, NoSpec, Spec, Work
from harness.pipeline.tasks import Split
from harness.pipeline.tokens import EncodeSpec, Precision
from harness.pipeline.training import TrainingStages
from harness.pipeline.weights import FORWARD, weights_of
from harness.recipe.fields import CODE, LM_EVAL_PREFIX
from harness.recipe.schema import Experiment
from harness.sources.lm_eval_tasks import LmEvalName, lm_eval_version
from harness.store.artifacts import LmEvalDocuments, ProblemValues

ASSUMED_DOCUMENTS, ASSUMED_TOKENS = 1_000, 300.0  # of a task that was never read: its options, a document

# --------------------------------------------------------------------------------------------------------- kinds


class _AskedSpec(Spec):
    """What of a task of lm-eval is asked for; see `sources.lm_eval_tasks.LmEvalTask`."""

    task: str
    metrics: tuple[str, ...]
    filters: tuple[str, ...]
    limit: int | None
    num_fewshot: int | None
    files: Mapping[str, str]


class LmEvalTaskSpec(_AskedSpec):
    """With all that decides its documents and how they are asked."""

    version: str
    dataset: str
    subset: str | None
    revision: str


class LmEvalTaskKind(Kind[LmEvalTaskSpec]):
    def groups(self, stage: Stage[LmEvalTaskSpec], known: Known) -> float:
        record = known.record(stage)
        return float(stage.spec.limit or ASSUMED_DOCUMENTS if record is None else record.result["documents"])


class LmEvalSpec(_AskedSpec):
    precision: Precision


class LmEvalKind(Kind[LmEvalSpec]):
    def rows(self, stage: Stage[LmEvalSpec], known: Known) -> float:
        return LM_EVAL_TASK.groups(stage.inputs["documents"].stage, known)

    def work(self, stage: Stage[LmEvalSpec], known: Known) -> Work:
        tokens, weights = self.rows(stage, known) * ASSUMED_TOKENS, weights_of(stage, known)
        flops = None if weights is None else FORWARD * (weights.layers + weights.vocabulary) * tokens
        return Work(tokens=tokens, flops=flops, basis="assumed")


RETENTION: Kind[NoSpec] = Kind("retention", 1, NoSpec, ProblemValues)
LM_EVAL_TASK = LmEvalTaskKind("lm_eval_task", 1, LmEvalTaskSpec, LmEvalDocuments, row_bytes=400)
LM_EVAL = LmEvalKind("lm_eval", 1, LmEvalSpec, ProblemValues, accelerated=True, row_bytes=40)


# --------------------------------------------------------------------------------------------------- evaluations


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


class LmEval(Evaluation):
    """On tasks of lm-evaluation-harness, each with a board of its own; the first metric of a task is its main one."""

    name = "lm_eval"
    noun = "lm-eval"
    kind = LM_EVAL
    content = "texts"
    headline = "lm_eval"
    labels: ClassVar[Mapping[str, str]] = {"lm_eval": "lm-eval, main metric"}
    counted = "document"
    rewards = False

    def of_pretraining(self, experiment: Experiment) -> tuple[str, ...]:
        asked = experiment.evaluate.lm_eval
        return () if asked is None else tuple(LM_EVAL_PREFIX + task for task in asked.tasks)

    def source(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage[LmEvalTaskSpec]:
        asked = experiment.evaluate.lm_eval
        assert asked is not None
        found = stages.lm_eval_task(LmEvalName(task.removeprefix(LM_EVAL_PREFIX), asked.include_path))
        spec = LmEvalTaskSpec(
            task=found.name,
            metrics=found.metrics,
            filters=found.filters,
            limit=asked.limit,
            num_fewshot=asked.num_fewshot,
            version=lm_eval_version(),
            files=found.files,
            dataset=found.dataset,
            subset=found.subset,
            revision=found.revision,
        )
        return stages.graph.stage(LM_EVAL_TASK, spec, label=f"lm-eval {found.name}", source_path=str(found.path))

    def of_model(
        self, stages: TrainingStages, experiment: Experiment, task: str, model: Stage, label: str
    ) -> Stage[LmEvalSpec]:
        source = self.source(stages, experiment, task, "test")
        asked = {name: getattr(source.spec, name) for name in _AskedSpec.model_fields}
        spec = LmEvalSpec(**asked, precision=experiment.finetune.precision)
        inputs = {"checkpoint": model, "tokenizer": stages.tokenizer(experiment), "documents": source}
        return stages.graph.stage(
            LM_EVAL, spec, inputs, label=f"{source.label} of {label}", source_path=source.source_path
        )

    def spec(self, experiment: Experiment) -> Spec:
        raise NotImplementedError  # `of_model` makes the stage, whose spec depends on the task

    def label(self, metric: str) -> str:
        """As lm-eval calls it; with the filter where the task has several."""
        if metric == self.headline:
            return self.labels[metric]
        name, _, filtered = metric.removeprefix(f"{self.headline}_").partition(".")
        return f"lm-eval, {name}" + (f" ({filtered})" if filtered else "")

    def has(self, metric: str) -> bool:
        return metric == self.headline or metric.startswith(f"{self.headline}_")

    def is_detail(self, metric: str) -> bool:
        return metric != self.headline

    def in_order(self, metrics: Sequence[str]) -> list[str]:
        return sorted(filter(self.has, metrics), key=lambda metric: metric != self.headline)

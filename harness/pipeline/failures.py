"""Where a row's models fail on a candidate pool: one light stage a row and Best-of-N task, made of stored scores.

It ranks nothing and nothing is made from it. `evaluation/failures.py` says what is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.pipeline.comparing import RunSpec
from harness.pipeline.evaluations.best_of_n import BestOfN, BestOfNSpec
from harness.pipeline.graph import Input, Stage
from harness.pipeline.kind import Kind, Spec
from harness.pipeline.pipeline import Pipeline
from harness.recipe.schema import Experiment
from harness.store.artifacts import Failures

ALARM_LEVEL = 0.05
"""Of false alarms in a whole report: p-values are corrected for all that is looked at."""

LENGTH_LEVEL = 0.5
"""Of the rank correlation of reward and length among equally right candidates: above it a model is said to rank by
length. Within candidates that are equally right, nothing but style is left to explain so much."""

CONSTANT_SHARE = 0.5
"""Of problems whose candidates all have one reward: above it there is no ranking to speak of."""

# --------------------------------------------------------------------------------------------------------- kinds


class FailureRunSpec(RunSpec):
    """One model of a row; names of the inputs that hold its rewards, on dev candidates too if those were scored."""

    scores: str
    dev: str | None


class FailuresSpec(Spec):
    """A row's models, and those of the baseline setting on the same candidates; () for the baseline itself."""

    runs: tuple[FailureRunSpec, ...]
    against: tuple[FailureRunSpec, ...]
    n: tuple[int, ...]
    grading: Mapping[str, str]
    seed: int


FAILURES: Kind[FailuresSpec] = Kind("failures", 2, FailuresSpec, Failures, row_bytes=60_000.0, seconds=2.0)


# ------------------------------------------------------------------------------------------------------ planning


@dataclass(frozen=True, kw_only=True)
class JudgedRun:
    """A model of a row with the stage that judged it by Best-of-N; `model` is None for a row from outside."""

    pretrain_seed: int | None
    finetune_seed: int | None
    outcome: Stage[BestOfNSpec]
    model: Stage | None


def failures_of(
    pipeline: Pipeline,
    experiment: Experiment,
    task: str,
    runs: Sequence[JudgedRun],
    against: Sequence[JudgedRun],
    label: str,
) -> Stage[FailuresSpec]:
    """The stage that looks into a row's models on a task.

    Args:
        against: the baseline setting's models, whose candidates may be others.
    """
    first = runs[0].outcome
    inputs: dict[str, Stage | Input] = {name: item for name, item in first.inputs.items() if name != "scores"}
    known: dict[Stage, str] = {}

    def named(stage: Stage) -> str:
        name = known.setdefault(stage, f"scores-{len(known):05d}")
        inputs[name] = stage
        return name

    def spec_of(run: JudgedRun, dev: Stage | None) -> FailureRunSpec:
        return FailureRunSpec(
            pretrain_seed=run.pretrain_seed,
            finetune_seed=run.finetune_seed,
            scores=named(run.outcome.inputs["scores"].stage),
            dev=None if dev is None else named(dev),
        )

    calibrated = experiment.evaluate.failures == "calibrated" and bool(experiment.tasks[task].problems.dev)
    dev: list[Stage | None] = [None] * len(runs)
    if calibrated and all(run.model is not None for run in runs):
        evaluation = BestOfN()
        inputs["dev"] = evaluation.source(pipeline, experiment, task, "dev")
        tokens = evaluation.tokens(pipeline, experiment, task, "dev")
        for at, run in enumerate(runs):
            assert run.model is not None
            dev[at] = evaluation.scores(
                pipeline, experiment, run.model, tokens, f"{run.model.label} on {task} dev candidates"
            )
    same = bool(against) and against[0].outcome.inputs["candidates"].stage is first.inputs["candidates"].stage
    spec = FailuresSpec(
        runs=tuple(spec_of(run, of_dev) for run, of_dev in zip(runs, dev, strict=True)),
        against=tuple(spec_of(run, None) for run in against) if same else (),
        n=first.spec.n,
        grading=first.spec.grading,
        seed=pipeline.data_seed,
    )
    return pipeline.graph.stage(FAILURES, spec, inputs, label=f"failures of {label} on {task}")

"""Comparing rows: all of a recipe in the analysis, any two in a comparison, claims and axes in effects."""

from __future__ import annotations

from harness.pipeline.kind import Kind, Spec, absent
from harness.store.artifacts import Analysis, Comparison, Effects


class RunSpec(Spec):
    """Seeds of one run of a row; None where a seed does not enter."""

    pretrain_seed: int | None
    finetune_seed: int | None


class OutcomeSpec(RunSpec):
    """A run's values on a task.

    Attributes:
        input: name of the input that holds them.
        data: what was judged on; only outcomes on the same are compared.
        retracted: estimated, and neither compared nor ranked.
    """

    input: str
    row: str
    kind: str
    task: str
    evaluation: str
    data: str
    retracted: bool = absent(False)


class AnalysisSpec(Spec):
    rows: tuple[OutcomeSpec, ...]
    baseline: str
    seed: int


class PairSpec(Spec):
    """The mean of some rows minus the mean of others."""

    more: tuple[str, ...]
    less: tuple[str, ...]


class ContrastSpec(Spec):
    """A difference between rows, or the mean of several such differences, on a task.

    Attributes:
        key: what the plan finds it by.
        metric: what is compared; "" is the evaluation's headline.
        times: what it is multiplied by: 2 for an interaction, which is a difference of differences.
    """

    key: str
    task: str
    evaluation: str
    pairs: tuple[PairSpec, ...]
    metric: str = absent("")
    times: int = absent(1)


class CurveSpec(Spec):
    """Settings that differ on a numeric axis alone, on a task.

    Attributes:
        key: what the plan finds it by.
        points: (x, row), ascending.
        excluded: x values that a fitted law leaves out, since they lie inside the warm-up.
        baseline: (x, row) of settings without PMP that the samples needed are compared with; () where they are not.
    """

    key: str
    task: str
    evaluation: str
    points: tuple[tuple[float, str], ...]
    excluded: tuple[float, ...] = absent(())
    baseline: tuple[tuple[float, str], ...] = absent(())


class EffectsSpec(Spec):
    """Attributes: rows: all settings on the tasks of the contrasts, since their seeds' spread is pooled."""

    rows: tuple[OutcomeSpec, ...]
    contrasts: tuple[ContrastSpec, ...]
    curves: tuple[CurveSpec, ...] = absent(())
    seed: int


class JudgedSpec(RunSpec):
    """Names of the inputs that hold a run's values and, if they can be read, scores."""

    values: str
    scores: str | None


class SideSpec(Spec):
    """A row's runs; `pool` is the baseline of a pool that it stands for, "" if it is none."""

    pool: str
    seeds: tuple[JudgedSpec, ...]


class MatchSpec(Spec):
    task: str
    evaluation: str
    first: SideSpec
    second: SideSpec
    texts: str | None


class ComparisonSpec(Spec):
    matches: tuple[MatchSpec, ...]
    seed: int


ANALYSIS: Kind[AnalysisSpec] = Kind("analysis", 7, AnalysisSpec, Analysis)
COMPARISON: Kind[ComparisonSpec] = Kind("comparison", 3, ComparisonSpec, Comparison)
EFFECTS: Kind[EffectsSpec] = Kind("effects", 2, EffectsSpec, Effects)

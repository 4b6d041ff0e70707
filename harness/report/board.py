"""The leaderboard of each task, from the analysis and the status of stages. It compares nothing itself.

Every row the plan asks for is here, with the reason where a number is missing. No pandas, no plotly: the terminal view
needs this on every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.pipeline.evaluations import (
    evaluation_named,
    evaluation_of,
    evaluation_with,
    headline,
    headline_label,
)
from harness.pipeline.evaluations.best_of_n import (
    AREA_GRID,
    AREA_POOL_SHARE,
    SMALLEST_POOL,
    BestOfN,
    best_of,
    point_of,
    size_of,
)
from harness.pipeline.graph import Stage
from harness.pipeline.imports import Import
from harness.pipeline.tasks import judging_split
from harness.plan.analysis import baseline_is_chosen, baseline_of, judged_on
from harness.plan.plan import Plan
from harness.plan.rows import IMPORTED, POOL, Outcome, Variant
from harness.recipe.fields import CODE, before_finetuning
from harness.report.comparison import SETTING, AboveShallow, AnalysisIndex, Difference, Estimate, Place
from harness.report.status import Statuses, in_words
from harness.report.words import (
    DAGGER,
    DASH,
    FEW_SEEDS,
    OTHER_DATA,
    TIMES,
    reference_rows,
    split_name,
    task_title,
)

NOT_ASKED = "not asked"
ONE_CLUSTER = "no interval: all problems fall in one cluster"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting, row from outside, or reference on one task.

    Attributes:
        kind, name: as in the analysis; `label` is what people read.
        seeds: PMP by fine-tuning seeds, "" for what has none.
        axes: value name on each axis that a setting depends on.
        gaps: why numbers are missing, by evaluation; empty where none is.
        retracted: why numbers are not to be trusted, by evaluation; empty where all are.
        outcomes: what its numbers come from.
        by evaluation: `differences`, `above` and `places`.
    """

    task: str
    kind: str
    name: str
    label: str
    note: str
    seeds: str
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    above: Mapping[str, AboveShallow]
    places: Mapping[str, Place]
    gaps: Mapping[str, str]
    retracted: Mapping[str, str]
    outcomes: tuple[Outcome, ...]
    axes: Mapping[str, str] = field(default_factory=dict)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(outcome.stage for outcome in self.outcomes)

    @property
    def is_setting(self) -> bool:
        return self.kind == SETTING

    def doubt(self, metric: str) -> str:
        """Why this metric's number is not to be trusted, "" where it is."""
        return self.retracted.get(evaluation_with(metric).name, "")

    @property
    def is_reference(self) -> bool:
        return self.kind not in (SETTING, IMPORTED)

    @property
    def asked(self) -> bool:
        """Whether the recipe asks for any number of this row on this task."""
        return any(not gap.startswith(NOT_ASKED) for gap in self.gaps.values()) or bool(self.estimates)

    def has_any(self, metrics: Iterable[str]) -> bool:
        return any(metric in self.estimates for metric in metrics)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why numbers are struck out or missing."""
        return (*dict.fromkeys(self.retracted.values()), *self.gap_lines)

    @property
    def gap_lines(self) -> tuple[str, ...]:
        """Why numbers are missing, once where all are missing for one reason."""
        reasons = set(self.gaps.values())
        if len(reasons) == 1 and not self.estimates:
            return tuple(reasons)
        return tuple(f"{headline_label(name)}: {gap}" for name, gap in sorted(self.gaps.items()))


@dataclass(frozen=True, kw_only=True)
class Board:
    """All rows of one task: settings, rows from outside, references.

    Attributes:
        sizes: every N of the Best-of-N curves; `key_size` the largest N > 1 and ≤ n / 4, or the largest N at all.
        pool_size: candidates a problem in the smallest pool; 0 where the task has no pool.
        split: whose problems judge.
        baseline_chosen: whether the recipe names the baseline; else it is the default.
        one_data: whether the same data judge all settings; else they are not put in order.
    """

    task: str
    split: str
    evaluations: tuple[str, ...]
    sizes: tuple[int, ...]
    key_size: int
    pool_size: int
    baseline: str
    rows: tuple[Row, ...]
    baseline_chosen: bool = False
    one_data: bool = True

    @cached_property
    def settings(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.is_setting)

    @property
    def groups(self) -> list[list[tuple[int, Row]]]:
        """Settings, rows from outside and references, each with its position among all."""
        groups: dict[tuple[bool, bool], list[tuple[int, Row]]] = {}
        for at, row in enumerate(self.rows):
            groups.setdefault((row.is_setting, row.is_reference), []).append((at, row))
        return list(groups.values())

    @cached_property
    def comparisons(self) -> list[tuple[Row, str]]:
        """(setting or row from outside, evaluation) with something to compare."""
        return [
            (row, evaluation)
            for row in self.rows
            for evaluation in self.evaluations
            if evaluation in row.places or evaluation in row.above or evaluation in row.differences
        ]

    @cached_property
    def shallow(self) -> AboveShallow | None:
        """What settings are held against the best shallow reference with, by the main metric; the line to pass."""
        found = [row.above[self.main] for row in self.settings if self.main in row.above]
        return max(found, key=lambda one: one.reference_estimate, default=None)

    def to_beat(self, above: AboveShallow) -> tuple[str, ...]:
        """What the settings are held against, in words: each its own references where different data judge them."""
        return above.references if self.one_data else ("the shallow baselines on the same data",)

    @property
    def main(self) -> str:
        """The evaluation that rows are ordered by."""
        return self.evaluations[0]

    @cached_property
    def has_places(self) -> bool:
        """Whether any setting has a place."""
        return any(row.places for row in self.rows)

    @property
    def order(self) -> str:
        """What the column of places means, or why there is none."""
        if self.has_places:
            return f"Order: the places a setting may hold by {headline_label(self.main)}"
        return FEW_SEEDS if self.one_data else OTHER_DATA

    @cached_property
    def key_metrics(self) -> tuple[str, ...]:
        """The few metrics that a leaderboard shows, the main one first."""
        area = [BestOfN.headline] if self.area_sizes or not self.sizes else []
        curve = [best_of(self.key_size)] if self.key_size else []
        pooled = [*area, *curve] if self.has_pool else []
        return (*pooled, *(headline(one) for one in self.evaluations if one != BestOfN.name))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that some row has and that is no detail, else those that are asked for."""
        found = [metric for metric in self._there if not evaluation_with(metric).is_detail(metric)]
        return tuple(found) or tuple(headline(evaluation) for evaluation in self.evaluations)

    @cached_property
    def details(self) -> tuple[str, ...]:
        """The metrics of the table beside the board; of a curve its area or, where there is none, the point at N."""
        details = [metric for metric in self._there if evaluation_with(metric).is_detail(metric)]
        shown = () if self.area_sizes else (self.key_size,)
        return tuple(metric for metric in details if point_of(metric) in (None, *shown))

    @cached_property
    def _there(self) -> list[str]:
        """Every metric that some row has, in the order of tables."""
        there = list(dict.fromkeys(metric for row in self.rows for metric in row.estimates))
        return [metric for name in self.evaluations for metric in evaluation_named(name).in_order(there)]

    def mark(self, metric: str) -> str:
        """A dagger at a point beyond a quarter of the pool."""
        size = size_of(metric)
        return DAGGER if size is not None and self.overlaps(size) else ""

    @property
    def has_pool(self) -> bool:
        return BestOfN.name in self.evaluations

    @property
    def title(self) -> str:
        if self.split != "dev":
            return task_title(self.task)
        return "dev code pairs" if self.task == CODE else f"{self.task}, dev problems"

    @property
    def area_sizes(self) -> tuple[int, ...]:
        """The N that the BoN area is a mean over; () where the pools are too small for one."""
        return tuple(size for size in AREA_GRID if not self.overlaps(size))

    def overlaps(self, size: int) -> bool:
        """Whether the point at this N lies beyond a quarter of the pool."""
        return size * AREA_POOL_SHARE > self.pool_size


def boards(plan: Plan, statuses: Statuses, analysis: Mapping[str, Any] | None) -> tuple[Board, ...]:
    """One board a task: those with Best-of-N, then those with pairs only, then held-out code."""
    found = AnalysisIndex(analysis or {})
    tasks: dict[str, list[str]] = {}
    for outcome in plan.outcomes:
        evaluation = evaluation_of(outcome.metric).name
        evaluations = tasks.setdefault(outcome.task, [])
        if evaluation not in evaluations:
            evaluations.append(evaluation)
    order = sorted(tasks, key=lambda task: (before_finetuning(task), BestOfN.name not in tasks[task]))
    return tuple(_board(plan, statuses, found, task, tuple(tasks[task])) for task in order)


def _board(plan: Plan, statuses: Statuses, found: AnalysisIndex, task: str, evaluations: tuple[str, ...]) -> Board:
    def row(
        kind: str,
        name: str,
        variants: Sequence[Variant],
        *,
        label: str = "",
        note: str = "",
        seeds: str = "",
        missing: str = "",
        axes: Mapping[str, str] | None = None,
    ) -> Row:
        """`missing`: why an evaluation of this task has no outcome of this row; where it is "" that is no gap."""
        outcomes = _outcomes(variants, task)
        if kind == POOL:
            outcomes = [one for one in outcomes if name in evaluation_of(one.metric).references]
        estimates = found.estimates((task, kind, name))
        gaps = {}
        for evaluation in evaluations:
            mine = _by(evaluation, outcomes)
            if not mine and missing:
                gaps[evaluation] = missing
            elif headline(evaluation) in found.in_one_cluster((task, kind, name)):
                gaps[evaluation] = ONE_CLUSTER
            elif mine and headline(evaluation) not in estimates:
                gaps[evaluation] = in_words(statuses[one.stage.fingerprint] for one in mine) or _why_not(
                    statuses, mine, name
                )
        return Row(
            task=task,
            kind=kind,
            name=name,
            label=label or name,
            note=note,
            seeds=seeds,
            estimates=estimates,
            differences=found.differences((task, kind, name)),
            above=found.above((task, kind, name)),
            places=found.places((task, kind, name)),
            gaps=gaps,
            retracted=_retracted(outcomes, statuses),
            outcomes=tuple(outcomes),
            axes=axes or {},
        )

    no_head = f"{NOT_ASKED}: no reward head before fine-tuning" if task == CODE else NOT_ASKED
    rows = [
        row(SETTING, one.name, one.variants, seeds=_seeds(one.variants, task), missing=no_head, axes=one.values)
        for one in plan.settings
    ]
    for variant in () if before_finetuning(task) else plan.imported:  # nothing from outside is judged there
        asset = plan.assets[variant.setting]
        missing = f"{NOT_ASKED}: no {asset.what} for it"
        rows.append(row(IMPORTED, variant.setting, [variant], note=_of_import(asset), missing=missing))
    for (kind, name), (label, note) in reference_rows(plan).items():
        variants = [one for one in plan.references if one.setting == (POOL if kind == POOL else name)]
        seeds = "" if kind == POOL else _seeds(variants, task)
        reference = row(kind, name, variants, label=label, note=note, seeds=seeds)
        if reference.outcomes:
            rows.append(reference)
    sizes = sorted({size for one in rows for metric in one.estimates if (size := size_of(metric)) is not None})
    pool = _pool_size(rows, statuses)
    inside = [size for size in sizes if 1 < size <= pool // AREA_POOL_SHARE]
    return Board(
        task=task,
        split=split_name(task, judging_split(plan.loaded.recipe, task)),
        evaluations=evaluations,
        sizes=tuple(sizes),
        key_size=max(inside or sizes, default=0),
        pool_size=pool,
        baseline=baseline_of(plan),
        baseline_chosen=baseline_is_chosen(plan),
        rows=tuple(rows),
        one_data=len(
            {judged_on(one.stage) for row in rows if row.is_setting for one in _by(evaluations[0], row.outcomes)}
        )
        < 2,
    )


def _retracted(outcomes: Iterable[Outcome], statuses: Statuses) -> dict[str, str]:
    """Why an evaluation's numbers are not to be trusted, where something they are made from is retracted."""
    found: dict[str, dict[str, None]] = {}
    for outcome in outcomes:
        reason = statuses[outcome.stage.fingerprint].retracted
        if reason:
            found.setdefault(evaluation_of(outcome.metric).name, {})[reason] = None
    return {evaluation: "; ".join(reasons) for evaluation, reasons in found.items()}


def _outcomes(variants: Sequence[Variant], task: str) -> list[Outcome]:
    """Distinct outcomes on a task: seeds that share a stage are told once."""
    found = {
        outcome.stage.fingerprint: outcome
        for variant in variants
        for outcome in variant.outcomes
        if outcome.task == task
    }
    return list(found.values())


def _by(evaluation: str, outcomes: Iterable[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if evaluation_of(outcome.metric).name == evaluation]


def _seeds(variants: Sequence[Variant], task: str) -> str:
    """PMP by fine-tuning seeds; code pairs are judged before fine-tuning, and shallow scorers have no PMP."""
    pretrain = {variant.pretrain_seed for variant in variants} - {None}
    finetune = {variant.finetune_seed for variant in variants} - {None}
    if not _outcomes(variants, task) or not pretrain | finetune:
        return ""
    if before_finetuning(task):
        return str(len(pretrain) or "")
    return f"{len(pretrain) or DASH} {TIMES} {len(finetune)}"


def _of_import(asset: Import) -> str:
    day = asset.result.get("chat_day")
    given = f"; its chat template asks for the day and is always given {day}" if day else ""
    return f"imported {asset.what} {asset.name}: {asset.result['licence']}, {asset.result['source']}{given}"


def _why_not(statuses: Statuses, outcomes: Sequence[Outcome], row: str) -> str:
    """Why finished outcomes have no number to be compared on."""
    for outcome in outcomes:
        record = statuses[outcome.stage.fingerprint].record
        if record is None or evaluation_of(outcome.metric).name != BestOfN.name:
            continue
        if outcome.metric == BestOfN.baselined.name and not any(
            one.startswith(f"{row}/") for one in record.result["means"]
        ):
            return f"{NOT_ASKED}: this pool states no answers"  # and so has no vote
        if record.result.get("area_sizes") == []:
            smallest = record.result["smallest_pool"]
            return f"none: it needs {SMALLEST_POOL} candidates for each problem and one problem has {smallest}"
    return "done, not yet compared"


def _pool_size(rows: Iterable[Row], statuses: Statuses) -> int:
    """Candidates a problem in the smallest pool of a task: from records, else as asked."""
    sizes = []
    for row in rows:
        for stage in (one.stage for one in row.outcomes if evaluation_of(one.metric).name == BestOfN.name):
            record = statuses[stage.fingerprint].record
            if record is not None:
                sizes.append(int(record.result["smallest_pool"]))
                continue
            candidates = stage.inputs["candidates"].stage
            if "pool" in candidates.inputs:  # known, since a plan is made of imports that are there
                pool = statuses[candidates.inputs["pool"].stage.fingerprint].record
                sizes += [] if pool is None else [int(pool.result["smallest_pool"])]
            else:
                part = next(iter(candidates.inputs.values())).stage
                sizes.append(int(part.spec.samples))
    return min(sizes, default=0)

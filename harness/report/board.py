"""The leaderboard of each task, from the analysis and the status of stages. It compares nothing itself.

Every row the plan asks for is here, with the reason where a number is missing. No pandas, no plotly: the terminal view
needs this on every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.pipeline.graph import Stage
from harness.pipeline.imports import Import
from harness.pipeline.tasks import POOL_CANDIDATES
from harness.plan.plan import IMPORTED, POOL, Outcome, Plan, Variant, baseline_of
from harness.recipe.fields import CODE
from harness.report.comparison import AboveShallow, AnalysisIndex, Difference, Estimate, Place
from harness.report.status import Statuses, in_words
from harness.report.words import DASH, REFERENCES, TIMES, metric_label, task_title

AREA_GRID, AREA_POOL_SHARE = (2, 4, 8, 16, 32, 64), 4
"""The BoN area takes these N up to a quarter of the pool. `harness/evaluation/best_of_n.py` says so, which this room
may not import (a test holds them equal)."""

BON = "bon@"
HEADLINE = {"best_of_n": "area", "pair_accuracy": "pair_accuracy"}
SETTING = "setting"
NOT_ASKED = "not asked"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting, row from outside, or reference on one task.

    Attributes:
        kind, name: as in the analysis; `label` is what people read.
        seeds: PMP by fine-tuning seeds, "" for what has none.
        gaps: why numbers are missing, by evaluation; empty where none is.
        retracted: why numbers are not to be trusted, by evaluation; empty where all are.
        stages: the evaluation stages its numbers come from.
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
    stages: tuple[Stage, ...]

    @property
    def is_setting(self) -> bool:
        return self.kind == SETTING

    def doubt(self, metric: str) -> str:
        """Why this metric's number is not to be trusted, "" where it is."""
        return self.retracted.get("pair_accuracy" if metric == "pair_accuracy" else "best_of_n", "")

    @property
    def is_reference(self) -> bool:
        return self.kind not in (SETTING, IMPORTED)

    @property
    def asked(self) -> bool:
        """Whether the recipe asks for any number of this row on this task."""
        return any(not gap.startswith(NOT_ASKED) for gap in self.gaps.values()) or bool(self.estimates)

    @property
    def gap_lines(self) -> tuple[str, ...]:
        """Why numbers are missing, once where all are missing for one reason."""
        reasons = set(self.gaps.values())
        if len(reasons) == 1 and not self.estimates:
            return tuple(reasons)
        return tuple(f"{metric_label(HEADLINE[name])}: {gap}" for name, gap in sorted(self.gaps.items()))


@dataclass(frozen=True, kw_only=True)
class Board:
    """All rows of one task: settings, rows from outside, references.

    Attributes:
        sizes: every N of the Best-of-N curves; `key_size` the largest N > 1 and ≤ n / 4, or the largest N at all.
        pool_size: candidates a problem in the smallest pool; 0 where the task has no pool.
    """

    task: str
    evaluations: tuple[str, ...]
    sizes: tuple[int, ...]
    key_size: int
    pool_size: int
    baseline: str
    rows: tuple[Row, ...]

    @property
    def settings(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.is_setting)

    @property
    def compared(self) -> tuple[Row, ...]:
        """Rows that may have a difference from the baseline."""
        return tuple(row for row in self.rows if not row.is_reference)

    @property
    def title(self) -> str:
        return task_title(self.task)

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
        evaluation = _evaluation(outcome)
        evaluations = tasks.setdefault(outcome.task, [])
        if evaluation not in evaluations:
            evaluations.append(evaluation)
    order = sorted(tasks, key=lambda task: (task == CODE, "best_of_n" not in tasks[task]))
    return tuple(_board(plan, statuses, found, task, tuple(sorted(tasks[task]))) for task in order)


def _board(plan: Plan, statuses: Statuses, found: AnalysisIndex, task: str, evaluations: tuple[str, ...]) -> Board:
    rows = [_setting_row(plan, statuses, found, task, evaluations, index) for index in range(len(plan.settings))]
    rows += _imported_rows(plan, statuses, found, task, evaluations)
    rows += _reference_rows(plan, statuses, found, task)
    sizes = sorted({int(metric.removeprefix(BON)) for row in rows for metric in row.estimates if BON in metric})
    pool = _pool_size(rows, statuses)
    inside = [size for size in sizes if 1 < size <= pool // AREA_POOL_SHARE]
    return Board(
        task=task,
        evaluations=evaluations,
        sizes=tuple(sizes),
        key_size=max(inside or sizes, default=0),
        pool_size=pool,
        baseline=baseline_of(plan),
        rows=tuple(rows),
    )


def _setting_row(
    plan: Plan, statuses: Statuses, found: AnalysisIndex, task: str, evaluations: tuple[str, ...], index: int
) -> Row:
    setting = plan.settings[index]
    outcomes = _outcomes(setting.variants, task)
    estimates = found.estimates(task, SETTING, setting.name)
    gaps = {}
    for evaluation in evaluations:
        mine = [outcome for outcome in outcomes if outcome.metric == evaluation]
        if not mine:
            gaps[evaluation] = f"{NOT_ASKED}: no reward head before fine-tuning" if task == CODE else NOT_ASKED
        elif HEADLINE[evaluation] not in estimates:
            gaps[evaluation] = in_words(statuses[one.stage.fingerprint] for one in mine) or _why_not(statuses, mine)
    return Row(
        task=task,
        kind=SETTING,
        name=setting.name,
        label=setting.name,
        note="",
        seeds=_seeds(setting.variants, task),
        estimates=estimates,
        differences=found.differences(task, SETTING, setting.name),
        above=found.above(task, setting.name),
        places=found.places(task, setting.name),
        gaps=gaps,
        retracted=_retracted(outcomes, statuses),
        stages=tuple(outcome.stage for outcome in outcomes),
    )


def _retracted(outcomes: Iterable[Outcome], statuses: Statuses) -> dict[str, str]:
    """Why an evaluation's numbers are not to be trusted, where something they are made from is retracted."""
    found: dict[str, dict[str, None]] = {}
    for outcome in outcomes:
        reason = statuses[outcome.stage.fingerprint].retracted
        if reason:
            found.setdefault(_evaluation(outcome), {})[reason] = None
    return {evaluation: "; ".join(reasons) for evaluation, reasons in found.items()}


def _evaluation(outcome: Outcome) -> str:
    """Where an outcome's numbers stand: the baselines of a pool are on its Best-of-N board."""
    return "pair_accuracy" if outcome.metric == "pair_accuracy" else "best_of_n"


def _outcomes(variants: Sequence[Variant], task: str) -> list[Outcome]:
    """Distinct outcomes on a task: seeds that share a stage are told once."""
    found = {
        outcome.stage.fingerprint: outcome
        for variant in variants
        for outcome in variant.outcomes
        if outcome.task == task
    }
    return list(found.values())


def _seeds(variants: Sequence[Variant], task: str) -> str:
    """PMP by fine-tuning seeds; code pairs are judged before fine-tuning."""
    pretrain = {variant.pretrain_seed for variant in variants} - {None}
    finetune = set() if task == CODE else {variant.finetune_seed for variant in variants} - {None}
    if not _outcomes(variants, task):
        return ""
    if task == CODE:
        return str(len(pretrain))
    return f"{len(pretrain)} {TIMES} {len(finetune)}" if pretrain else DASH + f" {TIMES} {len(finetune)}"


def _imported_rows(
    plan: Plan, statuses: Statuses, found: AnalysisIndex, task: str, evaluations: tuple[str, ...]
) -> list[Row]:
    """Rows from outside, on tasks that have anything for them to be judged on."""
    if task == CODE:
        return []
    rows = []
    for variant in plan.imported:
        name, asset = variant.setting, plan.assets[variant.setting]
        outcomes = _outcomes([variant], task)
        estimates = found.estimates(task, IMPORTED, name)
        gaps = {}
        for evaluation in evaluations:
            mine = [outcome for outcome in outcomes if outcome.metric == evaluation]
            if not mine:
                gaps[evaluation] = f"{NOT_ASKED}: no {asset.what} for it"
            elif HEADLINE[evaluation] not in estimates:
                gaps[evaluation] = in_words(statuses[one.stage.fingerprint] for one in mine) or _why_not(statuses, mine)
        rows.append(
            Row(
                task=task,
                kind=IMPORTED,
                name=name,
                label=name,
                note=_of_import(asset),
                seeds="",
                estimates=estimates,
                differences=found.differences(task, IMPORTED, name),
                above={},
                places={},
                gaps=gaps,
                retracted=_retracted(outcomes, statuses),
                stages=tuple(outcome.stage for outcome in outcomes),
            )
        )
    return rows


def _of_import(asset: Import) -> str:
    day = asset.result.get("chat_day")
    given = f"; its chat template asks for the day and is always given {day}" if day else ""
    return f"imported {asset.what} {asset.name}: {asset.result['licence']}, {asset.result['source']}{given}"


def _reference_rows(plan: Plan, statuses: Statuses, found: AnalysisIndex, task: str) -> list[Row]:
    rows = []
    for (kind, name), (label, note) in REFERENCES.items():
        setting = POOL if kind == POOL else name
        variants = [variant for variant in plan.references if variant.setting == setting]
        outcomes = _outcomes(variants, task)
        if not outcomes:
            continue
        estimates = found.estimates(task, kind, name)
        gaps = {}
        for metric in dict.fromkeys(outcome.metric for outcome in outcomes):
            evaluation = "best_of_n" if metric == "pool_baselines" else metric
            if HEADLINE[evaluation] not in estimates:
                mine = [one for one in outcomes if one.metric == metric]
                waiting = in_words(statuses[one.stage.fingerprint] for one in mine)
                gaps[evaluation] = waiting or _why_not(statuses, mine, name)
        seeds = {variant.finetune_seed for variant in variants} - {None}
        rows.append(
            Row(
                task=task,
                kind=kind,
                name=name,
                label=label,
                note=note,
                seeds=f"{DASH} {TIMES} {len(seeds)}" if seeds and task != CODE else "",
                estimates=estimates,
                differences={},
                above={},
                places={},
                gaps=gaps,
                retracted=_retracted(outcomes, statuses),
                stages=tuple(outcome.stage for outcome in outcomes),
            )
        )
    return rows


def _why_not(statuses: Statuses, outcomes: Sequence[Outcome], reference: str = "") -> str:
    """Why finished outcomes have no number to be compared on."""
    for outcome in outcomes:
        record = statuses[outcome.stage.fingerprint].record
        if record is None or outcome.metric == "pair_accuracy":
            continue
        means = record.result["means"]
        if outcome.metric == "pool_baselines" and not any(name.startswith(f"{reference}/") for name in means):
            return f"{NOT_ASKED}: this pool states no answers"  # and so has no vote
        if record.result.get("area_sizes") == []:
            smallest = AREA_GRID[0] * AREA_POOL_SHARE
            return f"none, as it needs {smallest} candidates a problem and one has {record.result['smallest_pool']}"
    return "done, not yet compared"


def _pool_size(rows: Iterable[Row], statuses: Statuses) -> int:
    """Candidates a problem in the smallest pool of a task: from records, else as asked."""
    sizes = []
    for row in rows:
        for stage in row.stages:
            if "candidates" not in stage.inputs:
                continue
            record = statuses[stage.fingerprint].record
            if record is not None:
                sizes.append(int(record.result["smallest_pool"]))
                continue
            candidates = stage.inputs["candidates"].stage
            if candidates.kind is POOL_CANDIDATES:  # known, since a plan is made of imports that are there
                pool = statuses[candidates.inputs["pool"].stage.fingerprint].record
                sizes += [] if pool is None else [int(pool.result["smallest_pool"])]
            else:
                part = next(iter(candidates.inputs.values())).stage
                sizes.append(int(part.spec.samples))
    return min(sizes, default=0)

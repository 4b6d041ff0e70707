"""What a reader must see first: the boards, what to beware of, what they come to. Cheap, for every run shows it.

Sentences here are made from the analysis alone; none is typed for a recipe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.pipeline.graph import Stage
from harness.pipeline.tasks import POOL_CANDIDATES
from harness.plan.plan import Plan
from harness.report.board import HEADLINE, Board, Row, boards
from harness.report.status import StageStatus, Statuses, look
from harness.report.truncation import truncation_alarms
from harness.report.words import (
    FEW_SEEDS,
    FEWEST_CLUSTERS,
    FEWEST_SEEDS,
    listing,
    metric_label,
    plural,
    score,
    signed,
    signed_interval,
)
from harness.store.artifacts import Analysis
from harness.store.store import Store

MOST_NAMED = 5
"""Settings named in a sentence; where there are more, the sentence counts them and the table names them."""


@dataclass(frozen=True, kw_only=True)
class Caution:
    """Something that limits what the numbers say; `items` are details, one a line."""

    title: str
    text: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the numbers of one task come to, a sentence each."""

    task: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The plan's state and its boards.

    Attributes:
        analysis: the stage compared with, if any outcome is done.
        statuses: of every stage of the plan and of the analysis, by fingerprint.
    """

    analysis: Stage | None
    statuses: Statuses
    boards: tuple[Board, ...]
    cautions: tuple[Caution, ...]
    findings: tuple[Finding, ...]

    @property
    def ranks_something(self) -> bool:
        """Whether any setting has a place."""
        return any(row.places for board in self.boards for row in board.settings)


def overview(plan: Plan, store: Store, analysis: Stage | None) -> Overview:
    """Read the records and the analysis."""
    stages = plan.stages if analysis is None else (*plan.stages, analysis)
    statuses = look(stages, store)
    made = boards(plan, statuses, read_analysis(store, statuses, analysis))
    return Overview(
        analysis=analysis,
        statuses=statuses,
        boards=made,
        cautions=tuple(_cautions(plan, statuses, analysis, made)),
        findings=tuple(_finding(board) for board in made if any(row.estimates for row in board.settings)),
    )


def read_analysis(store: Store, statuses: Statuses, analysis: Stage | None) -> Mapping[str, Any] | None:
    """The analysis' JSON, or None while there is none."""
    if analysis is None or statuses[analysis.fingerprint].record is None:
        return None
    path = Analysis(store.directory(analysis.kind.name, analysis.fingerprint)).path
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def comparison_failure(analysis: Stage | None, statuses: Statuses) -> str:
    """Why the finished evaluations are not compared, "" where they are or there is none."""
    if analysis is None or statuses[analysis.fingerprint].state == "done":
        return ""
    return statuses[analysis.fingerprint].reason or statuses[analysis.fingerprint].state


def few_seeds(plan: Plan) -> dict[str, list[str]]:
    """Settings that claim nothing, by the seeds of which they have too few: PMP seeds, or without PMP fine-tuning's."""
    found: dict[str, list[str]] = {}
    seeds = plan.loaded.recipe.seeds
    for setting in plan.settings:
        kind, number = ("fine-tuning", seeds.finetune)
        if setting.setting.experiment.pretrain is not None:
            kind, number = ("PMP", seeds.pretrain)
        if number < FEWEST_SEEDS:
            found.setdefault(plural(number, f"{kind} seed"), []).append(setting.name)
    return found


# ------------------------------------------------------------------------------------------------- cautions


def _cautions(plan: Plan, statuses: Statuses, analysis: Stage | None, made: Sequence[Board]) -> list[Caution]:
    cautions = []
    few = few_seeds(plan)
    if few:
        cautions.append(
            Caution(
                title=FEW_SEEDS,
                text=f"Settings with fewer than {FEWEST_SEEDS} seeds have no place, and no difference of theirs is "
                "called significant: it may be the luck of one run. Their intervals cover the problems, not another "
                "training.",
                items=tuple(f"{seeds}: {_few(names)}" for seeds, names in few.items()),
            )
        )
    few_clusters = [
        board.title
        for board in made
        if any(one.clusters < FEWEST_CLUSTERS for row in board.settings for one in row.estimates.values())
    ]
    if few_clusters:
        cautions.append(
            Caution(
                title=f"Fewer than {FEWEST_CLUSTERS} clusters of problems",
                text="Intervals of skewed differences then cover 85 to 91 % of cases instead of 95 %.",
                items=tuple(few_clusters),
            )
        )
    cautions += _unfinished(plan, statuses)
    reason = comparison_failure(analysis, statuses)
    if reason:
        cautions.append(
            Caution(
                title="The comparison is missing",
                text="Evaluations are done, but the stage that compares them is not, so there are no estimates.",
                items=(reason,),
            )
        )
    retracted = [status for status in statuses.values() if status.retraction]
    if retracted:
        touched = sum(bool(statuses[outcome.stage.fingerprint].retracted) for outcome in plan.outcomes)
        cautions.append(
            Caution(
                title=f"{plural(len(retracted), 'stage is', 'stages are')} retracted",
                text="Numbers made from what is retracted are struck out, and are neither compared nor ranked: "
                f"{touched:,} of {len(plan.outcomes):,} evaluations.",
                items=tuple(f"{one.stage.label} ({one.stage.name}): {one.retraction}" for one in retracted),
            )
        )
    cautions += _mixed_pools(plan, statuses)
    too_long = truncation_alarms(statuses)
    if too_long:
        cautions.append(
            Caution(
                title="More than 1 % of a task does not fit max_tokens",
                text="Its scores are of cut texts, or of fewer pairs than were asked for.",
                items=too_long,
            )
        )
    stale = [status for status in statuses.values() if status.stale]
    if stale:
        cautions.append(
            Caution(
                title=f"{plural(len(stale), 'stage')} made by other code",
                text="Their source differs from this version's at the same code version. "
                "The recipe's runtime.stale_code: rerun makes them again.",
                items=_stage_names(stale),
            )
        )
    return cautions


def _mixed_pools(plan: Plan, statuses: Statuses) -> list[Caution]:
    """Pools whose candidates have several authors."""
    tasks = []
    for stage in plan.stages:
        if stage.kind is POOL_CANDIDATES:
            pool = statuses[stage.inputs["pool"].stage.fingerprint].record
            if pool is not None and pool.result["mixed"]:
                tasks.append(f"{stage.label.removeprefix('candidates ')}: {len(pool.result['sources'])} models")
    if not tasks:
        return []
    return [
        Caution(
            title=f"{plural(len(tasks), 'mixed pool')}: a pick among models",
            text="Candidates were written by several models, so that knowing who wrote one may tell more than knowing "
            "whether it is right.",
            items=tuple(dict.fromkeys(tasks)),
        )
    ]


def _unfinished(plan: Plan, statuses: Statuses) -> list[Caution]:
    known = [statuses[stage.fingerprint] for stage in plan.stages]
    failed = [status for status in known if status.state == "failed"]
    cautions = []
    if failed:
        blocked = sum(status.state == "blocked" for status in known)
        those = "it" if len(failed) == 1 else "them"
        waiting = f" {plural(blocked, 'stage waits', 'stages wait')} for {those}." if blocked else ""
        cautions.append(
            Caution(
                title=f"{plural(len(failed), 'stage')} failed",
                text=f"Settings that need {those} stay in the tables, without the numbers.{waiting}",
                items=tuple(f"{status.stage.label}: {status.reason}" for status in failed),
            )
        )
    done = sum(status.state == "done" for status in known)
    needed = [statuses[outcome.stage.fingerprint] for outcome in plan.outcomes]
    if any(status.state != "done" for status in needed):
        left = [
            setting.name
            for setting in plan.settings
            if any(
                statuses[outcome.stage.fingerprint].state != "done"
                for variant in setting.variants
                for outcome in variant.outcomes
            )
        ]
        cautions.append(
            Caution(
                title=f"Unfinished: {done:,} of {len(known):,} stages done",
                text="A setting is compared on a task once all its seeds are done. The same command goes on from here.",
                items=(f"not finished: {listing(left)}",) if left else (),
            )
        )
    return cautions


def _stage_names(statuses: Sequence[StageStatus]) -> tuple[str, ...]:
    by_kind: dict[str, int] = {}
    for status in statuses:
        by_kind[status.stage.kind.name] = by_kind.get(status.stage.kind.name, 0) + 1
    return tuple(f"{kind}: {number:,}" for kind, number in by_kind.items())


# ------------------------------------------------------------------------------------------------- findings


def _finding(board: Board) -> Finding:
    sentences = []
    for evaluation in board.evaluations:
        compared = [row for row in board.settings if HEADLINE[evaluation] in row.estimates]
        if compared:
            sentences += _above_sentence(compared, evaluation)
            sentences += _difference_sentence(board, compared, evaluation)
    missing = [row.label for row in board.settings if row.asked and not row.estimates]
    if missing:
        sentences.append(f"No numbers yet for {listing(missing)}.")
    return Finding(task=board.task, sentences=tuple(sentences))


def _few(names: Sequence[str]) -> str:
    return listing(names) if len(names) <= MOST_NAMED else f"{len(names):,} settings"


def _above_sentence(rows: Sequence[Row], evaluation: str) -> list[str]:
    judged = [row for row in rows if evaluation in row.above and row.above[evaluation].above is not None]
    if not judged:
        return []
    best = judged[0].above[evaluation]
    above = [row.label for row in judged if row.above[evaluation].above]
    if not above:
        who = "no setting is" if len(judged) > 1 else f"{judged[0].label} is not"
    elif len(above) == len(judged):
        who = "every setting is" if len(judged) > 1 else f"{above[0]} is"
    else:
        who = f"{_named(above, len(judged))} {'is' if len(above) == 1 else 'are'}"
    return [
        f"{_metric(evaluation)}: {who} above all of {listing(best.references)}; the best of these is {best.reference} "
        f"at {score(best.reference_estimate)}."
    ]


def _difference_sentence(board: Board, rows: Sequence[Row], evaluation: str) -> list[str]:
    compared = [row for row in rows if evaluation in row.differences]
    if not compared:
        return []
    claimed = [row for row in compared if row.differences[evaluation].claims]
    apart = [row.label for row in claimed if row.differences[evaluation].separate]
    begin = f"{_metric(evaluation)}, difference from {board.baseline}"
    if len(compared) > MOST_NAMED:
        if not claimed:
            return []
        return [f"{begin}: significant for {len(apart):,} of {len(claimed):,} settings."]
    told = [
        f"{row.label} {signed(row.differences[evaluation].estimate)} "
        f"{signed_interval(row.differences[evaluation].low, row.differences[evaluation].high)}"
        for row in compared
    ]
    if not claimed:
        verdict = "too few seeds to claim a difference"
    elif len(apart) == len(compared):
        verdict = "all intervals exclude 0" if len(apart) > 1 else "the interval excludes 0"
    elif apart:
        verdict = f"only the interval of {listing(apart)} excludes 0"
    else:
        verdict = "no interval excludes 0" if len(compared) > 1 else "the interval includes 0"
    return [f"{begin}: {', '.join(told)}; {verdict}."]


def _named(labels: Sequence[str], of: int) -> str:
    """Settings by name while they are few, else their number."""
    if len(labels) > MOST_NAMED:
        return f"{len(labels):,} of {of:,} settings"
    return f"{listing(labels)} ({len(labels)} of {of} settings)"


def _metric(evaluation: str) -> str:
    label = metric_label(HEADLINE[evaluation])
    return label[:1].upper() + label[1:]

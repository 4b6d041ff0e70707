"""What a reader must see first: the boards and what limits what they say. Cheap, for every run shows it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.events import Warned, read_events
from harness.pipeline.graph import Stage
from harness.pipeline.overlap import OVERLAP
from harness.pipeline.tasks import CANDIDATES
from harness.plan.claims import claims_power
from harness.plan.effects import with_effects
from harness.plan.plan import Plan
from harness.plan.preregistration import exploratory_claims
from harness.plan.rows import Variant
from harness.recipe.schema import Recipe
from harness.report.board import Board, boards
from harness.report.status import Runs, Statuses, look, runs_of
from harness.report.truncation import truncation_alarms
from harness.report.verdicts import Finding, findings
from harness.report.words import FEW_SEEDS, FEWEST_CLUSTERS, FEWEST_SEEDS, few, listing, plural
from harness.store.artifacts import JsonFile
from harness.store.record import EVENTS
from harness.store.store import Snapshot, Store


@dataclass(frozen=True, kw_only=True)
class Caution:
    """Something that limits what the numbers say; `items` are details, one a line."""

    title: str
    text: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The plan's state and its boards.

    Attributes:
        analysis: the stage compared with, if any outcome is done.
        statuses: of every stage of the plan, of the analysis and of the effects, by fingerprint.
        runs: the same, of finished stages.
        findings: what became of the recipe's claims.
        effects: the JSON of the effects stage, {} while there is none.
    """

    analysis: Stage | None
    statuses: Statuses
    runs: Runs
    boards: tuple[Board, ...]
    findings: tuple[Finding, ...]
    effects: Mapping[str, Any]
    cautions: tuple[Caution, ...]

    @property
    def ranks_something(self) -> bool:
        """Whether any setting has a place."""
        return any(board.has_places for board in self.boards)


def overview(
    plan: Plan, store: Store, analysis: Stage | None, *, after: Sequence[Stage] = (), snapshot: Snapshot | None = None
) -> Overview:
    """Read the records, the analysis and the effects.

    Args:
        after: `with_effects` of the analysis, if the caller has them.
        snapshot: of the store's records likewise.
    """
    snapshot, after = snapshot or Snapshot(store), after or with_effects(plan, analysis)
    statuses = look((*plan.stages, *after), store, snapshot)
    made = boards(plan, statuses, read_json_of(store, statuses, analysis))
    effects = read_json_of(store, statuses, after[1] if len(after) > 1 else None) or {}
    judged = findings(claims_power(plan, store), effects, exploratory_claims(plan, store))
    runs = runs_of(statuses, snapshot)
    warnings = _warnings(plan, runs, store)
    return Overview(
        analysis=analysis,
        statuses=statuses,
        runs=runs,
        boards=made,
        findings=judged,
        effects=effects,
        cautions=(
            *_exploratory(judged),
            *_cautions(plan, statuses, analysis, made),
            *caution(plural(len(warnings), "warning"), "Emitted by stages while they ran.", warnings),
        ),
    )


def read_json_of(store: Store, statuses: Statuses, stage: Stage | None) -> Mapping[str, Any] | None:
    """The JSON of an analysis or of effects, or None while there is none."""
    if stage is None or statuses[stage.fingerprint].record is None:
        return None
    artifact = stage.kind.artifact(store.directory(stage.kind.name, stage.fingerprint))
    assert isinstance(artifact, JsonFile)
    data: dict[str, Any] = json.loads(artifact.path.read_text(encoding="utf-8"))
    return data


def comparison_failure(analysis: Stage | None, statuses: Statuses) -> str:
    """Why the finished evaluations are not compared, "" where they are or there is none."""
    if analysis is None or statuses[analysis.fingerprint].state == "done":
        return ""
    return statuses[analysis.fingerprint].reason or statuses[analysis.fingerprint].state


def few_seeds(plan: Plan) -> dict[str, list[str]]:
    """Settings that claim nothing, by the seeds of which they have too few: PMP seeds, or without PMP fine-tuning's."""
    found: dict[str, list[str]] = {}
    for setting in plan.settings:
        seeds = setting.setting.experiment.seeds
        kind, number = ("fine-tuning", seeds.finetune)
        if setting.setting.experiment.pretrain is not None:
            kind, number = ("PMP", seeds.pretrain)
        if number < FEWEST_SEEDS:
            found.setdefault(plural(number, f"{kind} seed"), []).append(setting.name)
    return found


# ------------------------------------------------------------------------------------------------- cautions


def caution(title: str, text: str, items: Iterable[str]) -> list[Caution]:
    """A caution with its details; none where there are no details."""
    found = tuple(items)
    return [Caution(title=title, text=text, items=found)] if found else []


def _warnings(plan: Plan, runs: Runs, store: Store) -> list[str]:
    """What finished stages warned of, a line a stage and message."""
    checked = _settings_checked(plan)
    items = []
    for stage in plan.stages:
        finished = runs.get(stage.fingerprint)
        if finished is not None and finished.get("warnings", 1):  # of an earlier version: nobody counted them
            of = f" of {few(checked[stage.fingerprint])}" if stage.fingerprint in checked else ""
            path = store.directory(stage.kind.name, stage.fingerprint) / EVENTS
            items += [f"{stage.label}{of}: {event.message}" for event in read_events(path) if isinstance(event, Warned)]
    return items


def _settings_checked(plan: Plan) -> dict[str, list[str]]:
    """Settings by the stages that check their training pairs: all such stages are labelled alike."""
    found: dict[str, list[str]] = {}
    for setting in plan.settings:
        for stage in dict.fromkeys(stage for variant in setting.variants for stage in variant.checks):
            found.setdefault(stage.fingerprint, []).append(setting.name)
    return found


def _exploratory(judged: Sequence[Finding]) -> list[Caution]:
    """Claims that were written with test scores at hand."""
    return caution(
        "Exploratory claims",
        "These claims were added or edited after their test problems were first scored, so their verdicts are no test "
        "of a prediction.",
        dict.fromkeys(
            f"{one.power.claim}: first scored {one.first_scored}"
            for found in judged
            for one in found.results
            if one.exploratory
        ),
    )


def _cautions(plan: Plan, statuses: Statuses, analysis: Stage | None, made: Sequence[Board]) -> list[Caution]:
    known = [statuses[stage.fingerprint] for stage in plan.stages]
    evaluations = [statuses[outcome.stage.fingerprint] for outcome in plan.outcomes]
    failed = [status for status in known if status.state == "failed"]
    blocked = sum(status.state == "blocked" for status in known)
    retracted = [status for status in statuses.values() if status.retraction]
    pools = _mixed_pools(plan, statuses)
    stale = Counter(status.stage.kind.name for status in statuses.values() if status.stale)
    reason = comparison_failure(analysis, statuses)
    return [
        *caution("Judged on dev problems", "These are no results on test problems.", _on_dev(plan)),
        *caution(
            FEW_SEEDS,
            f"Places need {FEWEST_SEEDS} seeds. With fewer, a setting has no place and none of its differences is "
            "called significant: it may be the luck of one run. Its intervals cover problems, not another training.",
            (f"{seeds}: {few(names)}" for seeds, names in few_seeds(plan).items()),
        ),
        *caution(
            f"Fewer than {FEWEST_CLUSTERS} clusters of problems",
            "Intervals of skewed differences then cover 85 to 91 % of cases instead of 95 %.",
            (
                board.title
                for board in made
                if any(
                    row.estimates[metric].clusters < FEWEST_CLUSTERS
                    for row in board.settings
                    for metric in board.key_metrics
                    if metric in row.estimates
                )
            ),
        ),
        *caution(
            f"{plural(len(failed), 'stage')} failed",
            "Settings that need a failed stage stay in the tables, without the numbers."
            + (f" {plural(blocked, 'stage waits', 'stages wait')} for one." if blocked else ""),
            (f"{status.stage.label}: {status.reason}" for status in failed),
        ),
        *caution(
            f"Unfinished: {sum(status.state == 'done' for status in known):,} of {len(known):,} stages done",
            "A setting is compared on a task once all its seeds are done. Run the same command again to continue.",
            [f"not finished: {listing(_unfinished(plan, statuses))}"]
            if any(status.state != "done" for status in evaluations)
            else [],
        ),
        *caution(
            "The comparison is missing",
            "Evaluations are done, but the stage that compares them is not, so there are no estimates.",
            [reason] if reason else [],
        ),
        *caution(
            f"{plural(len(retracted), 'stage is', 'stages are')} retracted",
            "Numbers made from what is retracted are struck out, and are neither compared nor ranked: "
            f"{sum(bool(status.retracted) for status in evaluations):,} of {len(evaluations):,} evaluations.",
            (f"{one.stage.label} ({one.stage.name}): {one.retraction}" for one in retracted),
        ),
        *caution(
            f"{plural(len(pools), 'mixed pool')}: a pick among models",
            "Several models wrote the candidates, so knowing who wrote one may say more than knowing whether it is "
            "right.",
            pools,
        ),
        *caution(
            "More than 1 % of a task does not fit max_tokens",
            "Its scores are of cut texts, or of fewer pairs than requested.",
            truncation_alarms(statuses),
        ),
        *caution(
            "Problems found in the training data",
            "They are left out of every row's numbers.",
            _trained_on(plan, statuses),
        ),
        *caution(
            f"{plural(stale.total(), 'stage')} made by other code",
            "Their source differs from this version's at the same code version. "
            "With runtime.stale_code: rerun they are computed again.",
            [listing([f"{number:,} {kind}" for kind, number in stale.items()])] if stale else (),
        ),
    ]


def judged_tasks(recipe: Recipe) -> tuple[str, ...]:
    """The tasks that models are judged on."""
    return tuple(dict.fromkeys(name for tasks in recipe.evaluate.asked.values() for name in tasks))


def _on_dev(plan: Plan) -> list[str]:
    """The tasks whose dev problems judge, and whose also chose the checkpoints; none where test problems judge."""
    recipe = plan.loaded.recipe
    found = []
    for name in judged_tasks(recipe) if recipe.evaluate.split == "dev" else ():
        tuned = [(one.name, one.setting.experiment.finetune) for one in plan.settings]
        chosen = [setting for setting, block in tuned if (block.select or block.tune) and name in block.tasks]
        found.append(f"{name}: checkpoints of {few(chosen)} were chosen on the same split" if chosen else name)
    return found


def _trained_on(plan: Plan, statuses: Statuses) -> list[str]:
    """Tasks of which problems stand in what models were trained on, with their number."""
    found = []
    for stage in plan.stages:
        record = statuses[stage.fingerprint].record if stage.kind is OVERLAP else None
        if record is not None and record.result["problems"]:
            found.append(f"{stage.label}: {record.result['problems']:,} of {record.result['checked']:,} looked for")
    return found


def _mixed_pools(plan: Plan, statuses: Statuses) -> list[str]:
    """Pools whose candidates have several authors, with their number."""
    found = []
    for stage in plan.stages:
        if stage.kind is CANDIDATES and "pool" in stage.inputs:
            pool = statuses[stage.inputs["pool"].stage.fingerprint].record
            if pool is not None and pool.result["mixed"]:
                found.append(f"{stage.label.removeprefix('candidates ')}: {len(pool.result['sources'])} models")
    return list(dict.fromkeys(found))


def _unfinished(plan: Plan, statuses: Statuses) -> list[str]:
    """Settings, or where all of these are done other rows, that an evaluation is missing of."""

    def is_done(variants: Iterable[Variant]) -> bool:
        return all(statuses[one.stage.fingerprint].state == "done" for variant in variants for one in variant.outcomes)

    settings = [setting.name for setting in plan.settings if not is_done(setting.variants)]
    others = dict.fromkeys(one.setting for one in (*plan.references, *plan.imported) if not is_done([one]))
    return settings or list(others)

"""What a recipe's claims can show: the minimum detectable effect of each on each task, before it is paid for.

Variance components are the workdir's own where an analysis has measured them, else those committed in components.json,
else assumed; every part says which.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import RecipeError
from harness.pipeline.comparing import ANALYSIS
from harness.pipeline.evaluation import JUDGED_ON
from harness.pipeline.evaluations import evaluation_named, headline
from harness.pipeline.graph import Input
from harness.pipeline.kind import Known
from harness.pipeline.tokens import ENCODE
from harness.plan.plan import Plan, PlannedSetting
from harness.plan.power import FEWEST_SEEDS, Design, Enough, SeedSpread, enough, smallest_effect
from harness.plan.rows import Outcome
from harness.recipe.claims import Comparison, Rule, comparisons, tasks_of
from harness.recipe.fields import CODE, before_finetuning
from harness.recipe.load import LoadedRecipe
from harness.store.artifacts import Analysis
from harness.store.store import Snapshot, Store

COMMITTED = Path(__file__).parent / "components.json"
SEEDS = ("pretrain", "finetune")
WORDS = {"pretrain": "PMP", "finetune": "fine-tuning"}
Counts = Mapping[str, int]
"""Seeds by kind; 0 where a setting has none of it."""


@dataclass(frozen=True, kw_only=True)
class Components:
    """Where the variance of a difference comes from, see `Contrast.spread`; None: not known.

    Attributes:
        clusters: a problem.
        source: where they are from, in words.
    """

    problem: float
    pretrain: float | None
    pretrain_rest: float | None
    finetune: float | None
    finetune_rest: float | None
    clusters: float
    source: str


@dataclass(frozen=True, kw_only=True)
class ClaimPower:
    """What a claim can show on a task.

    Attributes:
        comparisons: of settings; their mean is held to be no more precise than one of them.
        problems, seeds: it rests on; None where it can make no claim.
        effect: the minimum detectable effect in the units of the metric; None likewise.
        lacking: why no claim can be made, in words; "" where one can.
        enough: ways to bring the effect to the margin, where it is above; () also where there is none.
    """

    claim: str
    says: str
    rule: Rule
    each: bool
    evaluation: str
    task: str
    metric: str
    comparisons: tuple[Comparison, ...]
    margin: float
    problems: int | None = None
    seeds: Counts | None = None
    effect: float | None = None
    lacking: str = ""
    components: Components | None = None
    enough: tuple[Enough, ...] = ()

    @property
    def detectable(self) -> bool:
        return self.effect is not None and self.effect <= self.margin

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "detectable": self.detectable}


def claim_metric_problems(loaded: LoadedRecipe) -> Iterator[RecipeError]:
    """Metrics of claims that their evaluation does not have."""
    for name, claim in loaded.recipe.claims.items():
        for evaluation in claim.on:
            known = evaluation_named(evaluation).labels
            if claim.metric is not None and claim.metric not in known:
                path = f"claims.{name}.metric"
                value = f"{claim.metric!r} is not one of {', '.join(known)}"
                yield RecipeError(f"`{path}` must be a metric of {evaluation}", value, "", loaded.where(path))


def claims_power(plan: Plan, store: Store) -> list[ClaimPower]:
    """Every claim of a recipe on every task it is about."""
    loaded = plan.loaded
    if not loaded.recipe.claims:
        return []
    known, measured = Known(Snapshot(store)), measured_components(store)
    found = []
    for name, claim in loaded.recipe.claims.items():
        compared = tuple(comparisons(claim, loaded.settings))
        involved = {one for pair in compared for one in (*pair.better, *pair.than)}
        evaluate = next(one for one in loaded.settings if one.name in involved).experiment.evaluate
        for evaluation, task in tasks_of(claim, evaluate):
            rows = _Rows(plan, evaluation, task, compared)
            about = ClaimPower(
                claim=name,
                says=claim.says,
                rule=claim.rule,
                each=claim.each,
                evaluation=evaluation,
                task=task,
                metric=claim.metric or headline(evaluation),
                comparisons=compared,
                margin=claim.margin_of(evaluation),
                lacking=rows.lacking,
            )
            if not rows.lacking:
                components = measured.get((task, evaluation)) or committed_components(evaluation, task == CODE)
                about = _with_effect(about, claim.rule, rows, components, known)
            found.append(about)
    return found


def _with_effect(about: ClaimPower, rule: Rule, rows: _Rows, components: Components, known: Known) -> ClaimPower:
    problems, source = rows.problems(known), components.source
    spreads = []
    for kind in SEEDS:
        count = rows.entering[kind]
        if not count:
            continue
        variance, rest = getattr(components, kind), getattr(components, f"{kind}_rest")
        if variance is None:
            variance, rest = _assumed_seed(components.problem, problems), 0.0
            source += f"; spread of {WORDS[kind]} seeds assumed" if source != ASSUMED else ""
        spreads.append(SeedSpread(count=count, variance=variance, rest=rest, settings=rows.pooled[kind]))
    design = Design(
        problems=problems,
        clusters=max(2.0, problems * components.clusters),
        problem=components.problem,
        seeds=tuple(spreads),
    )
    effect = smallest_effect(design, rule)
    used: dict[str, float] = {}
    for kind, one in zip((kind for kind in SEEDS if rows.entering[kind]), spreads, strict=True):
        used |= {kind: one.variance, f"{kind}_rest": one.rest}
    return replace(
        about,
        problems=problems,
        seeds=rows.seeds,
        effect=effect,
        components=replace(components, source=source, **used),
        enough=() if effect <= about.margin else tuple(enough(design, rule, about.margin)),
    )


# ------------------------------------------------------------------------------------------------ what is compared


class _Rows:
    """The settings that a claim compares, as far as the analysis will have them on a task.

    Attributes:
        lacking: why nothing can be claimed, in words.
        seeds: of each kind, on the side that has more; `entering` those whose spread an interval covers.
        pooled: independent spreads of each kind of seed that the analysis pools.
    """

    def __init__(self, plan: Plan, evaluation: str, task: str, compared: Sequence[Comparison]) -> None:
        self._by_name = {name: setting for setting in plan.settings for name in setting.names}
        self._at = (task, evaluation)
        self._compared = compared
        self.lacking = next(self._reasons(), "")
        if self.lacking:
            return
        better, than = (self._by_name[names[0]] for names in (compared[0].better, compared[0].than))
        sides = self._counts(better), self._counts(than)
        self.seeds = {kind: max(side[kind] for side in sides) for kind in SEEDS}
        self.entering = {kind: count if count > 1 else 0 for kind, count in self.seeds.items()}
        comparable = (one for one in plan.settings if self._data(one) == self._data(better))
        rows = {self._models(one): self._counts(one) for one in comparable}.values()
        alike = [sum(its == side for its in rows) for side in sides]
        if sides[0] == sides[1]:
            self.pooled = dict.fromkeys(SEEDS, max(1, alike[0] - 1))
        else:  # as `evaluation.seeds.spreads` counts them, which imports numpy
            there = {kind: [n for n, side in zip(alike, sides, strict=True) if side[kind]] for kind in SEEDS}
            self.pooled = {kind: min(counts, default=1) for kind, counts in there.items()}

    def problems(self, known: Known) -> int:
        """Fewest of the settings, as far as a plan can tell."""
        outcomes = (self._outcome(self._by_name[name]) for name in self._names)
        return max(2, min(_problems(one, known) for one in outcomes if one is not None))

    @property
    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for one in self._compared for name in (*one.better, *one.than)))

    def _reasons(self) -> Iterator[str]:
        for name in self._names:
            outcome = self._outcome(self._by_name[name])
            if outcome is None:
                yield f"{name} has no trained reward head on {self._at[0]}"
        for one in self._compared:
            data = {self._data(self._by_name[name]) for name in (*one.better, *one.than)}
            if len(data) > 1:
                yield f"{one.better[0]} and {one.than[0]} are judged on different data"
            if {self._by_name[name].name for name in one.better} & {self._by_name[name].name for name in one.than}:
                yield f"{one.better[0]} and {one.than[0]} are the same models"
        for name in self._names:
            counts = self._counts(self._by_name[name])
            kind = next((kind for kind in SEEDS if counts[kind]), None)
            if kind is not None and counts[kind] < FEWEST_SEEDS:
                many = f"{counts[kind]} {WORDS[kind]} seed{'s' * (counts[kind] != 1)}"
                yield f"{many}: fewer than {FEWEST_SEEDS} claim nothing; raise seeds.{kind}"

    def _counts(self, setting: PlannedSetting) -> Counts:
        seeds = setting.setting.experiment.seeds
        trained = setting.setting.experiment.pretrain is not None
        return {
            "pretrain": seeds.pretrain if trained else 0,
            "finetune": 0 if before_finetuning(self._at[0]) else seeds.finetune,
        }

    def _outcome(self, setting: PlannedSetting) -> Outcome | None:
        found = (one for one in setting.variants[0].outcomes if (one.task, one.metric) == self._at)
        return next(found, None)

    def _models(self, setting: PlannedSetting) -> tuple[str, ...]:
        """What judges each of its models here: the same for settings that are the same until they are judged."""
        outcomes = (one for variant in setting.variants for one in variant.outcomes)
        return tuple(one.stage.fingerprint for one in outcomes if (one.task, one.metric) == self._at)

    def _data(self, setting: PlannedSetting) -> str:
        judged = _judged_on(self._outcome(setting))
        return "" if judged is None else judged.stage.fingerprint


def _judged_on(outcome: Outcome | None) -> Input | None:
    inputs: Mapping[str, Input] = {} if outcome is None else outcome.stage.inputs
    return next((inputs[name] for name in JUDGED_ON if name in inputs), None)


def _problems(outcome: Outcome, known: Known) -> int:
    """What is scored, which may be fewer than there are, of those that fit."""
    scored = outcome.stage.inputs.get("scores")
    if scored is not None and "tokens" in scored.stage.inputs:
        return round(ENCODE.groups(scored.stage.inputs["tokens"].stage, known))
    judged = _judged_on(outcome)
    return 0 if judged is None else judged.rows or round(judged.stage.kind.groups(judged.stage, known))


# ------------------------------------------------------------------------------------------------------ components

ASSUMED = "assumed"


def measured_components(store: Store) -> dict[tuple[str, str], Components]:
    """(task, evaluation) -> means over the differences of the latest analysis of a workdir that has any on it."""
    found: dict[tuple[str, str], Components] = {}
    records = [one for one in store.records(ANALYSIS.name) if store.has_payload(one) and not store.damage(one)]
    records.sort(key=lambda one: float(store.run_facts(one)["finished"]), reverse=True)
    for record in records:
        folder = store.directory(ANALYSIS.name, record.fingerprint)
        content = json.loads(Analysis(folder).path.read_text(encoding="utf-8"))
        rows: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for one in content["differences"]:
            # Analyses before version 6 have no components; the same models, no spread.
            if one["kind"] == "setting" and "components" in one and one["low"] < one["high"]:
                rows[one["task"], one["evaluation"]].append(one)
        for at, differences in rows.items():
            found.setdefault(at, _mean(differences, f"measured here, {ANALYSIS.name}/{record.fingerprint[:12]}"))
    return found


def _mean(differences: Sequence[Mapping[str, Any]], source: str) -> Components:
    def part(name: str) -> float | None:
        values = [one["components"][name] for one in differences if one["components"][name] is not None]
        return max(0.0, sum(values) / len(values)) if values else None

    seeds = {name: part(name) for kind in SEEDS for name in (kind, f"{kind}_rest")}
    problems = sum(one["problems"] for one in differences)
    clusters = sum(one["clusters"] for one in differences) / problems
    return Components(problem=part("problem") or 0.0, **seeds, clusters=clusters, source=source)


@cache
def committed_components(evaluation: str, of_code: bool) -> Components:
    """Those measured by a recipe of the repository, what it did not measure by the next; else assumed ones."""
    data = json.loads(COMMITTED.read_text(encoding="utf-8"))
    on = CODE if of_code else "tasks"
    entries = [one for one in data["measured"] if (one["evaluation"], one["on"]) == (evaluation, on)]
    if not entries:
        accuracy, correlation = data["assumed"]["accuracy"], data["assumed"]["correlation"]
        return Components(
            problem=2 * accuracy * (1 - accuracy) * (1 - correlation),
            **dict.fromkeys((*SEEDS, *(f"{kind}_rest" for kind in SEEDS))),
            clusters=1.0,
            source=ASSUMED,
        )
    first, used = entries[0], [entries[0]["results"]]
    parts = {"problem": first["problem"]}
    for kind in SEEDS:
        entry = next((one for one in entries if one[kind] is not None), first)
        parts |= {kind: entry[kind], f"{kind}_rest": entry[f"{kind}_rest"]}
        used.append(entry["results"])
    source = f"measured in {' and '.join(dict.fromkeys(used))}"
    return Components(**parts, clusters=first["clusters"] / first["problems"], source=source)


def _assumed_seed(problem: float, problems: int) -> float:
    """The variance of one seed's mean: its deviation is a multiple of the problems' error."""
    ratio = json.loads(COMMITTED.read_text(encoding="utf-8"))["assumed"]["seed_sd"]
    return float(ratio) ** 2 * problem / problems

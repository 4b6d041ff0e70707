"""Everything a report says, gathered once as plain data for HTML, Markdown, CSV and JSON. It renders nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.pipeline.training_kinds import BASE
from harness.plan.plan import Plan
from harness.recipe.axes import Axis
from harness.recipe.schema import Recipe
from harness.recipe.tasks import ALL, PoolTaskBlock
from harness.report.answer import answer
from harness.report.curves import Curve, training_curves
from harness.report.data import (
    PairExample,
    Payloads,
    PoolExample,
    data_tables,
    pair_examples,
    pool_examples,
    quality_examples,
)
from harness.report.effects import effect_tables
from harness.report.facts import Facts
from harness.report.failures import TaskFailures, alarms, task_failures
from harness.report.methods import covers, levels, methods, model_words, sharing
from harness.report.overview import Caution, Overview, caution, judged_tasks
from harness.report.provenance import Link, Origin, data_stages, environments, origins
from harness.report.search import SearchReport, search_report
from harness.report.settings import SettingFacts, parameters, probe_table, setting_facts, training_table, tuning_table
from harness.report.spent import Device, Spent, device_of, spent
from harness.report.status import Runs, Statuses
from harness.report.times import time_tables
from harness.report.version import harness_version
from harness.report.words import TIMES, listing, moment, plural
from harness.search.state import SearchState
from harness.store.record import Record
from harness.store.store import Store


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """A report's content.

    Attributes:
        answer: what the settings come to, in sentences.
        facts: what was run, as (name, value); `line` is the few of them that a reader needs first.
        effects: what each axis does.
        failures: where models fail, by task.
        search: what the recipe's search has come to; None without one, or before it began.
        axes: what the settings differ on.
        spent: what each setting cost, in hours of `device`.
        damaged: what of the payloads shown here is not as its record has it.
        parts: of a report of several recipes, each one's own.
    """

    name: str
    notes: str
    answer: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    line: str
    overview: Overview
    effects: tuple[Facts, ...]
    cautions: tuple[Caution, ...]
    settings: tuple[SettingFacts, ...]
    parameters: Facts
    training: Facts
    probes: Facts
    tuning: Facts
    curves: tuple[Curve, ...]
    failures: Mapping[str, TaskFailures]
    data: tuple[Facts, ...]
    pairs: tuple[PairExample, ...]
    judged_pairs: tuple[PairExample, ...]
    pools: tuple[PoolExample, ...]
    shared: tuple[str, ...]
    times: tuple[Facts, ...]
    methods: tuple[str, ...]
    origins: tuple[Origin, ...]
    data_stages: tuple[Link, ...]
    unfinished: Facts
    search: SearchReport | None = None
    axes: tuple[Axis, ...] = ()
    spent: Mapping[str, Spent] = field(default_factory=dict)
    device: Device = "CPU"
    damaged: tuple[str, ...] = ()
    parts: tuple[ReportData, ...] = ()

    @property
    def recipes(self) -> tuple[tuple[str, ReportData], ...]:
        """Each recipe's own report, with its name where there are several, else ""."""
        return tuple((one.name, one) for one in self.parts) or (("", self),)

    @property
    def searched(self) -> tuple[tuple[str, SearchReport], ...]:
        """Every search of the report, named likewise."""
        return tuple((name, one.search) for name, one in self.recipes if one.search is not None)


def collect(plan: Plan, store: Store, seen: Overview, search: SearchState | None = None) -> ReportData:
    """Gather a report from a plan's records, events and small parts of its artifacts."""
    statuses, payloads = seen.statuses, Payloads(seen.statuses, store)
    pairs, judged = pair_examples(plan, payloads), quality_examples(plan, payloads)
    pools, failures = pool_examples(plan, payloads), task_failures(plan, statuses, payloads)
    records = [record for stage in plan.stages if (record := statuses[stage.fingerprint].record) is not None]
    runs, settings = {record.fingerprint: seen.runs[record.fingerprint] for record in records}, setting_facts(plan)
    return ReportData(
        name=plan.loaded.recipe.name,
        notes=plan.loaded.recipe.notes,
        answer=answer(seen.boards),
        facts=_header(plan, settings, runs, seen),
        line=_line(plan, settings, seen),
        overview=seen,
        effects=effect_tables(seen.effects, plan.loaded.axes),
        cautions=(
            *alarms(plan, statuses),
            *seen.cautions,
            *caution(
                f"Damaged files of {plural(len(payloads.damaged), 'stage')}",
                "Their examples are left out.",
                payloads.damaged,
            ),
        ),
        settings=settings,
        parameters=parameters(plan),
        training=training_table(plan, statuses),
        probes=probe_table(plan, statuses),
        tuning=tuning_table(plan, statuses),
        curves=training_curves(plan, statuses, store),
        failures=failures,
        data=data_tables(plan, statuses),
        pairs=pairs,
        judged_pairs=judged,
        pools=pools,
        shared=sharing(plan),
        times=time_tables(plan, statuses, runs),
        methods=methods(plan, seen.boards),
        origins=origins(seen.boards, statuses),
        data_stages=data_stages(plan, statuses),
        unfinished=_unfinished(plan, statuses),
        search=None if search is None else search_report(plan, store, seen, search),
        axes=plan.loaded.axes,
        spent=spent(plan, statuses, runs),
        device=device_of(records),
        damaged=tuple(payloads.damaged),
    )


def _header(plan: Plan, settings: Sequence[SettingFacts], runs: Runs, seen: Overview) -> tuple[tuple[str, str], ...]:
    recipe = plan.loaded.recipe
    statuses = seen.statuses
    done = [record for stage in plan.stages if (record := statuses[stage.fingerprint].record) is not None]
    split = recipe.evaluate.split
    asked = {name: getattr(recipe.tasks[name].problems, split) for name in judged_tasks(recipe)}
    problems = listing([f"{name} {count if count == ALL else f'{count:,}'}" for name, count in asked.items()])
    seeds, samples = recipe.seeds, _samples(plan)
    estimates = [one for board in seen.boards for row in board.rows for one in row.estimates.values()]
    facts = [
        ("Settings", f"{len(plan.settings):,} ({plural(len(plan.variants), 'variant')} with seeds)"),
        ("Model", _model(plan, statuses)),
        ("PMP pairs trained", _pairs(settings)),
        ("Fine-tuning", f"{samples} pairs of {listing(recipe.finetune.tasks)}" if samples else ""),
        ("Tasks", listing([f"{name} ({task.kind})" for name, task in recipe.tasks.items()])),
        ("Candidate pools", _pools(recipe)),
        (f"{split.capitalize()} problems", problems),
        ("Seeds", f"{seeds.pretrain} {TIMES} {seeds.finetune} (PMP {TIMES} fine-tuning), data seed {seeds.data}"),
        ("Intervals", f"{levels(estimates)}, over {covers(estimates)}" if estimates else "none yet"),
        ("Stages", f"{len(done):,} of {len(plan.stages):,} done; {plan.asked:,} before sharing"),
        ("Computed with", _computed_with(done)),
        ("Harness", str(harness_version())),
        ("Last stage finished", _last_finished(runs)),
        *((name, value) for name, value in recipe.tags.items()),
    ]
    return tuple((name, value) for name, value in facts if value)


def _line(plan: Plan, settings: Sequence[SettingFacts], seen: Overview) -> str:
    """Models, pairs, tasks, seeds and state, in one line."""
    recipe, statuses = plan.loaded.recipe, seen.statuses
    states = Counter(statuses[stage.fingerprint].state for stage in plan.stages)
    pairs, samples, seeds = _pairs(settings), _samples(plan), recipe.seeds
    parts = [
        plural(len(plan.settings), "setting"),
        _model(plan, statuses),
        f"{pairs} PMP pairs" if pairs else "",
        f"fine-tuned on {samples} pairs" if samples else "",
        f"judged on {listing([board.title for board in seen.boards])}",
        f"{seeds.pretrain} {TIMES} {seeds.finetune} seeds" if samples else plural(seeds.pretrain, "PMP seed"),
        f"{states['done']:,} of {len(plan.stages):,} stages done",
        plural(states["failed"], "stage failed", "stages failed") if states["failed"] else "",
    ]
    return " \N{MIDDLE DOT} ".join(filter(None, parts))


def _pools(recipe: Recipe) -> str:
    """Where the candidates of all tasks come from."""
    made = recipe.evaluate.candidates
    told = [] if made is None else [f"{made.engine}, {made.samples:,} candidates a problem"]
    tasks = {name: recipe.tasks[name] for name in judged_tasks(recipe)}
    told += [
        f"{name}: imported pool {task.imported}" for name, task in tasks.items() if isinstance(task, PoolTaskBlock)
    ]
    return "; ".join(told)


def _model(plan: Plan, statuses: Statuses) -> str:
    """The models of all settings, with the parameters that were counted."""
    models = dict.fromkeys(model_words(setting.setting.experiment.model) for setting in plan.settings)
    records = [statuses[stage.fingerprint].record for stage in plan.stages if stage.kind is BASE]
    counts = sorted({int(record.result["parameters"]) for record in records if record is not None})
    counted = f"; {listing([f'{number:,}' for number in counts])} parameters" if counts else ""
    return "; ".join(models) + counted


def _pairs(settings: Sequence[SettingFacts]) -> str:
    numbers = sorted({facts.pairs for facts in settings} - {0})
    return listing([f"{number:,}" for number in numbers])


def _samples(plan: Plan) -> str:
    """Fine-tuning pairs of the settings that are fine-tuned."""
    tuned = [one.setting for one in plan.settings if any(variant.finetuned for variant in one.variants)]
    return listing([f"{number:,}" for number in sorted({one.experiment.finetune.samples for one in tuned})])


def _computed_with(records: Iterable[Record]) -> str:
    """Devices and versions of Python and libraries."""
    names = {"device": "", "python": "Python "}
    return ", ".join(names.get(name, f"{name} ") + version for name, version in environments(records).items())


def _last_finished(runs: Runs) -> str:
    times = [float(run["finished"]) for run in runs.values()]
    return moment(max(times)) if times else ""


def _unfinished(plan: Plan, statuses: Statuses) -> Facts:
    rows = [
        (stage.label, status.state, status.reason, stage.name)
        for stage in plan.stages
        if (status := statuses[stage.fingerprint]).state != "done"
    ]
    return Facts(
        title="Stages not done", columns=("stage", "state", "reason", "record"), rows=tuple(rows), words=range(4)
    )

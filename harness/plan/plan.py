"""From a loaded recipe to a plan: variants, and the deduplicated stages they need."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import pairwise
from types import MappingProxyType

from harness.pipeline.evaluations import evaluations_of
from harness.pipeline.evaluations.best_of_n import BestOfN
from harness.pipeline.failures import JudgedRun, failures_of
from harness.pipeline.graph import Graph, Stage, times_needed
from harness.pipeline.imports import NO_IMPORTS, Import, Imports, scored_tasks
from harness.pipeline.optimization import steps_of
from harness.pipeline.pipeline import Pipeline
from harness.pipeline.scores import UNFITTED, Scorer
from harness.pipeline.tasks import judging_split
from harness.pipeline.training import trains_head
from harness.pipeline.training_kinds import TRUNK_STATE, trunk_of
from harness.plan.baseline import baseline_setting
from harness.recipe.evaluate import ImportedRow
from harness.recipe.fields import CODE
from harness.recipe.load import LoadedRecipe, Setting
from harness.recipe.lock import Commits
from harness.recipe.pairs import MadePairs
from harness.recipe.schema import Experiment, Recipe
from harness.recipe.search import Objective
from harness.store.record import Record

POOL, IMPORTED = "pool", "imported"  # the row of what a pool gives without a scorer; the kind of a row from outside

ON_PAIRS_OF = " on pairs of "
"""In a reference's name between the scorer and a setting, where settings are judged on different code pairs."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One evaluated thing: `metric` (the evaluation, or what gives its baselines) of a row on a task."""

    task: str
    metric: str
    stage: Stage


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Pair accuracy on a task of a run's stable path after so many pairs."""

    pairs: int
    task: str
    stage: Stage


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A setting with one combination of seeds. `pretrain_seed` is None for an arm without PMP.

    `pretrained` and `finetuned` are its training stages; a reference scorer has none, and where held-out code alone
    judges nothing is fine-tuned. `checks` look at the training pairs, `probes` at its PMP on the way, `dev` at what a
    search chose it by; none of them is an outcome.
    """

    setting: str
    pretrain_seed: int | None
    finetune_seed: int | None
    outcomes: tuple[Outcome, ...]
    pretrained: Stage | None = None
    finetuned: Stage | None = None
    checks: tuple[Stage, ...] = ()
    probes: tuple[Probe, ...] = ()
    dev: tuple[Outcome, ...] = ()

    @property
    def targets(self) -> tuple[Stage, ...]:
        """Everything asked for by name."""
        return (
            *(outcome.stage for outcome in self.outcomes),
            *self.checks,
            *(probe.stage for probe in self.probes),
            *(outcome.stage for outcome in self.dev),
        )


@dataclass(frozen=True, kw_only=True)
class PlannedSetting:
    """A setting with all its names, and its values by axis at each: settings whose stages coincide are one."""

    names: tuple[str, ...]
    setting: Setting
    variants: tuple[Variant, ...]
    points: tuple[Mapping[str, str], ...]

    @property
    def name(self) -> str:
        return " = ".join(self.names)

    @property
    def values(self) -> dict[str, str]:
        """Its value on each axis that it depends on: where its names differ, the axis does not matter to it."""
        first, *others = self.points
        return {axis: name for axis, name in first.items() if all(other.get(axis) == name for other in others)}


@dataclass(frozen=True, kw_only=True)
class RowFailures:
    """The stage that looks where the models of a setting, or of a row from outside, fail on a task."""

    row: str
    task: str
    stage: Stage


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a recipe asks for.

    Attributes:
        stages: deduplicated, inputs first.
        asked: how many stages there would be if every variant ran alone.
        commits: of the hub models' revisions, as far as they are known.
        references: shallow scorers, one a fine-tuning seed, in the shape of variants.
        imported: rows from outside, in the shape of variants; `assets` is what each was made from.
        failures: where rows fail; targets, and no outcomes.
        targets: what was asked for: the outcomes, the checks of training pairs, and where rows fail.
    """

    loaded: LoadedRecipe
    graph: Graph
    settings: tuple[PlannedSetting, ...]
    references: tuple[Variant, ...]
    targets: tuple[Stage, ...]
    stages: tuple[Stage, ...]
    asked: int
    imported: tuple[Variant, ...] = ()
    assets: Mapping[str, Import] = field(default_factory=dict)
    commits: Commits = field(default_factory=dict)
    failures: tuple[RowFailures, ...] = ()

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(variant for setting in self.settings for variant in setting.variants)

    @property
    def everyone(self) -> tuple[Variant, ...]:
        """Variants and every other row of the board."""
        return (*self.variants, *self.references, *self.imported)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return tuple(outcome for variant in self.everyone for outcome in variant.outcomes)


@contextmanager
def without_collections() -> Iterator[None]:
    """What a plan or a report makes lives on; looking for garbage meanwhile would take half the time of a large one."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def pipeline_of(loaded: LoadedRecipe, imports: Imports, commits: Commits, forks: Mapping[str, Record]) -> Pipeline:
    """A pipeline for a recipe's settings, see `make_plan`; it has planned nothing yet."""
    pairs = most_pairs(loaded)
    return Pipeline(Graph(), loaded.recipe.seeds.data, pairs, imports=imports, commits=commits, forks=forks)


@without_collections()
def make_plan(
    loaded: LoadedRecipe,
    imports: Imports = NO_IMPORTS,
    commits: Commits = MappingProxyType({}),
    forks: Mapping[str, Record] = MappingProxyType({}),
) -> Plan:
    """Expand a recipe into its plan.

    Args:
        imports: what the recipe may name; it was checked by `import_problems`.
        forks: the states it goes on from, see `forks_of`.
        commits: which commit a hub model's revision stands for, as far as that is known.

    Raises:
        MissingRequirement: a package the corpus or a task needs is not installed.
    """
    recipe = loaded.recipe
    pipeline = pipeline_of(loaded, imports, commits, forks)
    graph = pipeline.graph
    merged: dict[tuple[str, ...], list[tuple[Setting, tuple[Variant, ...]]]] = {}
    for setting in loaded.settings:
        variants = tuple(_variants(pipeline, setting, recipe.search.objectives if recipe.search else ()))
        ends = tuple(outcome.stage.fingerprint for variant in variants for outcome in variant.outcomes)
        merged.setdefault(ends, []).append((setting, variants))
    settings = tuple(
        PlannedSetting(
            names=tuple(setting.name for setting, _ in group),
            setting=group[0][0],
            variants=group[0][1],
            points=tuple(setting.values for setting, _ in group),
        )
        for group in merged.values()
    )
    references = tuple(_references(pipeline, loaded))
    imported = tuple(_imported(pipeline, recipe))
    everyone = [*(variant for setting in settings for variant in setting.variants), *references, *imported]
    # Of settings that coincide every one's checks: one may only warn where another stops.
    checks = [check for group in merged.values() for _, variants in group for one in variants for check in one.checks]
    checks += [probe.stage for group in merged.values() for _, many in group for one in many for probe in one.probes]
    failures = tuple(_failures(pipeline, recipe, settings, imported))
    looks = [one.stage for one in failures]
    matched = [one for one in loaded.settings if one.experiment.pretrain and one.experiment.pretrain.match]
    counted = [pipeline.tally(one.experiment) for one in (*loaded.waiting, *matched)]
    targets = dict.fromkeys([*(stage for variant in everyone for stage in variant.targets), *checks, *looks, *counted])
    order_trunks(graph)
    stages = tuple(graph.in_order(targets))
    asked = sum(times for _, times in times_needed(stages, [one.targets for one in everyone])) + len(set(looks))
    return Plan(
        loaded=loaded,
        graph=graph,
        settings=settings,
        references=references,
        imported=imported,
        assets={name: _asset(imports, row) for name, row in recipe.evaluate.imported.items()},
        targets=tuple(targets),
        stages=stages,
        asked=asked,
        commits=commits,
        failures=failures,
    )


def _failures(
    pipeline: Pipeline, recipe: Recipe, settings: Sequence[PlannedSetting], imported: Sequence[Variant]
) -> Iterator[RowFailures]:
    """Of every row and task with Best-of-N; settings beside the baseline."""
    baseline = baseline_setting(settings, recipe.baseline)
    rows: list[tuple[str, Experiment, tuple[Variant, ...]]]
    rows = [(one.name, one.setting.experiment, one.variants) for one in settings]
    rows += [(one.setting, recipe, (one,)) for one in imported]
    for name, experiment, variants in rows:
        for task in BestOfN().tasks(experiment) if experiment.evaluate.failures != "none" else ():
            runs = _judged(variants, task)
            if runs:
                against = [] if variants is baseline.variants else _judged(baseline.variants, task)
                yield RowFailures(
                    row=name, task=task, stage=failures_of(pipeline, experiment, task, runs, against, name)
                )


def _judged(variants: Sequence[Variant], task: str) -> list[JudgedRun]:
    return [
        JudgedRun(
            pretrain_seed=variant.pretrain_seed,
            finetune_seed=variant.finetune_seed,
            outcome=outcome.stage,
            model=variant.finetuned,
        )
        for variant in variants
        for outcome in variant.outcomes
        if (outcome.task, outcome.metric) == (task, BestOfN.name)
    ]


def most_pairs(loaded: LoadedRecipe) -> dict[str, int]:
    """n_max of every pair stream, in whole global batches of the setting that asks for it, searched ones included."""
    probe = Pipeline(Graph(), loaded.recipe.seeds.data, {})
    most: dict[str, int] = {}
    replayed: dict[str, int] = {}
    for setting in (*loaded.settings, *loaded.ends):
        experiment = setting.experiment
        if experiment.pretrain is not None and experiment.pretrain.on == "pairs":
            key = probe.pair_key(experiment)
            most[key] = max(most.get(key, 0), steps_of(experiment.pretrain, experiment.pairs.count).pairs)
        elif experiment.finetune.replay:
            key = probe.pair_key(experiment)
            replayed[key] = max(replayed.get(key, 0), experiment.pairs.count)
    return replayed | most  # what PMP reads does not depend on who else replays it


def _variants(pipeline: Pipeline, setting: Setting, objectives: Sequence[Objective]) -> list[Variant]:
    experiment = setting.experiment
    seeds: list[int | None] = [None] if experiment.pretrain is None else list(experiment.seeds.pretrains)
    asked = objectives if setting.chosen else ()
    finetunes = bool(experiment.evaluate.asked) or any(objective.task != CODE for objective in asked)
    variants = []
    for pretrain_seed in seeds:
        pretrained = None if pretrain_seed is None else pipeline.pretrain(experiment, pretrain_seed)
        start = pretrained or pipeline.base(experiment)
        probes = () if pretrain_seed is None else pipeline.probes(experiment, pretrain_seed)
        label = setting.name if pretrain_seed is None else f"{setting.name} pretrain {pretrain_seed}"
        for finetune_seed in experiment.seeds.finetunes:
            finetuned = cache(partial(pipeline.finetuned, experiment, start, finetune_seed, label))
            outcomes = _outcomes(pipeline, setting, pretrained, start, finetuned, f"{label} finetune {finetune_seed}")
            variants.append(
                Variant(
                    setting=setting.name,
                    pretrain_seed=pretrain_seed,
                    finetune_seed=finetune_seed,
                    outcomes=tuple(outcomes),
                    pretrained=pretrained,
                    finetuned=finetuned() if finetunes else None,
                    checks=pipeline.checks(experiment),
                    probes=tuple(Probe(pairs=pairs, task=task, stage=stage) for pairs, task, stage in probes),
                    dev=tuple(_on_dev(pipeline, experiment, start, finetuned, label, asked)),
                )
            )
    return variants


def _outcomes(
    pipeline: Pipeline,
    setting: Setting,
    pretrained: Stage | None,
    start: Stage,
    finetuned: Callable[[], Stage],
    label: str,
) -> list[Outcome]:
    experiment = setting.experiment
    outcomes = []
    for evaluation in evaluations_of(experiment):
        for task in evaluation.tasks(experiment):
            stage = pipeline.judged(evaluation, experiment, task, finetuned(), label)
            outcomes.append(Outcome(task=task, metric=evaluation.name, stage=stage))
        for task in evaluation.of_pretraining(experiment):
            if not evaluation.rewards or (pretrained is not None and trains_head(experiment)):
                stage = pipeline.judged(evaluation, experiment, task, start, start.label)
                outcomes.append(Outcome(task=task, metric=evaluation.name, stage=stage))
    return outcomes


def _on_dev(
    pipeline: Pipeline,
    experiment: Experiment,
    start: Stage,
    finetuned: Callable[[], Stage],
    label: str,
    objectives: Sequence[Objective],
) -> Iterator[Outcome]:
    """What a search chose a setting by, as far as it is defined for it."""
    for objective in objectives:
        stage = pipeline.judged_by(objective, experiment, start, finetuned, label)
        if stage is not None:
            yield Outcome(task=objective.task, metric=objective.evaluation, stage=stage)


def _references(pipeline: Pipeline, loaded: LoadedRecipe) -> list[Variant]:
    """Shallow scorers of the base experiment, fitted on the same pairs as each fine-tuning seed.

    Held-out code pairs that judge other settings than the first have scorers of their own, fitted on those settings'.
    """
    experiment = loaded.recipe
    finetunes = sorted({seed for setting in loaded.settings for seed in setting.experiment.seeds.finetunes})
    evaluations = evaluations_of(experiment)
    rewarding = [evaluation for evaluation in evaluations if evaluation.rewards]
    pools = []
    for evaluation in evaluations:
        for task in evaluation.tasks(experiment):
            stage = pipeline.baselines(evaluation, experiment, task)
            if stage is not None:
                pools.append(Outcome(task=task, metric=stage.kind.name, stage=stage))
    references = [Variant(setting=POOL, pretrain_seed=None, finetune_seed=None, outcomes=tuple(pools))]
    on_code = _judged_on_code(pipeline, loaded)

    def judged(scorer: Scorer, seed: int | None, code: Sequence[Setting], *, of: str = "") -> None:
        outcomes = []
        for evaluation in rewarding:
            asked = [] if of else [(task, experiment) for task in evaluation.tasks(experiment)]
            asked += [(task, one.experiment) for one in code for task in evaluation.of_pretraining(one.experiment)]
            for task, one in asked:
                stage = pipeline.judged_reference(evaluation, one, task, scorer, seed or 0, of)
                if stage is not None:
                    outcomes.append(Outcome(task=task, metric=evaluation.name, stage=stage))
        if outcomes:
            name = f"{scorer}{ON_PAIRS_OF}{of}" if of else scorer
            variant = Variant(setting=name, pretrain_seed=None, finetune_seed=seed, outcomes=tuple(outcomes))
            references.append(variant)

    for scorer in experiment.evaluate.reference_scorers:
        seeds: Iterable[int | None] = (None,) if scorer in UNFITTED else finetunes
        for seed in seeds:
            judged(scorer, seed, on_code[:1])
        for other in on_code[1:]:
            judged(scorer, None, [other], of=other.name)
    return references


def _judged_on_code(pipeline: Pipeline, loaded: LoadedRecipe) -> list[Setting]:
    """A setting of each set of held-out code pairs that judges any.

    First the recipe itself, where its pairs are read at all; else rather one that trains on what it is judged on.
    """

    def trains_on_others(setting: Setting) -> bool:
        pairs = setting.experiment.pairs
        return isinstance(pairs, MadePairs) and pairs.training_sides != pairs.sides

    base = Setting(name="", values={}, experiment=loaded.recipe)
    settings = [setting for setting in loaded.settings if trains_head(setting.experiment)]
    found: dict[str, Setting] = {}
    for setting in (base, *sorted(settings, key=trains_on_others)):
        one = setting.experiment
        is_read = one.pretrain is not None and one.pretrain.on == "pairs" and pipeline.pair_key(one) in pipeline.rows
        if is_read and one.evaluate.code_pairs is not None:
            found.setdefault(pipeline.heldout_pairs(one, judging_split(one, CODE)).fingerprint, setting)
    return list(found.values())


def _imported(pipeline: Pipeline, experiment: Experiment) -> list[Variant]:
    """Rows from outside, judged on the base experiment's tasks where they can be."""
    rows = []
    for name, row in experiment.evaluate.imported.items():
        scored = () if row.scores is None else scored_tasks(experiment, row, _asset(pipeline.imports, row))
        outcomes = []
        for evaluation in evaluations_of(experiment):
            for task in evaluation.tasks(experiment):
                stage = None
                if row.checkpoint is not None:
                    stage = pipeline.judged_checkpoint(evaluation, experiment, task, name, row)
                elif task in scored:
                    stage = pipeline.judged_scores(evaluation, experiment, task, name, row)
                if stage is not None:
                    outcomes.append(Outcome(task=task, metric=evaluation.name, stage=stage))
        rows.append(Variant(setting=name, pretrain_seed=None, finetune_seed=None, outcomes=tuple(outcomes)))
    return rows


def _asset(imports: Imports, row: ImportedRow) -> Import:
    return imports["scores", row.scores] if row.scores is not None else imports["checkpoint", str(row.checkpoint)]


def order_trunks(graph: Graph) -> None:
    """Run the states of one trunk in order of step, so that each goes on from the one before."""
    trunks: dict[str, list[Stage]] = {}
    for stage in graph:
        if stage.kind is TRUNK_STATE:
            trunks.setdefault(trunk_of(stage.identity), []).append(stage)
    for states in trunks.values():
        states.sort(key=lambda state: int(state.spec.step))
        for before, state in pairwise(states):
            state.after.append(before)

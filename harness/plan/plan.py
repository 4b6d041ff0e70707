"""From a loaded recipe to a plan: variants, and the deduplicated stages they need."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import pairwise
from types import MappingProxyType

from harness.pipeline.evaluations import evaluations_of
from harness.pipeline.evaluations.best_of_n import BestOfN
from harness.pipeline.failures import JudgedRun, failures_of
from harness.pipeline.graph import Graph, Stage, times_needed
from harness.pipeline.imports import NO_IMPORTS, Import, Imports
from harness.pipeline.optimization import steps_of
from harness.pipeline.pipeline import Pipeline
from harness.pipeline.training import trains_head
from harness.pipeline.training_kinds import TRUNK_STATE, trunk_of
from harness.plan.baseline import baseline_setting
from harness.plan.references import asset_of, imported_of, references_of
from harness.plan.rows import Outcome, Probe, Variant
from harness.recipe.axes import ALSO
from harness.recipe.fields import CODE
from harness.recipe.load import LoadedRecipe, Setting
from harness.recipe.lock import NO_LOCK, Lock
from harness.recipe.schema import Experiment, Recipe
from harness.recipe.search import Objective
from harness.store.record import Record


@dataclass(frozen=True, kw_only=True)
class PlannedSetting:
    """A setting with all its names, and its values by axis at each: settings whose stages coincide are one."""

    names: tuple[str, ...]
    setting: Setting
    variants: tuple[Variant, ...]
    points: tuple[Mapping[str, str], ...]

    @property
    def name(self) -> str:
        return ALSO.join(self.names)

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
        lock: what is known of the hub's revisions.
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
    lock: Lock = NO_LOCK
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


def pipeline_of(loaded: LoadedRecipe, imports: Imports, lock: Lock, forks: Mapping[str, Record]) -> Pipeline:
    """A pipeline for a recipe's settings, see `make_plan`; it has planned nothing yet."""
    pairs = most_pairs(loaded)
    return Pipeline(Graph(), loaded.recipe.seeds.data, pairs, imports=imports, lock=lock, forks=forks)


@without_collections()
def make_plan(
    loaded: LoadedRecipe,
    imports: Imports = NO_IMPORTS,
    lock: Lock = NO_LOCK,
    forks: Mapping[str, Record] = MappingProxyType({}),
) -> Plan:
    """Expand a recipe into its plan.

    Args:
        imports: what the recipe may name; it was checked by `import_problems`.
        forks: the states it goes on from, see `forks_of`.
        lock: what is known of the hub's revisions.

    Raises:
        MissingRequirement: a package the corpus or a task needs is not installed.
    """
    recipe = loaded.recipe
    pipeline = pipeline_of(loaded, imports, lock, forks)
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
    references = tuple(references_of(pipeline, loaded))
    imported = tuple(imported_of(pipeline, recipe))
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
        assets={name: asset_of(imports, row) for name, row in recipe.evaluate.imported.items()},
        targets=tuple(targets),
        stages=stages,
        asked=asked,
        lock=lock,
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

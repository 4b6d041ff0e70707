"""The stages of one trial of a search: a setting, trained with the search's seeds and judged on dev."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import MappingProxyType

from harness.errors import PlanError, ProblemList, RecipeError
from harness.pipeline.evaluations.pair_accuracy import PairAccuracy
from harness.pipeline.graph import Graph, Stage
from harness.pipeline.imports import NO_IMPORTS, Imports
from harness.pipeline.optimization import steps_of
from harness.pipeline.pipeline import Pipeline
from harness.pipeline.training import trains_head
from harness.plan.plan import Plan, PlannedSetting, make_plan, most_pairs, order_trunks
from harness.plan.rows import Outcome, Variant
from harness.recipe.blocks import WSD
from harness.recipe.load import LoadedRecipe, Setting, setting_of
from harness.recipe.lock import NO_LOCK, Lock
from harness.recipe.schema import Recipe
from harness.recipe.search import Arm, Objective, Search, arm_overrides
from harness.store.record import Record

ARM_NAMES: Mapping[str, str] = MappingProxyType(
    {"one_to_one": "1:1", "rm_only": "RM only", "lm_only": "LM only", "no_pmp": "no PMP"}
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """A look at a trial on its way, after so many pairs of PMP: what it may be stopped by."""

    pairs: int
    stages: tuple[Stage, ...]


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """A trial's stages. `values` are what its objectives are the means of, in the order of the recipe."""

    setting: Setting
    plan: Plan
    values: tuple[tuple[Stage, ...], ...]
    looks: tuple[Look, ...] = ()


class TrialPlanner:
    """Plans trials of a recipe with a search.

    Args:
        loaded: with counts in the place of `all`.
        imports, lock, forks: as `make_plan` takes them.
    """

    def __init__(
        self,
        loaded: LoadedRecipe,
        imports: Imports = NO_IMPORTS,
        lock: Lock = NO_LOCK,
        forks: Mapping[str, Record] = MappingProxyType({}),
    ) -> None:
        assert loaded.recipe.search is not None
        self.loaded = loaded
        self.search: Search = loaded.recipe.search
        self._make: Callable[[Mapping[str, int]], Pipeline] = lambda most: Pipeline(
            Graph(), loaded.recipe.seeds.data, most, imports=imports, lock=lock, forks=forks
        )
        self._whole: Callable[[LoadedRecipe], Plan] = lambda loaded: make_plan(loaded, imports, lock, forks)

    def whole(self, loaded: LoadedRecipe) -> Plan:
        """The plan of a recipe's settings, as `make_plan` makes it, with what this planner knows."""
        return self._whole(loaded)

    def setting(self, name: str, overrides: Mapping[str, object], values: Mapping[str, str]) -> Setting:
        """The setting of a point, which no recipe has.

        Raises:
            ProblemList: the recipe's own rules refuse this combination.
        """
        made = setting_of(self.loaded, name, overrides, ("search", "parameters"))
        # A search changes no task, so what was counted once holds for every trial.
        experiment = made.experiment.model_copy(update={"tasks": self.loaded.recipe.tasks})
        wrong = experiment.contradictions()
        if wrong:
            told = [one.context or {} for one in wrong]
            place = self.loaded.where("search")
            raise ProblemList([RecipeError(one["rule"], one["value"], one["remedy"], place) for one in told])
        return replace(made, experiment=experiment, values=dict(values))

    def plan(self, setting: Setting) -> TrialPlan:
        """Everything a trial asks for.

        Raises:
            PlanError: an objective is not defined for this setting.
        """
        experiment, search = _on_dev(setting.experiment), self.search
        pipeline = self._make(most_pairs(replace(self.loaded, settings=(*self.loaded.settings, setting))))
        values: list[list[Stage]] = [[] for _ in search.objectives]
        variants: list[Variant] = []
        looks: dict[int, list[Stage]] = {}
        seeds = search.seeds
        pretrains: Sequence[int | None] = range(seeds.pretrain) if experiment.pretrain else [None]
        for pretrain in pretrains:
            pretrained = None if pretrain is None else pipeline.pretrain(experiment, pretrain)
            start = pretrained or pipeline.base(experiment)
            told = setting.name if pretrain is None else f"{setting.name} pretrain {pretrain}"
            for pairs, look in self._looks(pipeline, experiment, pretrain):
                looks.setdefault(pairs, []).append(look)
            for finetune in range(seeds.finetune):
                finetuned = cache(partial(pipeline.finetuned, experiment, start, finetune, told))
                outcomes = []
                for objective, found in zip(search.objectives, values, strict=True):
                    stage = pipeline.judged_by(objective, experiment, start, finetuned, f"{told} finetune {finetune}")
                    if stage is None:
                        raise _without_head(setting, objective)
                    if stage not in found:
                        found.append(stage)
                    outcomes.append(Outcome(task=objective.task, metric=objective.evaluation, stage=stage))
                variants.append(
                    Variant(
                        setting=setting.name,
                        pretrain_seed=pretrain,
                        finetune_seed=finetune,
                        outcomes=tuple(outcomes),
                        pretrained=pretrained,
                    )
                )
        order_trunks(pipeline.graph)
        targets = tuple(dict.fromkeys(stage for stages in (*values, *looks.values()) for stage in stages))
        stages = tuple(pipeline.graph.in_order(targets))
        plan = Plan(
            loaded=self.loaded,
            graph=pipeline.graph,
            settings=(
                PlannedSetting(
                    names=(setting.name,), setting=setting, variants=tuple(variants), points=(setting.values,)
                ),
            ),
            references=(),
            targets=targets,
            stages=stages,
            asked=len(stages),
        )
        return TrialPlan(
            setting=setting,
            plan=plan,
            values=tuple(map(tuple, values)),
            looks=tuple(Look(pairs=pairs, stages=tuple(looks[pairs])) for pairs in sorted(looks)),
        )

    def _looks(self, pipeline: Pipeline, experiment: Recipe, seed: int | None) -> Iterator[tuple[int, Stage]]:
        """(pairs read, pair accuracy on dev) along a run's stable path: on the objective's task, or on code."""
        block, asked = experiment.pretrain, experiment.evaluate.probes
        if self.search.pruner is None or block is None or asked is None or not trains_head(experiment):
            return
        if not isinstance(block.schedule, WSD) or block.average is not None or seed is None:
            return
        steps = steps_of(block, experiment.pairs.count)
        every = max(1, asked.every_pairs // steps.batch)
        task = self.search.objectives[0].task
        for step in range(every, steps.decay_start + 1, every):
            if step > pipeline.forked_at(block):
                state = pipeline.trunk_state(experiment, block, seed, step)
                stage = pipeline.judged(PairAccuracy(), experiment, task, state, state.label, "dev")
                yield step * steps.batch, stage


def arms_of(planner: TrialPlanner) -> tuple[list[Arm], dict[str, str]]:
    """The arms that a search tries first, none without PMP; and by name why others cannot be judged."""
    found: list[Arm] = []
    left_out: dict[str, str] = {}
    for arm in planner.search.arms if planner.loaded.recipe.pretrain is not None else ():
        try:
            planner.plan(planner.setting(ARM_NAMES[arm], arm_overrides(arm), {}))
            found.append(arm)
        except (PlanError, ProblemList) as error:
            left_out[ARM_NAMES[arm]] = error.one_line()
    return found, left_out


def part_of(trial: TrialPlan, targets: Sequence[Stage]) -> Plan:
    """A trial's plan as far as these targets need it."""
    return replace(trial.plan, targets=tuple(targets), stages=tuple(trial.plan.graph.in_order(targets)))


def _on_dev(experiment: Recipe) -> Recipe:
    """The same, for which no test problem is made."""
    return experiment.model_copy(update={"evaluate": experiment.evaluate.model_copy(update={"split": "dev"})})


def _without_head(setting: Setting, objective: Objective) -> PlanError:
    return PlanError(
        f"`{objective.name}` needs a reward head that PMP trained",
        f"{setting.name} has none",
        "judge this arm after fine-tuning, by an objective on a task",
    )

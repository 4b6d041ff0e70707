"""What is left of a search will cost: points drawn from its space stand for trials that nobody knows yet. No Optuna."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from harness.errors import PlanError, ProblemList
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis
from harness.plan.cost import StageCost, estimate, makespan
from harness.plan.plan import Plan
from harness.plan.trials import TrialPlan, TrialPlanner, arms_of, part_of
from harness.plan.work import work_left
from harness.recipe.runtime import Runtime
from harness.recipe.search import (
    Choices,
    LogRatio,
    Parameter,
    applies,
    arm_overrides,
    ends,
    label_of,
    overrides_of,
)
from harness.search.confirm import as_chosen
from harness.search.state import SearchState
from harness.store.store import Store

DRAWN = 20
"""Random points that stand for trials, beside the arms and the ends of parameters."""

CONFIRMED = 3
"""Of these, settings that stand for those that will be confirmed."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """From the cheapest to the dearest."""

    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SearchPrice:
    """What the trials that are left add to what is done, in the grid or shared between them.

    Attributes:
        trials: asked for; `left` have not ended.
        each: seconds of work of one trial; `flops` of it.
        together: wall seconds of all that are left, what they share included.
        settings: to be confirmed once the best are known; `confirm` is wall seconds for these, beside 1:1.
        stages: at most, with those of the confirmed settings.
        drawn: points that were planned; `refused` are those that the recipe's own rules refuse.
    """

    trials: int
    left: int
    each: Span = Span()
    flops: Span = Span()
    together: Span = Span()
    settings: int = 0
    confirm: Span = Span()
    stages: int = 0
    speed_basis: Basis = "assumed"
    drawn: int = 0
    refused: int = 0


def price_search(
    planner: TrialPlanner, state: SearchState | None, plan: Plan, store: Store, runtime: Runtime, slots: int
) -> SearchPrice:
    """Price what is left of a search.

    Args:
        plan: of the grid and of what is confirmed as far as it is known; its stages are counted elsewhere.
        slots: stages at a time.
    """
    search = planner.search
    if state is not None and state.has_ended(search.trials):
        return SearchPrice(trials=search.trials, left=0)
    ended = [trial for trial in state.counted if trial.finished] if state is not None else []
    left = max(0, search.trials - len(ended))
    trials, refused = _planned(planner, {trial.arm for trial in ended})
    if not trials:
        return SearchPrice(trials=search.trials, left=left, refused=refused)
    chosen = as_chosen(planner, [trial.setting for trial in trials[-CONFIRMED:]])
    settings = min(search.confirm.best, search.trials)
    confirmed = planner.whole(replace(plan.loaded, settings=(*plan.loaded.settings, *chosen)))

    plans = (plan, confirmed, *(trial.plan for trial in trials))
    everything = {stage.fingerprint: stage for one in plans for stage in one.stages}
    targets = {stage.fingerprint: stage for one in plans for stage in one.targets}
    union = replace(plan, targets=tuple(targets.values()), stages=tuple(everything.values()))
    there = {stage.fingerprint for stage in plan.stages}
    to_run = [stage for stage in work_left(union, store, runtime).to_run if stage.fingerprint not in there]
    found = estimate(to_run, union.stages, store, slots)
    costs = {cost.stage.fingerprint: cost for cost in found.costs}
    many = Counter(stage.fingerprint for trial in trials for stage in trial.plan.stages)

    def own(stages: Iterable[Stage]) -> list[StageCost]:
        return [costs[one.fingerprint] for one in stages if one.fingerprint in costs and many[one.fingerprint] <= 1]

    adding = [trial for trial in trials if own(trial.plan.stages)] or trials  # what is there already says nothing
    whole = [own(trial.plan.stages) for trial in adding]
    least = [own(_least(trial).stages) for trial in adding]
    common = [costs[key] for key, times in many.items() if times > 1 and key in costs]
    anew = [own(_stages_of(confirmed, setting.name)) for setting in chosen]
    per_setting = math.ceil(sum(stage.fingerprint in costs for stage in confirmed.stages) / len(chosen))
    shared = makespan(common, slots)
    return SearchPrice(
        trials=search.trials,
        left=left,
        each=Span(low=min(map(_seconds, least)), high=max(map(_seconds, whole))),
        flops=Span(low=min(map(_flops, least)), high=max(map(_flops, whole))),
        together=Span(
            low=shared + min(_wall(one, left, search.parallel, slots) for one in least),
            high=shared + max(_wall(one, left, search.parallel, slots) for one in whole),
        ),
        settings=settings,
        confirm=Span(
            low=min(_wall(one, settings, settings, slots) for one in anew),
            high=max(_wall(one, settings, settings, slots) for one in anew),
        ),
        stages=len(common) + left * max(map(len, whole)) + settings * per_setting,
        speed_basis=found.speed_basis,
        drawn=len(trials),
        refused=refused,
    )


def _seconds(costs: Iterable[StageCost]) -> float:
    return sum(cost.seconds for cost in costs)


def _flops(costs: Iterable[StageCost]) -> float:
    return sum(cost.flops or 0.0 for cost in costs)


def _wall(costs: Sequence[StageCost], times: int, parallel: int, slots: int) -> float:
    """Wall seconds of so many pieces of work like this one: as the slots allow, and as many at once as may be."""
    return max(times * _seconds(costs) / slots, math.ceil(times / parallel) * makespan(costs, slots))


def _least(trial: TrialPlan) -> Plan:
    """What a trial computes at the least: up to its first look, where a pruner may stop it."""
    return part_of(trial, trial.looks[0].stages) if trial.looks else trial.plan


def _stages_of(plan: Plan, name: str) -> list[Stage]:
    """Everything that one setting of a plan needs."""
    setting = next(one for one in plan.settings if name in one.names)
    return plan.graph.in_order({stage: None for variant in setting.variants for stage in variant.targets})


# ------------------------------------------------------------------------------------------------- points


def _planned(planner: TrialPlanner, ended: Collection[str]) -> tuple[list[TrialPlan], int]:
    """Trials that differ, planned, and how many points the recipe's own rules refuse."""
    found: dict[tuple[str, ...], TrialPlan] = {}
    refused = 0
    for number, overrides in enumerate(_points(planner, ended)):
        try:
            trial = planner.plan(planner.setting(f"drawn {number}", overrides, {}))
        except (PlanError, ProblemList):  # as a trial it fails before it computes anything
            refused += 1
            continue
        found.setdefault(tuple(stage.fingerprint for stage in trial.plan.targets), trial)
    return list(found.values()), refused


def _points(planner: TrialPlanner, ended: Collection[str]) -> Iterator[dict[str, Any]]:
    """Overrides of arms that have not ended, of the ends of each parameter, and of points drawn with a fixed seed."""
    yield from (arm_overrides(arm) for arm in arms_of(planner)[0] if arm not in ended)
    parameters = planner.search.parameters
    for path, parameter in parameters.items():
        if parameter.when is None:
            yield from (overrides_of(path, parameter, value) for value in ends(parameter))
    random = Random(0)
    for _ in range(DRAWN):
        chosen: dict[str, Any] = {}
        for path, parameter in sorted(parameters.items(), key=lambda item: item[1].when is not None):
            if applies(parameter, chosen):
                chosen[path] = draw(parameter, random)
        yield {
            key: value
            for path, label in chosen.items()
            for key, value in overrides_of(path, parameters[path], label).items()
        }


def draw(parameter: Parameter, random: Random) -> Any:
    """A value of a parameter (a choice by its label), evenly in its range or in the logarithm of it."""
    if isinstance(parameter, Choices):
        return label_of(random.choice(parameter.choices))
    if isinstance(parameter, LogRatio):
        return random.uniform(*parameter.log_ratio)
    if parameter.step is not None:
        steps = math.floor((parameter.high - parameter.low) / parameter.step + 1e-9)
        return parameter.low + random.randint(0, steps) * parameter.step
    if parameter.log:
        drawn = math.exp(random.uniform(math.log(parameter.low), math.log(parameter.high)))
    else:
        drawn = random.uniform(parameter.low, parameter.high)
    drawn = min(max(drawn, parameter.low), parameter.high)  # exp(log(x)) is not x
    return round(drawn) if parameter.whole else drawn

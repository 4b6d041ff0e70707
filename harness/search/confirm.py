"""Which study a recipe's search is, and which settings it has chosen: what a plan asks beside the grid."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from harness.pipeline.graph import Stage
from harness.plan.analysis import analysis_stage
from harness.plan.plan import PlannedSetting
from harness.plan.trials import ARM_NAMES, TrialPlanner
from harness.recipe.blocks import Seeds
from harness.recipe.load import LoadedRecipe, Setting
from harness.recipe.search import arm_overrides
from harness.search.state import SearchState, TrialState
from harness.store.identity import SHORT, fingerprint

AS_WRITTEN = "as the recipe has it"


def study_name(planner: TrialPlanner) -> str:
    """The recipe's name, and a digest of what makes trials comparable: what is searched, what for, and all that the
    recipe's own setting is judged by.

    Raises:
        PlanError: an objective is not defined for the recipe's own setting.
    """
    recipe, search = planner.loaded.recipe, planner.search
    base = planner.plan(planner.setting(recipe.name, {}, {}))
    chosen = search.model_dump(mode="json", include={"parameters", "objectives", "seeds", "arms"})
    ends = [[stage.fingerprint for stage in stages] for stages in base.values]
    return f"{recipe.name}-{fingerprint({'search': chosen, 'values': ends})[:SHORT]}"


def with_chosen(loaded: LoadedRecipe, planner: TrialPlanner, state: SearchState | None) -> LoadedRecipe:
    """The recipe with what its search confirms among its settings: 1:1, and the best trials once they are known.

    Their seeds are ones that no trial had. A recipe without ablations has these settings alone.
    """
    settings = as_chosen(planner, _chosen(planner, state))
    if loaded.data.get("ablations"):
        return replace(loaded, settings=(*loaded.settings, *settings))
    recipe = loaded.recipe.model_copy(update={"seeds": settings[0].experiment.seeds})
    return replace(loaded, settings=settings, recipe=recipe)


def as_chosen(planner: TrialPlanner, settings: Iterable[Setting]) -> tuple[Setting, ...]:
    """Settings as they are confirmed: with seeds that no trial had."""
    search = planner.search
    data = planner.loaded.recipe.seeds.data
    seeds = Seeds(data=data, first=search.fresh, **search.confirm.seeds.model_dump())
    return tuple(
        replace(one, experiment=one.experiment.model_copy(update={"seeds": seeds}), chosen=True) for one in settings
    )


def _chosen(planner: TrialPlanner, state: SearchState | None) -> Iterator[Setting]:
    pretrains = planner.loaded.recipe.pretrain is not None
    even = arm_overrides("one_to_one") if pretrains else {}
    name = ARM_NAMES["one_to_one"] if pretrains else AS_WRITTEN
    first = planner.setting(name, even, {"search": name})
    yield first
    seen = [first.experiment]
    if state is None or not state.has_ended(planner.search.trials):
        return
    for trial in map(state.trial, state.best[: planner.search.confirm.best]):
        setting = planner.setting(name_of(trial), trial.overrides, {"search": name_of(trial)})
        if setting.experiment not in seen:
            seen.append(setting.experiment)
            yield setting


def comparison_of(planner: TrialPlanner, state: SearchState) -> Stage | None:
    """The stage that compares complete trials on dev: with no PMP where that is one, else with 1:1; None without any.

    Of trials with the same stages the first stands for all.
    """
    found: dict[tuple[str, ...], PlannedSetting] = {}
    for trial in (one for one in state.counted if one.values):
        values = {path: str(value) for path, value in trial.parameters.items()}
        (made,) = planner.plan(planner.setting(trial.name, trial.overrides, values)).plan.settings
        found.setdefault(tuple(stage.fingerprint for stage in _ends(made)), made)
    if not found:
        return None
    settings = sorted(found.values(), key=lambda one: ARM_NAMES["one_to_one"] not in one.name)
    whole = replace(planner.plan(settings[0].setting).plan, settings=tuple(settings))
    return analysis_stage(whole, frozenset(stage.fingerprint for one in settings for stage in _ends(one)))


def _ends(setting: PlannedSetting) -> list[Stage]:
    return [outcome.stage for variant in setting.variants for outcome in variant.outcomes]


def name_of(trial: TrialState) -> str:
    """A trial with what it is, as boards call it."""
    if trial.arm:
        return f"{ARM_NAMES[trial.arm]} (trial {trial.number})"
    told = ", ".join(f"{_end(path, trial.parameters)}={_short(value)}" for path, value in trial.parameters.items())
    return f"{told} (trial {trial.number})"


def _end(path: str, paths: Collection[str]) -> str:
    """The last words of a path that tell it from the others."""
    words = path.split(".")
    ends = [".".join(words[start:]) for start in range(len(words) - 1, -1, -1)]
    return next(end for end in ends if sum(f".{other}".endswith(f".{end}") for other in paths) == 1)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""Trunk states of a workdir that a recipe's pretraining goes on from, and what of the recipe does not fit them.

`pretrain.from: RECORD@step` names any state or branch of a trunk, and the step to leave it at. Reads records alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.errors import RecipeError, StoreError
from harness.pipeline.optimization import steps_of
from harness.pipeline.training_kinds import TRUNK_STATE, trunk_of
from harness.plan.plan import Plan
from harness.recipe.blocks import WSD, Pretrain
from harness.recipe.load import LoadedRecipe
from harness.recipe.schema import Experiment
from harness.store.identity import SHORT
from harness.store.record import Record
from harness.store.store import Store

PATH = "pretrain.from"
Forks = Mapping[str, Record]
"""`RECORD@step` as the recipe has it -> record of the trunk state at that step."""

NO_FORKS: Forks = MappingProxyType({})


def forks_of(loaded: LoadedRecipe, store: Store) -> tuple[Forks, list[RecipeError]]:
    """The states that a recipe names, and every reason why one cannot be gone on from as the recipe wants it."""
    forks: dict[str, Record] = {}
    problems: dict[tuple[str, str], RecipeError] = {}
    for setting in (None, *loaded.settings):
        experiment: Experiment = loaded.recipe if setting is None else setting.experiment
        block = experiment.pretrain
        if block is None or block.start is None:
            continue
        try:
            if block.start not in forks:
                forks[block.start] = _state(block.start, store)
            _require_fit(block, experiment.pairs.count, forks[block.start])
        except RecipeError as error:
            told = RecipeError(error.rule, error.value, error.remedy, loaded.where(PATH, setting))
            problems.setdefault((error.rule, error.value), told)
    return MappingProxyType(forks), list(problems.values())


def _state(text: str, store: Store) -> Record:
    name, _, at = text.partition("@")
    try:
        record = store.find(name)
        if "trunk" in record.identity["inputs"]:
            record = store.find(f"{TRUNK_STATE.name}/{record.identity['inputs']['trunk']}")
    except StoreError as error:
        raise RecipeError(f"`{PATH}` must name a record of the workdir", error.value, "see `harness ls`") from None
    if record.kind != TRUNK_STATE.name:
        raise RecipeError(
            f"`{PATH}` must name a trunk state, or a branch of a trunk", f"{name} is neither", "see `harness ls`"
        )
    trunk = trunk_of(record.identity)
    states = {
        int(other.identity["spec"]["step"]): other
        for other in store.records(TRUNK_STATE.name)
        if trunk_of(other.identity) == trunk
    }
    found = states.get(int(at))
    if found is None:
        raise RecipeError(
            f"`{PATH}` must name a step that the trunk has a state of",
            f"{name} has none at {at}",
            f"choose one of {', '.join(map(str, sorted(states)))}, or run a `pairs.count` that makes it",
        )
    if found.identity["code_version"] != TRUNK_STATE.code_version or not store.has_payload(found):
        raise RecipeError(
            f"the state that `{PATH}` names must be whole, and of this version",
            f"{name} at {at} was dropped, or another version made it",
            "run its own recipe again",
        )
    return found


def _require_fit(block: Pretrain, count: int, state: Record) -> None:
    spec, steps = state.identity["spec"], steps_of(block, count)
    batch = int(spec["training"]["global_batch"])
    if batch != block.global_batch:
        raise RecipeError(
            "a fork must keep the `global_batch` it goes on from, by which its place in the pairs is counted",
            f"`pretrain.global_batch` is {block.global_batch:,} and was {batch:,}",
            f"set it to {batch}",
        )
    average = block.average
    last = steps.total - 1
    if average is not None and average.every_pairs is not None:
        last = steps.total - (average.count - 1) * (average.every_pairs // steps.batch) - 1
    elif isinstance(block.schedule, WSD):
        last = steps.decay_start
    if int(spec["step"]) > last:
        raise RecipeError(
            "a fork must leave before its own decay or end, and `pairs.count` includes the pairs before it",
            f"`{PATH}` is at step {spec['step']:,} and {count:,} pairs allow {max(0, last):,}",
            "raise `pairs.count`, or fork earlier",
        )


def base_problems(plan: Plan) -> list[RecipeError]:
    """States that began with another base model than the one this recipe's settings begin with."""
    problems: dict[str, RecipeError] = {}
    for stage in plan.stages:
        if "fork" in stage.inputs:
            fork, base = stage.inputs["fork"].stage, stage.inputs["base"].stage
            theirs = str(fork.identity["inputs"]["base"])
            if theirs != base.fingerprint:
                problems[fork.fingerprint] = RecipeError(
                    f"`{PATH}` must name a state of the recipe's own base model",
                    f"{fork.label} began with {base.kind}/{theirs[:SHORT]} and not with {base.name}",
                    "keep what decides the base model as it was there",
                    plan.loaded.where(PATH),
                )
    return list(problems.values())

"""`harness plan`: what would run, what sharing saves, what it would cost. No torch, nothing written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cli.console import output, print_json, table
from harness.cli.lock import unresolved
from harness.cli.workspace import Workspace, open_workspace, slots_and_threads
from harness.plan.cost import Estimate, estimate
from harness.plan.pipeline import steps_of
from harness.plan.plan import PlannedSetting, Work
from harness.report.words import duration, quantity

MOST_SETTINGS_SHOWN = 40


def show_plan(recipe: Path, assignments: Sequence[str], workdir: Path | None, *, as_json: bool) -> None:
    """Print the plan of a recipe."""
    workspace = open_workspace(recipe, assignments, workdir)
    work = workspace.work()
    slots, _ = slots_and_threads(workspace.runtime)
    costs = estimate(work.to_run, workspace.plan.stages, workspace.store, slots)
    if as_json:
        print_json(plan_data(workspace, work, costs))
    else:
        _print(workspace, work, costs, slots)


def plan_data(workspace: Workspace, work: Work, costs: Estimate) -> dict[str, Any]:
    """The plan as plain data, for `--json`."""
    plan = workspace.plan
    by_stage = {cost.stage.fingerprint: cost for cost in costs.costs}
    stages = []
    for stage in plan.stages:
        cost = by_stage.get(stage.fingerprint)
        stages.append(
            {
                "kind": stage.kind,
                "fingerprint": stage.fingerprint,
                "label": stage.label,
                "inputs": sorted({item.stage.fingerprint for item in stage.inputs.values()}),
                "done": stage.fingerprint in work.done,
                "tokens": cost.tokens if cost else None,
                "flops": cost.flops if cost else None,
                "seconds": cost.seconds if cost else None,
                "basis": cost.basis if cost else None,
            }
        )
    return {
        "recipe": plan.loaded.recipe.name,
        "settings": [
            {"names": list(setting.names), "values": dict(setting.setting.values), "pairs": _pairs(setting)}
            for setting in plan.settings
        ],
        "variants": len(plan.variants),
        "stages_asked": plan.asked,
        "stages_after_sharing": len(plan.stages),
        "done": len(work.done),
        "to_run": len(work.to_run),
        "unresolved": [f"{model}@{revision}" for model, revision in unresolved(plan.loaded, plan.commits)],
        "stale": [stage.name for stage in work.stale],
        "tokens": costs.tokens,
        "flops": costs.flops,
        "seconds": costs.seconds,
        "speed_basis": costs.speed_basis,
        "stages": stages,
    }


def _pairs(setting: PlannedSetting) -> int:
    """Pairs really trained on: whole global batches."""
    experiment = setting.setting.experiment
    return 0 if experiment.pretrain is None else steps_of(experiment.pretrain, experiment.pairs.count).pairs


def _print(workspace: Workspace, work: Work, costs: Estimate, slots: int) -> None:
    plan = workspace.plan
    console = output()
    numbers = ("pairs", "variants")
    settings = table(f"{plan.loaded.recipe.name}: settings", "setting", *numbers, right=numbers)
    for setting in plan.settings[:MOST_SETTINGS_SHOWN]:
        settings.add_row(setting.name, f"{_pairs(setting):,}", str(len(setting.variants)))
    console.print(settings)
    if len(plan.settings) > MOST_SETTINGS_SHOWN:
        console.print(f"... and {len(plan.settings) - MOST_SETTINGS_SHOWN} more")
    kinds = table(
        "stages",
        "kind",
        "all",
        "done",
        "to run",
        "tokens",
        "FLOPs",
        "tokens are",
        right=("all", "done", "to run", "tokens", "FLOPs"),
    )
    everything = Counter(stage.kind for stage in plan.stages)
    left = Counter(stage.kind for stage in work.to_run)
    for kind, count in everything.items():
        mine = [cost for cost in costs.costs if cost.stage.kind == kind]
        tokens, flops = sum(cost.tokens for cost in mine), sum(cost.flops for cost in mine)
        bases = sorted({cost.basis for cost in mine}) if tokens else []
        kinds.add_row(
            kind,
            str(count),
            str(sum(stage.kind == kind and stage.fingerprint in work.done for stage in plan.stages)),
            str(left[kind]),
            quantity(tokens) if tokens else "",
            quantity(flops) if flops else "",
            ", ".join(bases),
        )
    console.print(kinds)
    console.print(
        f"{len(plan.settings)} settings, {len(plan.variants)} variants; {plan.asked:,} stages asked for, "
        f"{len(plan.stages):,} after sharing; {len(work.done):,} done, {len(work.to_run):,} to run",
        soft_wrap=True,
    )
    if work.to_run:
        console.print(
            f"about {duration(costs.seconds)} on {slots} slots (speed {costs.speed_basis}), "
            f"{quantity(costs.tokens)} tokens, {quantity(costs.flops)} FLOPs",
            soft_wrap=True,
        )
    for (model, revision), where in unresolved(plan.loaded, plan.commits).items():
        console.print(
            f"{where}: {model}@{revision} is not resolved to a commit yet; `harness run` does it", soft_wrap=True
        )
    if work.stale:
        console.print(
            f"{len(work.stale)} finished stages were made by other code of the same version "
            "(runtime.stale_code: rerun makes them again)",
            soft_wrap=True,
        )

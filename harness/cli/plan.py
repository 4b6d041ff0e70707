"""`harness plan`: what would run, what sharing saves, what it would cost. No torch, nothing written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.cli.claims import claims_data, print_claims
from harness.cli.console import output, print_json, print_table, table, visible
from harness.cli.lock import unresolved
from harness.cli.workspace import Workspace, open_workspace, slots_and_threads
from harness.plan.cost import Estimate, estimate
from harness.plan.disk import Disk, disk_of, free_bytes
from harness.plan.work import Work
from harness.report.settings import pairs_trained
from harness.report.words import duration, memory, plural, quantity
from harness.search.price import SearchPrice, Span, price_search

MOST_SETTINGS_SHOWN = 40


def show_plan(recipe: Path, assignments: Sequence[str], workdir: Path | None, *, as_json: bool) -> None:
    """Print the plan of a recipe."""
    workspace = open_workspace(recipe, assignments, workdir)
    work = workspace.work()
    slots, _ = slots_and_threads(workspace.runtime)
    costs = estimate(work.to_run, workspace.plan.stages, workspace.store, slots)
    disk = disk_of(work.to_run, workspace.plan.stages, workspace.store, slots)
    free = free_bytes(workspace.workdir)
    price = search_price(workspace)
    if as_json:
        print_json(plan_data(workspace, work, costs, disk, free, price))
    else:
        _print(workspace, work, costs, disk, slots)
        if price is not None:
            output().print(search_words(price))
        _print_disk(workspace, disk, free)
        print_claims(workspace)


def search_price(workspace: Workspace) -> SearchPrice | None:
    """What is left of the recipe's search will cost; None without one."""
    if workspace.trials is None:
        return None
    slots, _ = slots_and_threads(workspace.runtime)
    return price_search(workspace.trials, workspace.search, workspace.plan, workspace.store, workspace.runtime, slots)


def search_words(price: SearchPrice) -> str:
    """A price in a sentence."""
    if not price.left:
        return f"search: all {price.trials:,} trials have ended"
    told = f"search: {price.left:,} trials left of {price.trials:,}"
    refused = f"; the recipe's rules refuse {price.refused:,} of {price.drawn + price.refused:,} points drawn"
    if not price.drawn:
        return f"{told}{refused}, so there is nothing to price them by"
    return (
        f"{told}, each adds {_span(price.each)} of work ({_flops_span(price.flops)} FLOPs); together about "
        f"{_span(price.together)}, then {plural(price.settings, 'setting')} to confirm, about {_span(price.confirm)} "
        f"(speed {price.speed_basis}){refused if price.refused else ''}"
    )


def _span(seconds: Span) -> str:
    low, high = duration(seconds.low), duration(seconds.high)
    return low if low == high else f"{low} to {high}"


def _flops_span(flops: Span) -> str:
    low, high = quantity(flops.low), quantity(flops.high)
    return low if low == high else f"{low} to {high}"


def plan_data(
    workspace: Workspace, work: Work, costs: Estimate, disk: Disk, free: int, price: SearchPrice | None = None
) -> dict[str, Any]:
    """The plan as plain data, for `--json`; sizes in bytes, those of the disk before `gc`; a search's price in seconds
    from the cheapest to the dearest.
    """
    plan = workspace.plan
    by_stage = {cost.stage.fingerprint: cost for cost in costs.costs}
    sizes = {one.stage.fingerprint: one for one in disk.stages}
    stages = []
    for stage in plan.stages:
        cost = by_stage.get(stage.fingerprint)
        size = sizes.get(stage.fingerprint)
        stages.append(
            {
                "kind": stage.kind.name,
                "fingerprint": stage.fingerprint,
                "label": stage.label,
                "inputs": sorted({item.stage.fingerprint for item in stage.inputs.values()}),
                "done": stage.fingerprint in work.done,
                "tokens": cost.tokens if cost else None,
                "flops": cost.flops if cost else None,
                "seconds": cost.seconds if cost else None,
                "basis": cost.basis if cost else None,
                "bytes": size.size if size else disk.now.get(stage.fingerprint),
                "bytes_basis": size.basis if size else "measured",
            }
        )
    return {
        "recipe": plan.loaded.recipe.name,
        "settings": [
            {
                "names": list(setting.names),
                "values": dict(setting.setting.values),
                "pairs": pairs_trained(setting.setting.experiment),
            }
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
        "claims": claims_data(workspace),
        "search": None if price is None else asdict(price),
        "disk": {
            "finished": disk.finished,
            "added": disk.added,
            "running": disk.running,
            "peak": disk.peak,
            "unknown_stages": disk.unknown,
            "free": free,
            "fits": disk.needed <= free,
        },
        "stages": stages,
    }


def disk_warning(disk: Disk, free: int, workdir: Path) -> str | None:
    """What is to be told where the stages left to run do not fit on the workdir's disk."""
    if disk.needed <= free:
        return None
    return (
        f"the stages left to run need {memory(disk.needed)} on the disk of {workdir}, and {memory(free)} are free; "
        "make space, ask for less or choose another --workdir"
    )


def _print_disk(workspace: Workspace, disk: Disk, free: int) -> None:
    console = output()
    parts = [f"{memory(disk.finished)} now"]
    if disk.stages:
        bases = ", ".join(sorted({one.basis for one in disk.stages if one.size is not None}))
        parts.append(f"{memory(disk.added)} to add (sizes {bases})")
    if disk.running:
        parts.append(f"{memory(disk.running)} more while trainings run")
    peak = f": {memory(disk.peak)} at the peak" if disk.stages else ""
    console.print(f"on disk {', '.join(parts)}{peak}, before gc; {memory(free)} free")
    if disk.unknown:
        console.print(
            f"{plural(disk.unknown, 'stage')} not counted on disk: nobody has looked into the model from outside yet"
        )
    warning = disk_warning(disk, free, workspace.workdir)
    if warning is not None:
        console.print(visible(warning), style="bold red")


def _print(workspace: Workspace, work: Work, costs: Estimate, disk: Disk, slots: int) -> None:
    plan = workspace.plan
    console = output()
    numbers = ("pairs", "variants")
    settings = table(f"{plan.loaded.recipe.name}: settings", "setting", *numbers, right=numbers)
    for setting in plan.settings[:MOST_SETTINGS_SHOWN]:
        settings.add_row(setting.name, f"{pairs_trained(setting.setting.experiment):,}", str(len(setting.variants)))
    print_table(settings)
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
        "disk",
        right=("all", "done", "to run", "tokens", "FLOPs", "disk"),
    )
    everything = Counter(stage.kind for stage in plan.stages)
    left = Counter(stage.kind for stage in work.to_run)
    sizes: Counter[str] = Counter()
    for stage in plan.stages:
        sizes[stage.kind.name] += disk.now.get(stage.fingerprint, 0)
    for one in disk.stages:
        sizes[one.stage.kind.name] += round(one.size or 0)
    for kind, count in everything.items():
        mine = [cost for cost in costs.costs if cost.stage.kind == kind]
        tokens, flops = sum(cost.tokens for cost in mine), sum(cost.flops for cost in mine)
        bases = sorted({cost.basis for cost in mine}) if tokens else []
        kinds.add_row(
            kind.name,
            str(count),
            str(sum(stage.kind == kind and stage.fingerprint in work.done for stage in plan.stages)),
            str(left[kind]),
            quantity(tokens) if tokens else "",
            quantity(flops) if flops else "",
            ", ".join(bases),
            f"{quantity(sizes[kind.name])}B",
        )
    print_table(kinds)
    console.print(
        f"{len(plan.settings)} settings, {len(plan.variants)} variants; {plan.asked:,} stages asked for, "
        f"{len(plan.stages):,} after sharing; {len(work.done):,} done, {len(work.to_run):,} to run",
    )
    if work.to_run:
        console.print(
            f"about {duration(costs.seconds)} on {slots} slots (speed {costs.speed_basis}), "
            f"{quantity(costs.tokens)} tokens, {quantity(costs.flops)} FLOPs",
        )
    for (model, revision), where in unresolved(plan.loaded, plan.commits).items():
        console.print(f"{where}: {model}@{revision} is not resolved to a commit yet; `harness run` does it")
    if work.stale:
        console.print(
            f"{len(work.stale)} finished stages were made by other code of the same version "
            "(runtime.stale_code: rerun makes them again)",
        )

"""`harness plan`: what would run, what sharing saves, what it would cost. No torch, nothing written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.cli.budget import budget_problems
from harness.cli.claims import claims_data, print_claims
from harness.cli.console import output, print_json, visible
from harness.cli.environment import corpus_problems, data_set_problems, engine_problems, gpu_problems, hub_problems
from harness.cli.lock import unlisted, unresolved
from harness.cli.price import (
    Prices,
    by_kind,
    hours,
    pairs_of_documents,
    percent,
    price_data,
    prices_of,
    print_pairs,
    print_price,
    search_price,
    search_words,
    shows_gpus,
)
from harness.cli.tables import print_table, table
from harness.cli.workspace import Workspace, open_workspace, slots_and_threads
from harness.errors import HarnessError
from harness.pipeline.counts import not_fetched
from harness.pipeline.kind import Kind
from harness.plan.cost import StageCost
from harness.plan.disk import Disk, free_bytes
from harness.plan.match import matching
from harness.plan.plan import without_collections
from harness.plan.work import Work
from harness.recipe.ablations import Spaced
from harness.report.settings import pairs_trained
from harness.report.words import duration, listing, memory, plural, quantity
from harness.search.price import SearchPrice

MOST_SETTINGS_SHOWN = 40


@without_collections()
def show_plan(recipe: Path, assignments: Sequence[str], workdir: Path | None, *, as_json: bool) -> None:
    """Print the plan of a recipe."""
    workspace = open_workspace(recipe, assignments, workdir, fetches=False)
    work = workspace.work()
    prices = prices_of(workspace, work)
    free = free_bytes(workspace.workdir)
    search = search_price(workspace)
    lacking = lacks(workspace, work, prices)
    if as_json:
        print_json(plan_data(workspace, work, prices, free, lacking, search))
        return
    _print(workspace, work, prices)
    if search is not None:
        output().print(search_words(search))
    print_price(workspace, prices)
    print_pairs(pairs_of_documents(workspace.plan.stages, prices.known))
    _print_disk(workspace, prices.disk, free)
    print_claims(workspace)
    for problem in lacking:
        output().print(visible(f"`run` would refuse this: {problem}"), style="bold red")


def lacks(
    workspace: Workspace, work: Work, prices: Prices | None = None, *, fetches: bool = False
) -> list[HarnessError]:
    """Why a run of what is left would be refused now: what this machine lacks for it, and what the budget forbids.

    Args:
        prices: if they are known; else they are worked out once the hub was asked.
        fetches: bring configurations of models from the hub, which say what these cost.
    """
    hub = hub_problems(work.to_run, fetches=fetches)
    return [
        *budget_problems(workspace, work, prices, refuses_unknown=fetches or bool(hub)),
        *gpu_problems(workspace.plan.loaded, work.to_run),
        *engine_problems(work.to_run),
        *hub,
        *data_set_problems(not_fetched(workspace.plan.loaded)),
        *corpus_problems(work.to_run),
    ]


def plan_data(
    workspace: Workspace,
    work: Work,
    prices: Prices,
    free: int,
    lacking: Sequence[HarnessError],
    search: SearchPrice | None = None,
) -> dict[str, Any]:
    """The plan as plain data, for `--json`; sizes in bytes, those of the disk before `gc`; a search's price in seconds
    from the cheapest to the dearest.
    """
    plan, costs, disk = workspace.plan, prices.left, prices.disk
    by_stage = {cost.stage.fingerprint: cost for cost in costs.costs}
    on_gpus = {one.stage.fingerprint: one for one in prices.price.stages}
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
                "gpu_hours": on_gpus[stage.fingerprint].gpu_hours if cost else None,
                "gpu_memory": on_gpus[stage.fingerprint].memory if cost else None,
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
        "unresolved": [f"{model}@{revision}" for model, revision in unresolved(plan.loaded, plan.lock)],
        "not_fetched": [task.kind for task in not_fetched(plan.loaded).values()],
        "stale": [stage.name for stage in work.stale],
        "tokens": costs.tokens,
        "flops": costs.flops,
        "seconds": costs.seconds,
        "speed_basis": costs.speed_basis,
        "calibration_error": costs.error,
        "search": None if search is None else asdict(search),
        "price": price_data(prices),
        "pairs": [
            {"pairs": one.pairs, "documents": one.documents, "pairs_a_document": one.each}
            for one in pairs_of_documents(plan.stages, prices.known)
        ],
        "lacking": [str(problem) for problem in lacking],
        "claims": claims_data(workspace),
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
    """A warning where the stages left to run do not fit on the workdir's disk."""
    if disk.needed <= free:
        return None
    return (
        f"the stages left to run need {memory(disk.needed)} on the disk of {workdir}, and {memory(free)} are free; "
        "make space, reduce the recipe or choose another --workdir"
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
            f"disk space of {plural(disk.unknown, 'stage')} unknown: the model's configuration is not downloaded yet"
        )
    warning = disk_warning(disk, free, workspace.workdir)
    if warning is not None:
        console.print(visible(warning), style="bold red")


def _print(workspace: Workspace, work: Work, prices: Prices) -> None:
    plan, costs = workspace.plan, prices.left
    console = output()
    numbers = ("pairs", "variants")
    settings = table(f"{plan.loaded.recipe.name}: settings", "setting", *numbers, right=numbers)
    for setting in plan.settings[:MOST_SETTINGS_SHOWN]:
        settings.add_row(setting.name, f"{pairs_trained(setting.setting.experiment):,}", str(len(setting.variants)))
    print_table(settings)
    if len(plan.settings) > MOST_SETTINGS_SHOWN:
        console.print(f"... and {len(plan.settings) - MOST_SETTINGS_SHOWN} more")
    for name, axis in plan.loaded.recipe.ablations.axes.items():
        if isinstance(axis, Spaced) and axis.values[-1] != axis.last:
            console.print(
                f"axis {name} ends at {axis.values[-1]:,}: `last: {axis.last:,}` is no power of the factor away"
            )
    for one in plan.loaded.waiting:
        if matching(one):
            console.print(visible(f"{one.name}: planned once the tokens are counted by which it is matched"))
    _print_kinds(workspace, work, prices)
    console.print(
        f"{plural(len(plan.settings), 'setting')}, {plural(len(plan.variants), 'variant')}; "
        f"{plural(len(plan.stages), 'stage')} ({plan.asked:,} without sharing), "
        f"{len(work.done):,} done, {len(work.to_run):,} to run",
    )
    if work.to_run:
        slots, _ = slots_and_threads(workspace.runtime)
        error = ""
        if costs.error is not None and costs.speed_basis == "calibrated":
            error = f", {percent(costs.error)} off on a median stage"
        work_left = f"{quantity(costs.tokens)} tokens, {quantity(costs.flops)} FLOPs"
        if workspace.runtime.device == "cuda" and costs.speed_basis == "assumed":
            console.print(f"{work_left} to run")  # how fast processors would be is of no use
        else:
            here = f"here about {duration(costs.seconds)} on {plural(slots, 'slot')}"
            console.print(f"{here} (speed {costs.speed_basis}{error}), {work_left}")
    for (name, revision), where in unresolved(plan.loaded, plan.lock).items():
        console.print(f"{where}: {name}@{revision} is not resolved to a commit yet; `harness run` resolves it")
    for (name, _, pattern), where in unlisted(plan.loaded, plan.lock).items():
        console.print(visible(f"{where}: {name}/{pattern} counts as one file yet; `harness run` asks the hub for them"))
    if assumed := not_fetched(plan.loaded):
        console.print(
            f"the data of {listing([task.kind for task in assumed.values()])} is assumed as published; "
            "`harness run` fetches it"
        )
    if work.stale:
        console.print(
            f"{plural(len(work.stale), 'finished stage')} computed by other code of the same version "
            "(`runtime.stale_code: rerun` computes them again)",
        )


def _print_kinds(workspace: Workspace, work: Work, prices: Prices) -> None:
    """Of each kind of stage what is left to run, and what it takes; its disk with what is there."""
    plan, disk = workspace.plan, prices.disk
    gpus = ("GPU-hours", "GPU memory") if shows_gpus(workspace, prices) else ()
    columns = ("all", "to run", "tokens", "FLOPs", *gpus, "disk")
    kinds = table("stages", "kind", *columns, "basis", right=columns)
    left = Counter(stage.kind for stage in work.to_run)
    sizes: Counter[str] = Counter()
    for stage in plan.stages:
        sizes[stage.kind.name] += disk.now.get(stage.fingerprint, 0)
    for one in disk.stages:
        sizes[one.stage.kind.name] += round(one.size or 0)
    on_gpus = by_kind(prices.price)
    costs: dict[Kind, list[StageCost]] = defaultdict(list)
    for cost in prices.left.costs:
        costs[cost.stage.kind].append(cost)
    for kind, count in Counter(stage.kind for stage in plan.stages).items():
        mine = costs[kind]
        tokens, flops = sum(cost.tokens for cost in mine), sum(cost.flops or 0.0 for cost in mine)
        spent, most = on_gpus.get(kind.name, (0.0, 0.0))
        unknown = any(cost.flops is None for cost in mine)
        kinds.add_row(
            kind.name,
            f"{count:,}",
            f"{left[kind]:,}" if left[kind] else "",
            quantity(tokens) if tokens else "",
            "unknown" if unknown else quantity(flops) if flops else "",
            *(("unknown" if unknown else hours(spent) if spent else "", memory(most) if most else "") if gpus else ()),
            f"{quantity(sizes[kind.name])}B",
            ", ".join(sorted({cost.basis for cost in mine})) if tokens else "",
        )
    print_table(kinds)

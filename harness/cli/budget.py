"""What `runtime.budget`, and the memory of the stated GPUs, refuse before anything starts."""

from __future__ import annotations

from collections.abc import Iterator

from harness.cli.price import SMALLER, Prices, hours, pairs_of_documents, prices_of, search_price
from harness.cli.workspace import Workspace
from harness.errors import PlanError
from harness.plan.price import GPUS
from harness.plan.work import Work
from harness.recipe.runtime import Budget
from harness.report.words import duration, memory, plural

LESS = "raise the budget or reduce the recipe"
KNOWN = "name models whose configuration is in the hub's cache or a folder, or leave this budget out"


def budget_problems(
    workspace: Workspace, work: Work, prices: Prices | None = None, *, refuses_unknown: bool = True
) -> Iterator[PlanError]:
    """Where what is left of a plan, with what its search may add, is above the recipe's budget, or cannot be told.

    Args:
        prices: where somebody has worked them out; else they are where something is to be held against them.
        refuses_unknown: models of unknown size count, since nobody will look for their configurations any more.
    """
    budget, gpus = workspace.runtime.budget, workspace.runtime.gpus
    trains_there = workspace.runtime.device == "cuda" and bool(gpus.model_fields_set)
    if budget == Budget() and not trains_there:
        return
    prices, search = prices or prices_of(workspace, work), search_price(workspace)
    largest = prices.price.largest
    if trains_there and largest is not None and not prices.price.fits:
        yield PlanError(
            f"every stage must fit the memory of {gpus.kind}",
            f"{largest.stage.label} takes {memory(largest.memory or 0.0)} of {memory(GPUS[gpus.kind].memory)}",
            SMALLER,
            workspace.plan.loaded.where("runtime.gpus"),
        )
    searched = " with what the search may add" if search is not None and search.left else ""
    found: list[tuple[str, str, str]] = []
    most = len(work.to_run) + (search.stages if search is not None else 0)
    if budget.stages is not None and most > budget.stages:
        found.append(("stages", f"{plural(most, 'stage')} to run{searched}, {budget.stages:,} allowed", LESS))
    unpriced = prices.left.unknown and refuses_unknown
    unknown = f"{plural(prices.left.unknown, 'stage')} of models of unknown size have no price", KNOWN
    if budget.hours is not None:
        seconds = prices.left.seconds + (search.together.high + search.confirm.high if search is not None else 0.0)
        if seconds > budget.hours * 3600:
            found.append(("hours", f"about {duration(seconds)}{searched}, {budget.hours:g} h allowed", LESS))
        elif unpriced:
            found.append(("hours", *unknown))
    if budget.gpu_hours is not None:
        spent = prices.price.gpu_hours
        if spent > budget.gpu_hours:
            found.append(("gpu_hours", f"about {hours(spent)} GPU-hours, {budget.gpu_hours:g} allowed", LESS))
        elif unpriced:
            found.append(("gpu_hours", *unknown))
    if budget.disk_gb is not None and prices.disk.peak > budget.disk_gb * 1e9:
        found.append(("disk_gb", f"{memory(prices.disk.peak)} at the peak, {budget.disk_gb:g} GB allowed", LESS))
    if budget.pairs_a_document is not None:
        for one in pairs_of_documents(workspace.plan.stages, prices.known):
            if one.each is not None and one.each > budget.pairs_a_document:
                value = f"{one.pairs:,} of {one.documents:,} documents are {one.each:,.1f} each"
                found.append(("pairs_a_document", f"{value}, {budget.pairs_a_document:g} allowed", LESS))
    for key, value, remedy in found:
        where = workspace.plan.loaded.where(f"runtime.budget.{key}")
        yield PlanError(f"the plan must fit `runtime.budget.{key}`", value, remedy, where)

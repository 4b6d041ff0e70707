"""A plan's price on stated GPUs, in words, a table and plain data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.cli.console import output, visible
from harness.cli.workspace import Workspace, slots_and_threads, trainings_at_once
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Known
from harness.pipeline.pair_kinds import PAIRS_PART, TRAIN
from harness.pipeline.weights import model_origin, shape_source
from harness.plan.cost import Estimate, estimate
from harness.plan.disk import Disk, disk_of
from harness.plan.price import GPUS, Price, hours_alone, price_of
from harness.plan.work import Work
from harness.report.words import duration, listing, memory, plural, quantity
from harness.search.price import SearchPrice, Span, price_search
from harness.store.store import Snapshot

SMALLER = (
    "lower `runtime.row_tokens` or `rows_per_micro_batch`, or set `runtime.training` {sharing: fsdp, processes, "
    "activation_checkpointing}"
)

LEAST = 0.01  # GPU-hours


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What a plan costs: `left` and `disk` of what is to run on this machine, `price` of that on GPUs, `whole` of
    everything, and of every variant made alone.
    """

    left: Estimate
    disk: Disk
    price: Price
    whole: Price
    alone: float
    known: Known


def prices_of(workspace: Workspace, work: Work) -> Prices:
    """Work out what a plan costs."""
    plan, store, runtime = workspace.plan, workspace.store, workspace.runtime
    slots, _ = slots_and_threads(runtime)
    known = Known(Snapshot(store), plan.stages)
    left = estimate(work.to_run, plan.stages, store, slots, known)
    price = price_of(left.costs, known, runtime)
    if len(work.to_run) == len(plan.stages):
        whole = price
    else:
        whole = price_of(estimate(plan.stages, plan.stages, store, slots, known).costs, known, runtime)
    return Prices(
        left=left,
        disk=disk_of(work.to_run, plan.stages, store, trainings_at_once(runtime), known),
        price=price,
        whole=whole,
        alone=hours_alone(plan, whole),
        known=known,
    )


def shows_gpus(workspace: Workspace, prices: Prices) -> bool:
    """Whether a price on GPUs says anything: not of the tiny models of two cores, unless their recipe asks for it."""
    return bool(workspace.runtime.gpus.model_fields_set) or prices.whole.gpu_hours >= LEAST or prices.whole.unknown > 0


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def hours(value: float) -> str:
    """GPU-hours: .002, 1.3, 1,234."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def print_price(workspace: Workspace, prices: Prices) -> None:
    """GPU-hours, wall time, what sharing saves and what a GPU must hold."""
    console, price, stated, whole = output(), prices.price, prices.price.gpus, prices.whole.gpu_hours
    if not shows_gpus(workspace, prices):
        if prices.alone > whole > 0:
            console.print(f"sharing saves {percent(1 - whole / prices.alone)} of what models do")
        return
    told = "" if workspace.runtime.gpus.model_fields_set else ", assumed: see `runtime.gpus`"
    shares = f"{percent(stated.utilisation)} of its bf16 peak, {percent(stated.writing_utilisation)} where models write"
    console.print(
        f"{hours(price.gpu_hours)} GPU-hours of {stated.kind} (at {shares}{told}); "
        f"about {duration(price.wall)} on {stated.count:,} of them"
    )
    if prices.alone > whole > 0:
        console.print(
            f"{hours(whole)} GPU-hours with what is done, {hours(prices.alone)} if every variant were made alone: "
            f"sharing saves {percent(1 - whole / prices.alone)}"
        )
    largest = price.largest
    if largest is not None:
        most, room = memory(largest.memory or 0.0), memory(GPUS[stated.kind].memory)
        console.print(f"at most {most} of {room} of a GPU's memory, for {visible(largest.stage.label)}")
        if not price.fits:
            console.print(f"it does not fit: {SMALLER}", style="bold red")
    origins = {model_origin(one.stage, prices.known) for one in price.stages if one.gpus}
    unverified = {one.label for one in origins if shape_source(one, prices.known) == "shapes.yaml, unverified"}
    if unverified:
        console.print(visible(f"sizes unverified (pipeline/shapes.yaml): {listing(sorted(unverified))}"))
    if price.unknown:
        console.print(
            f"unknown: the price of {plural(price.unknown, 'stage')} of models of unknown size, in no sum; "
            "`harness run` asks the hub for their configurations before it starts",
            style="bold red",
        )


def by_kind(price: Price) -> dict[str, tuple[float, float]]:
    """(GPU-hours, bytes of a GPU at the peak) of each kind of stage that wants GPUs."""
    found: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for one in price.stages:
        if one.gpus:
            spent, largest = found[one.stage.kind.name]
            found[one.stage.kind.name] = spent + (one.gpu_hours or 0.0), max(largest, one.memory or 0.0)
    return found


def price_data(prices: Prices) -> dict[str, Any]:
    """For `--json`: hours, seconds and bytes."""
    largest = prices.price.largest
    return {
        "gpus": prices.price.gpus.model_dump(mode="json"),
        "gpu_hours": prices.price.gpu_hours,
        "gpu_hours_in_all": prices.whole.gpu_hours,
        "gpu_hours_without_sharing": prices.alone,
        "wall_seconds": prices.price.wall,
        "peak_gpu_memory": None if largest is None else largest.memory,
        "peak_gpu_memory_of": None if largest is None else largest.stage.fingerprint,
        "fits": prices.price.fits,
        "unknown_stages": prices.price.unknown,
    }


# --------------------------------------------------------------------------------------------------------- a search


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
        f"{told}, each adds {_span(price.each)} of work ({_span(price.flops, quantity)} FLOPs); together about "
        f"{_span(price.together)}, then {plural(price.settings, 'setting')} to confirm, about {_span(price.confirm)} "
        f"(speed {price.speed_basis}){refused if price.refused else ''}"
    )


def _span(span: Span, words: Callable[[float], str] = duration) -> str:
    low, high = words(span.low), words(span.high)
    return low if low == high else f"{low} to {high}"


# ------------------------------------------------------------------------------------------------ pairs a document


@dataclass(frozen=True, kw_only=True)
class PairsADocument:
    """Training pairs that are made of one corpus; `documents` is None until it is read."""

    pairs: int
    documents: int | None

    @property
    def each(self) -> float | None:
        return None if self.documents is None else self.pairs / self.documents


def pairs_of_documents(stages: Sequence[Stage], known: Known) -> list[PairsADocument]:
    """Of each set of training pairs in a plan that is made of documents, the largest first."""
    slots: dict[tuple[Stage, str], int] = defaultdict(int)
    for stage in stages:
        if stage.kind is PAIRS_PART and stage.spec.split == TRAIN:
            spec = stage.spec.model_dump(mode="json", exclude={"start", "stop"})
            slots[stage.inputs["corpus"].stage, repr(sorted(spec.items()))] += stage.spec.slots
    found = set()
    for (corpus, _), pairs in slots.items():
        record = known.record(corpus)
        found.add(PairsADocument(pairs=pairs, documents=None if record is None else record.result["kept"][TRAIN]))
    return sorted(found, key=lambda one: -one.pairs)


def print_pairs(found: Sequence[PairsADocument]) -> None:
    for one in found:
        if one.each is None:
            told = "how many of one document is known once the corpus is read"
        else:
            told = f"{one.each:,.1f} of each of {one.documents:,} documents"
        output().print(f"{one.pairs:,} training pairs to construct, {told}")

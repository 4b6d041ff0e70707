"""What a plan would cost: tokens, FLOPs and time a stage, each with the basis it rests on. Standard library only.

Tokens come from encode records where they exist, else from the characters of finished data stages, else from the
recipe's bounds; times from finished stages of the same store where there are any, else from stated assumptions.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis, Known
from harness.plan.speed import amount_of, speeds_of
from harness.store.store import Snapshot, Store


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Cost of one stage.

    `tokens` and `flops` are 0 for stages that run no model; `flops` is None where the model's size is not known, and
    `seconds` then stands for nothing.
    """

    stage: Stage
    tokens: float
    flops: float | None
    seconds: float
    basis: Basis


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Costs of stages; `seconds` is the wall time on so many slots, by list scheduling.

    What models of unknown size do is counted in `unknown` and in no sum of FLOPs.

    Attributes:
        speed_basis: of most of the time.
        error: see `Speeds`.
    """

    costs: tuple[StageCost, ...]
    seconds: float
    speed_basis: Basis
    error: float | None = None

    @property
    def tokens(self) -> float:
        return sum(cost.tokens for cost in self.costs)

    @property
    def flops(self) -> float:
        return sum(cost.flops or 0.0 for cost in self.costs)

    @property
    def unknown(self) -> int:
        return sum(cost.flops is None for cost in self.costs)


def estimate(
    stages: Sequence[Stage], everything: Sequence[Stage], store: Store, slots: int, known: Known | None = None
) -> Estimate:
    """Costs of `stages` (those left to run) given what `everything` in the plan has already measured.

    Args:
        known: what the store knows, where somebody has looked already.
    """
    known = known or Known(Snapshot(store), everything)
    speeds = known.once("speeds", lambda: speeds_of(everything, known))
    costs, spent = [], defaultdict[Basis, float](float)
    for stage in stages:
        work = stage.kind.work(stage, known)
        amount, models = amount_of(stage, work, known)
        line, basis = speeds.line(stage.kind, models=models)
        seconds = line.seconds(amount)
        spent[basis] += seconds
        costs.append(StageCost(stage=stage, tokens=work.tokens, flops=work.flops, seconds=seconds, basis=work.basis))
    return Estimate(
        costs=tuple(costs),
        seconds=makespan(costs, slots),
        speed_basis=max(spent, key=spent.__getitem__, default="assumed"),
        error=speeds.error,
    )


def makespan(costs: Sequence[StageCost], slots: int) -> float:
    """Wall seconds by list scheduling in plan order (inputs first) on identical slots."""
    ends: dict[str, float] = {}
    free = [0.0] * max(1, slots)  # a heap
    for cost in costs:
        before = [item.stage for item in cost.stage.inputs.values()] + cost.stage.after + cost.stage.gates
        ready = max((ends.get(stage.fingerprint, 0.0) for stage in before), default=0.0)
        end = ends[cost.stage.fingerprint] = max(free[0], ready) + cost.seconds
        heapq.heapreplace(free, end)
    return max(free)

"""What a plan would cost: tokens, FLOPs and time a stage, each with the basis it rests on. Standard library only.

Tokens come from encode records where they exist, else from the characters of finished data stages, else from the
recipe's bounds; times from finished stages of the same store where there are any, else from stated assumptions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis, Kind, Known
from harness.store.store import Snapshot, Store

# Used only until something was measured in this workdir; `plan` says so.
ASSUMED_FLOPS_PER_SECOND = 3.0e10  # one CPU thread on a tiny model


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
    """

    costs: tuple[StageCost, ...]
    seconds: float
    speed_basis: Basis

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
    known = known or Known(Snapshot(store))
    speed, seconds_of, speed_basis = _measured_speeds(everything, known)
    costs = []
    for stage in stages:
        work = stage.kind.work(stage, known)
        seconds = work.flops / speed if work.flops else seconds_of.get(stage.kind, stage.kind.seconds)
        costs.append(StageCost(stage=stage, tokens=work.tokens, flops=work.flops, seconds=seconds, basis=work.basis))
    return Estimate(costs=tuple(costs), seconds=makespan(costs, slots), speed_basis=speed_basis)


def _measured_speeds(stages: Sequence[Stage], known: Known) -> tuple[float, dict[Kind, float], Basis]:
    """FLOP/s of finished model stages, and mean seconds of every other finished kind."""
    flops = seconds = 0.0
    times: dict[Kind, list[float]] = defaultdict(list)
    for stage in stages:
        record = known.record(stage)
        if record is None:
            continue
        spent = float(known.snapshot.store.run_facts(record)["seconds"])
        work = stage.kind.work(stage, known).flops
        if work:
            flops, seconds = flops + work, seconds + spent
        else:
            times[stage.kind].append(spent)
    means = {kind: sum(values) / len(values) for kind, values in times.items()}
    if seconds:
        return flops / seconds, means, "measured"
    return ASSUMED_FLOPS_PER_SECOND, means, "assumed"


def makespan(costs: Sequence[StageCost], slots: int) -> float:
    """Wall seconds by list scheduling in plan order (inputs first) on identical slots."""
    ends: dict[str, float] = {}
    free = [0.0] * max(1, slots)
    for cost in costs:
        before = [item.stage for item in cost.stage.inputs.values()] + cost.stage.after + cost.stage.gates
        ready = max((ends.get(stage.fingerprint, 0.0) for stage in before), default=0.0)
        slot = min(range(len(free)), key=lambda index: max(free[index], ready))
        end = max(free[slot], ready) + cost.seconds
        free[slot] = end
        ends[cost.stage.fingerprint] = end
    return max(free)

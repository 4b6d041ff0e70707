"""What each setting cost: tokens trained, and device-hours of its stages, alone and with what it shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.pipeline.graph import Stage
from harness.plan.plan import Plan
from harness.plan.rows import Variant
from harness.report.settings import trainings_of
from harness.report.status import Runs, Statuses
from harness.store.record import Record

Device = Literal["GPU", "CPU"]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a setting cost so far.

    Attributes:
        tokens: that went through one of its models in PMP, its trunk included, and fine-tuning, padding not counted;
            the mean over its models; None while none is trained.
        alone: device-hours of the stages that no other row is made from.
        together: device-hours of all stages it is made from.
    """

    tokens: int | None
    alone: float
    together: float


def device_of(records: Iterable[Record]) -> Device:
    """Whose hours are counted: GPUs' as soon as any stage ran on one."""
    return "GPU" if any(_on_gpu(record) for record in records) else "CPU"


def spent(plan: Plan, statuses: Statuses, runs: Runs) -> dict[str, Spent]:
    """By setting. Where stages ran on GPUs, the hours of those on CPUs are not counted."""
    records = {key: record for key in runs if (record := statuses[key].record) is not None}
    device = device_of(records.values())
    hours = {key: _hours(runs[key]) for key, record in records.items() if device == "CPU" or _on_gpu(record)}
    targets: dict[tuple[str, str], list[Stage]] = {}
    for kind, variants in (("setting", plan.variants), ("other", (*plan.references, *plan.imported))):
        for variant in variants:
            targets.setdefault((kind, variant.setting), []).extend(variant.targets)
    alone, together = _shared(plan, list(targets.values()), hours)
    places = {key: place for place, key in enumerate(targets)}
    found = {}
    for setting in plan.settings:
        place = places["setting", setting.variants[0].setting]
        tokens = _tokens(setting.variants, statuses)
        found[setting.name] = Spent(tokens=tokens, alone=alone[place], together=together[place])
    return found


def _shared(plan: Plan, rows: Sequence[Sequence[Stage]], hours: Mapping[str, float]) -> tuple[list[float], list[float]]:
    """Hours of each row's targets and all that they are made from: those of no other row, and all of them."""
    needs: dict[str, int] = {}  # bit i: row i is made from the stage
    for place, targets in enumerate(rows):
        for stage in targets:
            needs[stage.fingerprint] = needs.get(stage.fingerprint, 0) | 1 << place
    by_rows: dict[int, float] = {}
    for stage in reversed(plan.stages):  # what reads a stage before the stage
        bits = needs.get(stage.fingerprint, 0)
        for item in stage.inputs.values():
            needs[item.stage.fingerprint] = needs.get(item.stage.fingerprint, 0) | bits
        by_rows[bits] = by_rows.get(bits, 0.0) + hours.get(stage.fingerprint, 0.0)
    alone, together = [0.0] * len(rows), [0.0] * len(rows)
    for bits, spent_there in by_rows.items():
        places = [place for place in range(len(rows)) if bits >> place & 1]
        for place in places:
            together[place] += spent_there
            alone[place] += spent_there if len(places) == 1 else 0.0
    return alone, together


def _on_gpu(record: Record) -> bool:
    return bool(record.environment.get("gpu")) or str(record.environment.get("device", "")).startswith("cuda")


def _hours(run: Mapping[str, Any]) -> float:
    """Wall time by devices: a stage held all of its devices while it ran."""
    return float(run["seconds"]) * int(run.get("task", {}).get("gpus", 1)) / 3600


def _tokens(variants: Iterable[Variant], statuses: Statuses) -> int | None:
    """The means of both trainings, added."""
    found = [
        [int(record.result["tokens_trained"]) for stage in stages if (record := statuses[stage.fingerprint].record)]
        for stages in trainings_of(variants, statuses)
    ]
    means = [sum(tokens) / len(tokens) for tokens in found if tokens]
    return round(sum(means)) if means else None

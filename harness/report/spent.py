"""What each setting cost: tokens trained, and device-hours of its stages, alone and with what it shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.pipeline.graph import Stage
from harness.plan.plan import Plan, Variant
from harness.report.settings import trainings_of
from harness.report.status import Statuses
from harness.store.record import Record

Runs = Mapping[str, Mapping[str, Any]]
"""{fingerprint: `run.json`} of finished stages."""

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
    rows: dict[tuple[str, str], list[Variant]] = {("setting", one.name): list(one.variants) for one in plan.settings}
    for variant in (*plan.references, *plan.imported):
        rows.setdefault(("other", variant.setting), []).append(variant)
    behind = {key: _behind(target for one in variants for target in one.targets) for key, variants in rows.items()}
    needed = Counter(key for stages in behind.values() for key in stages)
    return {
        one.name: Spent(
            tokens=_tokens(one.variants, statuses),
            alone=sum(hours.get(key, 0.0) for key in behind["setting", one.name] if needed[key] == 1),
            together=sum(hours.get(key, 0.0) for key in behind["setting", one.name]),
        )
        for one in plan.settings
    }


def _on_gpu(record: Record) -> bool:
    return bool(record.environment.get("gpu")) or str(record.environment.get("device", "")).startswith("cuda")


def _hours(run: Mapping[str, Any]) -> float:
    """Wall time by devices: a stage held all of its devices while it ran."""
    return float(run["seconds"]) * int(run.get("task", {}).get("gpus", 1)) / 3600


def _behind(targets: Iterable[Stage]) -> set[str]:
    """Fingerprints of stages and all that they are made from."""
    waiting, found = list(targets), set[str]()
    while waiting:
        stage = waiting.pop()
        if stage.fingerprint not in found:
            found.add(stage.fingerprint)
            waiting += [item.stage for item in stage.inputs.values()]
    return found


def _tokens(variants: Iterable[Variant], statuses: Statuses) -> int | None:
    """The means of both trainings, added."""
    found = [
        [int(record.result["tokens_trained"]) for stage in stages if (record := statuses[stage.fingerprint].record)]
        for stages in trainings_of(variants, statuses)
    ]
    means = [sum(tokens) / len(tokens) for tokens in found if tokens]
    return round(sum(means)) if means else None

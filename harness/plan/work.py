"""Which stages of a plan a store leaves to do."""

from __future__ import annotations

from dataclasses import dataclass

from harness.pipeline.code import is_stale
from harness.pipeline.failures import FAILURES
from harness.pipeline.graph import Stage
from harness.plan.plan import Plan
from harness.recipe.runtime import Runtime
from harness.store.store import Snapshot, Store


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a store leaves to do: `done` have records, `to_run` must run (in order), `stale` are done by other code."""

    done: frozenset[str]
    to_run: tuple[Stage, ...]
    stale: tuple[Stage, ...]


def work_left(plan: Plan, store: Store, runtime: Runtime, snapshot: Snapshot | None = None) -> Work:
    """Walk from the targets back: a finished stage needs nothing, an unfinished one needs its inputs' payloads.

    Looking where models fail is worth no training: it is left out where rewards or candidates were dropped.

    With `stale_code: rerun`, stages made by other code and all that was made from them are to run although they have
    records; whoever runs them discards those records first, so that an interrupted run cannot mix old and new.
    """
    snapshot = snapshot or Snapshot(store)
    records = {stage.fingerprint: snapshot.record(stage.kind.name, stage.fingerprint) for stage in plan.stages}
    stale = [
        stage
        for stage in plan.stages
        if (record := records[stage.fingerprint]) is not None and is_stale(stage.kind, record)
    ]
    if runtime.stale_code == "rerun":
        outdated = {stage.fingerprint for stage in stale}
        for stage in plan.stages:  # inputs first: what was made from something outdated is outdated as well
            inputs = {item.stage.fingerprint for item in stage.inputs.values()}
            if stage.fingerprint in outdated or inputs & outdated:
                outdated.add(stage.fingerprint)
                records[stage.fingerprint] = None

    def gone(stage: Stage) -> bool:
        known = records[stage.fingerprint]
        return known is not None and not store.has_payload(known)

    targets = {stage.fingerprint for stage in plan.targets}
    needs_payload = set(targets)
    run: set[str] = set()
    for stage in reversed(plan.stages):
        record = records[stage.fingerprint]
        wanted = stage.fingerprint in needs_payload
        missing = record is None and (wanted or stage.fingerprint in targets)
        dropped = record is not None and wanted and not store.has_payload(record)
        if stage.kind is FAILURES and any(gone(item.stage) for item in stage.inputs.values()):
            continue
        if missing or dropped:
            run.add(stage.fingerprint)
            needs_payload.update(item.stage.fingerprint for item in stage.inputs.values())
    done = frozenset(key for key, record in records.items() if record is not None and key not in run)
    return Work(
        done=done,
        to_run=tuple(stage for stage in plan.stages if stage.fingerprint in run),
        stale=() if runtime.stale_code == "rerun" else tuple(stale),
    )

"""How far each stage of a plan is: done, failed and why, interrupted, waiting. Reads the store, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.events import Failed, read_events
from harness.pipeline.code import is_stale
from harness.pipeline.graph import Stage
from harness.store.record import EVENTS, Record
from harness.store.retractions import Retraction, read_retractions
from harness.store.store import Snapshot, Store

State = Literal["done", "failed", "interrupted", "running", "blocked", "not done"]

# How a stage's last event begins where it was stopped rather than went wrong.
STOPS = ("Interrupted", "TrainingStopped", "KeyboardInterrupt")


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """How far one stage is.

    Attributes:
        reason: why it failed, or which failed stage it waits for.
        record: of a finished stage.
        stale: it was finished by other code of the same version.
        retraction: why it was retracted itself, "" if it was not.
        retracted: which stage it is made from was retracted, and why (itself, or one before it); "" if none was.
    """

    stage: Stage
    state: State
    reason: str = ""
    record: Record | None = None
    stale: bool = False
    retraction: str = ""
    retracted: str = ""


Statuses = Mapping[str, StageStatus]
Runs = Mapping[str, Mapping[str, Any]]
"""{fingerprint: `run.json`} of finished stages."""


def look(stages: Iterable[Stage], store: Store, snapshot: Snapshot | None = None) -> dict[str, StageStatus]:
    """The status of stages, inputs first, by fingerprint.

    Args:
        snapshot: of the store's records, if the caller has one.
    """
    found: dict[str, StageStatus] = {}
    snapshot = snapshot or Snapshot(store)
    retractions = read_retractions(store.root)
    for stage in stages:
        status = _status(stage, snapshot, found)
        found[stage.fingerprint] = _retracted(status, retractions, found) if retractions else status
    return found


def runs_of(statuses: Statuses, snapshot: Snapshot) -> Runs:
    """Read them.

    Raises:
        StoreError: one is missing or damaged.
    """
    return {key: snapshot.run_facts(status.record) for key, status in statuses.items() if status.record is not None}


def _retracted(status: StageStatus, retractions: Mapping[str, Retraction], earlier: Statuses) -> StageStatus:
    """The status with what was retracted of it. A stage speaks for itself before it speaks for what it reads."""
    stage = status.stage
    if stage.fingerprint in retractions:
        reason = retractions[stage.fingerprint].reason
        return replace(status, retraction=reason, retracted=f"{stage.label} ({stage.name}) is retracted: {reason}")
    before = (earlier.get(item.stage.fingerprint) for item in stage.inputs.values())
    inherited = dict.fromkeys(one.retracted for one in before if one is not None and one.retracted)
    return replace(status, retracted="; ".join(inherited)) if inherited else status


def _status(stage: Stage, snapshot: Snapshot, earlier: Statuses) -> StageStatus:
    store = snapshot.store
    record = snapshot.record(stage.kind.name, stage.fingerprint)
    if record is not None:
        stale = is_stale(stage.kind, record)
        return StageStatus(stage=stage, state="done", record=record, stale=stale)
    partial = store.partial(stage.kind.name, stage.fingerprint)
    if partial.is_dir():
        if store.is_building(stage.kind.name, stage.fingerprint):
            return StageStatus(stage=stage, state="running")
        events = list(read_events(partial / EVENTS))
        last = events[-1] if events else None
        if isinstance(last, Failed) and not last.reason.startswith(STOPS):
            return StageStatus(stage=stage, state="failed", reason=last.reason)
        return StageStatus(stage=stage, state="interrupted")
    for needed in (*(item.stage for item in stage.inputs.values()), *stage.gates):
        before = earlier.get(needed.fingerprint)
        if before is not None and before.state == "failed":
            return StageStatus(stage=stage, state="blocked", reason=f"waits for {needed.label}: {before.reason}")
        if before is not None and before.state == "blocked":
            return StageStatus(stage=stage, state="blocked", reason=before.reason)
    return StageStatus(stage=stage, state="not done")


def in_words(statuses: Iterable[StageStatus]) -> str:
    """Why a group of stages is not whole: how many are done, and what became of the rest; "" if all are done."""
    known = list(statuses)
    left = [status for status in known if status.state != "done"]
    if not left:
        return ""
    told = []
    for state in ("failed", "blocked", "interrupted", "running", "not done"):
        reasons = list(dict.fromkeys(status.reason for status in left if status.state == state))
        if reasons:
            why = "; ".join(filter(None, reasons))
            told.append(why if state == "blocked" else f"{state}: {why}" if why else state)
    done = len(known) - len(left)
    return "; ".join([f"{done} of {len(known)} evaluations done"] * (done > 0) + told)

"""Runs what a plan leaves to do: order, sharing with other runs, failures. Knows executors only by their protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from harness.execution.executor import Executor, Outcome, StageTask, TaskInput
from harness.execution.frontier import Frontier
from harness.pipeline.code import source_digest
from harness.pipeline.graph import Stage
from harness.pipeline.training_kinds import TRUNK_STATE, trunk_of
from harness.recipe.runtime import Runtime
from harness.store.in_use import in_use
from harness.store.store import Snapshot, Store

POLL_SECONDS = 0.2
MOST_REPAIRS = 2  # a stage whose input is corrupt is tried again after the input was recomputed, so often


class Listener(Protocol):
    """Told how a run goes; the live view is one."""

    def started(self, task: StageTask) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...

    def tick(self) -> None: ...


@dataclass(kw_only=True)
class Summary:
    """How a run ended: what was computed, what failed and why, what could not run because of that."""

    computed: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    blocked: list[Stage] = field(default_factory=list)
    interrupted: bool = False


def make_task(stage: Stage, store: Store, how: Mapping[str, Any], *, this_code: bool = False) -> StageTask:
    """A stage as plain data for a worker. With `this_code`, a result of other code of the same version is redone."""
    kind = stage.kind
    return StageTask(
        kind=kind.name,
        module=kind.module,
        fingerprint=stage.fingerprint,
        identity=stage.identity,
        inputs={
            name: TaskInput(kind=item.stage.kind.name, fingerprint=item.stage.fingerprint, rows=item.rows)
            for name, item in stage.inputs.items()
        },
        store=str(store.root),
        label=stage.label,
        source_digest=source_digest(stage),
        trunk=trunk_of(stage.identity) if stage.kind is TRUNK_STATE else "",
        affinity=stage.affinity,
        accelerated=kind.wants_gpu(stage),
        gpus=_gpus(stage, how),
        trains=kind.trains,
        resumable=kind.resumes,
        this_code=this_code,
        how={**how, "source_path": stage.source_path} if stage.source_path else dict(how),
    )


def _gpus(stage: Stage, how: Mapping[str, Any]) -> int:
    """GPUs of this machine that a stage uses, if it uses any: a model that writes, or a training, may have several."""
    if stage.kind.writes(stage):
        return int(how.get("tensor_parallel", 1))
    return int(how.get("processes", 1)) if stage.kind.trains else 1


def how_of(runtime: Runtime) -> dict[str, Any]:
    """The runtime choices that reach a stage."""
    return {
        "row_tokens": runtime.row_tokens,
        "rows_per_micro_batch": runtime.rows_per_micro_batch,
        "checkpoint_seconds": runtime.checkpoint_seconds,
        "log_every": runtime.log_every,
        "loss_balance_every": runtime.loss_balance_every,
        "on_imbalance": runtime.on_imbalance,
        "tensor_parallel": runtime.tensor_parallel,
        **runtime.training.model_dump(),
    }


class Runner:
    """Starts what is ready, longest remaining path first; a failure stops only what depends on it."""

    def __init__(self, store: Store, executor: Executor, listener: Listener, how: Mapping[str, Any]) -> None:
        self._store = store
        self._executor = executor
        self._listener = listener
        self._how = how
        self._pending: dict[str, Stage] = {}
        self._running: set[str] = set()
        self._elsewhere: dict[str, Stage] = {}
        self._lost: set[str] = set()
        self._repairs: dict[str, int] = {}
        self._known: dict[str, Stage] = {}
        self._redone: set[str] = set()
        self._in_use = ExitStack()
        self._frontier = self._survey()

    def run(self, stages: Sequence[Stage], known: Sequence[Stage], more: Callable[[], bool] = lambda: False) -> Summary:
        """Run `stages` (inputs first). `known` are all stages of the plan, for repairs of finished ones.

        Args:
            more: called at every turn; it may `add` stages, and says whether it still may later.
        """
        with self._in_use:
            self.add(stages, known)
            return self._run(more)

    def add(self, stages: Sequence[Stage], known: Sequence[Stage]) -> None:
        """Further stages to run; those that run, wait or failed already are left as they are."""
        self._known |= {stage.fingerprint: stage for stage in known}
        new = [stage for stage in stages if self.is_settled(stage.fingerprint) and stage.fingerprint not in self._lost]
        if new:
            self._in_use.enter_context(in_use(self._store.root, self._read_by(new)))
        self._redone |= self._finished(new)  # and yet to run: they are of other code
        self._pending |= {stage.fingerprint: stage for stage in new}
        self._frontier = self._survey()

    def drop(self, fingerprints: Collection[str]) -> None:
        """Stages that nobody wants any more, unless they run already."""
        for fingerprint in fingerprints:
            self._pending.pop(fingerprint, None)
        self._frontier = self._survey()

    @property
    def lost(self) -> Collection[str]:
        """Stages that failed."""
        return self._lost

    def is_settled(self, fingerprint: str) -> bool:
        """Whether a stage neither waits nor runs, here or elsewhere."""
        return not (fingerprint in self._pending or fingerprint in self._running or fingerprint in self._elsewhere)

    def _run(self, more: Callable[[], bool]) -> Summary:
        summary = Summary()
        try:
            while (may := more()) or self._pending or self._running or self._elsewhere:
                self._start_ready()
                outcomes = self._executor.wait(POLL_SECONDS)
                for outcome in outcomes:
                    self._take(outcome, summary)
                self._look_elsewhere()
                self._listener.tick()
                if not self._running and not self._elsewhere and not self._frontier:
                    if not may:
                        break
                    if not outcomes:
                        time.sleep(POLL_SECONDS)  # until there is more
        except KeyboardInterrupt:
            summary.interrupted = True
            for outcome in self._executor.close(interrupt=True):
                self._take(outcome, summary)
            self._pending |= {key: self._known[key] for key in self._running}  # what was just being started
        summary.blocked = list(self._pending.values())
        return summary

    def _read_by(self, stages: Sequence[Stage]) -> set[str]:
        """Stages, all they are made from, and earlier states of trunks that are to be trained on."""
        found: set[str] = set()
        waiting = list(stages)
        while waiting:
            stage = waiting.pop()
            if stage.fingerprint not in found:
                found.add(stage.fingerprint)
                waiting += [item.stage for item in stage.inputs.values()]
        trunks = {trunk_of(stage.identity) for stage in stages if stage.kind is TRUNK_STATE}
        states = self._store.records("trunk_state") if trunks else ()
        return found | {record.fingerprint for record in states if trunk_of(record.identity) in trunks}

    def _survey(self) -> Frontier:
        unsettled = self._pending.keys() | self._running | self._elsewhere.keys()
        return Frontier(self._pending, unsettled, self._lost)

    def _start_ready(self) -> None:
        roomy = {True, False}  # room depends on nothing else of a task
        while (stage := self._frontier.first(accelerated=roomy)) is not None:
            task = make_task(stage, self._store, self._how, this_code=stage.fingerprint in self._redone)
            if not self._executor.has_room(task):
                roomy.remove(task.accelerated)
                continue
            self._frontier.take(stage)
            del self._pending[stage.fingerprint]
            self._running.add(stage.fingerprint)
            self._executor.start(task)
            self._listener.started(task)

    def _take(self, outcome: Outcome, summary: Summary) -> None:
        key = outcome.task.fingerprint
        self._running.discard(key)
        stage = self._known[key]
        if outcome.status == "done":
            summary.computed.append(outcome)
            self._frontier.settle(key)
        elif outcome.status == "busy":
            self._elsewhere[key] = stage
        elif outcome.status == "interrupted":
            self._pending[key] = stage
            self._frontier.add(stage)
        elif outcome.status == "corrupt" and self._can_repair(key, outcome.culprit):
            self._repairs[key] = self._repairs.get(key, 0) + 1
            self._recompute(outcome.culprit.rpartition("/")[2])
            self._pending[key] = stage
            self._frontier = self._survey()
        else:
            if outcome.status == "corrupt":
                outcome = replace(
                    outcome, reason=f"{outcome.reason.rpartition('; ')[0]}; run the recipe that made it again"
                )
            self._lost.add(key)
            summary.failed.append(outcome)
            self._frontier.settle(key, lost=True)
        self._listener.finished(outcome)

    def _finished(self, stages: Sequence[Stage]) -> set[str]:
        snapshot = Snapshot(self._store)
        records = (snapshot.record(stage.kind.name, stage.fingerprint) for stage in stages)
        return {record.fingerprint for record in records if record is not None and self._store.has_payload(record)}

    def _is_there(self, stage: Stage) -> bool:
        record = self._store.record(stage.kind.name, stage.fingerprint)
        return record is not None and self._store.has_payload(record)

    def _can_repair(self, key: str, culprit: str) -> bool:
        """Whether a damaged input can be made again: a state that a fork goes on from is of another recipe, and what a
        stage says of other files than its inputs' is no stage's."""
        stage = self._known.get(culprit.rpartition("/")[2])
        return (
            stage is not None
            and self._repairs.get(key, 0) < MOST_REPAIRS
            and len(stage.inputs) == len(stage.identity["inputs"])
        )

    def _recompute(self, fingerprint: str) -> None:
        """Put a finished stage whose bytes went bad back to work, with whatever it needs."""
        stage = self._known[fingerprint]
        if fingerprint in self._pending or fingerprint in self._running:
            return
        record = self._store.record(stage.kind.name, fingerprint)
        if record is not None:
            self._store.discard(record)
        self._pending[fingerprint] = stage
        for item in stage.inputs.values():
            if not self._is_there(item.stage):
                self._recompute(item.stage.fingerprint)

    def _look_elsewhere(self) -> None:
        """Stages another run is building: done when its record appears, ours again when its holder is gone."""
        for key, stage in list(self._elsewhere.items()):
            if self._store.is_building(stage.kind.name, key):
                continue  # even if there is a record: it may be about to be replaced
            del self._elsewhere[key]
            if self._is_there(stage):
                self._frontier.settle(key)
            else:
                self._pending[key] = stage
                self._frontier.add(stage)
        if self._elsewhere and not self._running:
            time.sleep(POLL_SECONDS)

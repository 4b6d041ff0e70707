"""What runs tell of the stages they were made by: a table, data sets with digests, versions, time and memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from harness.events import read_events
from harness.pipeline.graph import Stage
from harness.plan.plan import Plan
from harness.report.curves import Point
from harness.report.provenance import environments
from harness.store.identity import SHORT
from harness.store.record import EVENTS, Record
from harness.store.store import Snapshot
from harness.tracking.view import Dataset

COLUMNS = ("stage", "label", "state", "finished", "seconds", "peak_memory_mb", "code_version", "output_digest")


class StageFacts:
    """Facts of a plan's stages; records and run facts are read once."""

    def __init__(self, plan: Plan, snapshot: Snapshot, states: Mapping[str, str]) -> None:
        self._snapshot = snapshot
        self._states = states
        self._place = {stage: index for index, stage in enumerate(plan.stages)}
        self._facts: dict[str, dict[str, Any]] = {}

    def record(self, stage: Stage) -> Record | None:
        return self._snapshot.record(stage.kind.name, stage.fingerprint)

    def closure(self, targets: Iterable[Stage]) -> list[Stage]:
        """The targets and everything they were made from, inputs first."""
        reached: set[Stage] = set()
        todo = list(targets)
        while todo:
            stage = todo.pop()
            if stage not in reached:
                reached.add(stage)
                todo += [item.stage for item in stage.inputs.values()]
        return sorted(reached, key=self._place.__getitem__)

    def finished(self, record: Record) -> float:
        """When, in seconds since the epoch."""
        return float(self._run(record)["finished"])

    def _run(self, record: Record) -> dict[str, Any]:
        if record.fingerprint not in self._facts:
            self._facts[record.fingerprint] = self._snapshot.store.run_facts(record)
        return self._facts[record.fingerprint]

    def _finished(self, stages: Iterable[Stage]) -> list[tuple[Stage, Record, dict[str, Any]]]:
        records = ((stage, self.record(stage)) for stage in stages)
        return [(stage, record, self._run(record)) for stage, record in records if record is not None]

    def times(self, stages: Iterable[Stage]) -> tuple[int, int]:
        """(first start, last end) of those finished, in milliseconds; while none is, since when the first is at it."""
        chosen = list(stages)
        runs = [facts for _, _, facts in self._finished(chosen)]
        if not runs:
            begun = min(filter(None, map(self._begun, chosen)), default=0)
            return begun, begun
        start = min(float(facts["finished"]) - float(facts["seconds"]) for facts in runs)
        return round(start * 1000), round(max(float(facts["finished"]) for facts in runs) * 1000)

    def _begun(self, stage: Stage) -> int:
        """When an unfinished stage was first begun, in milliseconds; 0 if it was not."""
        path = self._snapshot.store.partial(stage.kind.name, stage.fingerprint) / EVENTS
        return next((round(event.time * 1000) for event in read_events(path)), 0)

    def spent(self, stages: Iterable[Stage]) -> dict[str, tuple[Point, ...]]:
        """Seconds and peak memory of all stages, as trackers name system metrics; `table` has them stage by stage."""
        runs = [facts for _, _, facts in self._finished(stages)]
        moment = round(1000 * max((float(facts["finished"]) for facts in runs), default=0.0))
        found = {
            "system/seconds/all_stages": round(sum(float(facts["seconds"]) for facts in runs), 3),
            "system/peak_memory_bytes/all_stages": max(
                (float(facts.get("peak_memory_bytes", 0)) for facts in runs), default=0.0
            ),
        }
        return {name: (Point(step=0, value=value, time=moment),) for name, value in found.items()}

    def versions(self, stages: Iterable[Stage]) -> dict[str, str]:
        """Code version of each kind, and the libraries and devices of the finished stages."""
        records = [record for _, record, _ in self._finished(stages)]
        tags = {f"code.{record.kind}": str(record.identity["code_version"]) for record in records}
        return tags | {f"environment.{name}": value for name, value in environments(records).items()}

    def datasets(self, stages: Iterable[Stage], training: Sequence[Stage]) -> tuple[Dataset, ...]:
        """Corpus, pairs, preferences and pools; those that only judge are told from those that teach."""
        taught = set(self.closure(training))
        return tuple(
            Dataset(
                name=stage.label,
                digest=record.output_digest[:SHORT],
                source=f"store/{stage.kind.name}/{record.fingerprint[:SHORT]}",
                rows=int(record.result["groups"]),
                context="training" if stage in taught else "evaluation",
            )
            for stage, record, _ in self._finished(stages)
            if stage.kind.dataset
        )

    def table(self, stages: Iterable[Stage]) -> str:
        """All stages as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for stage in stages:
            writer.writerow([stage.name, stage.label, self._states[stage.fingerprint], *self._row(self.record(stage))])
        return text.getvalue()

    def _row(self, record: Record | None) -> list[object]:
        if record is None:
            return [""] * 5
        facts = self._run(record)
        return [
            datetime.fromtimestamp(float(facts["finished"]), UTC).strftime("%Y-%m-%d %H:%M:%S"),
            facts["seconds"],
            round(float(facts.get("peak_memory_bytes", 0)) / 1e6),
            record.identity["code_version"],
            record.output_digest[:SHORT],
        ]

"""Where the time and the memory went, from each finished stage's `run.json`."""

from __future__ import annotations

from harness.plan.plan import Plan
from harness.report.facts import Facts
from harness.report.status import Runs, Statuses
from harness.report.words import count, duration, memory, share

SLOWEST_SHOWN = 8


def time_tables(plan: Plan, statuses: Statuses, runs: Runs) -> tuple[Facts, ...]:
    """By kind, and the slowest stages."""
    spent: dict[str, list[tuple[float, float, str]]] = {}  # kind -> (seconds, bytes at the peak, label) of its stages
    for stage in plan.stages:
        if statuses[stage.fingerprint].record is not None:
            facts = runs[stage.fingerprint]
            entry = (float(facts["seconds"]), float(facts.get("peak_memory_bytes", 0)), stage.label)
            spent.setdefault(stage.kind.name, []).append(entry)
    if not spent:
        return ()
    seconds = {kind: sum(entry[0] for entry in entries) for kind, entries in spent.items()}
    total = sum(seconds.values())
    by_kind = []
    for kind in sorted(spent, key=lambda kind: -seconds[kind]):
        times, peaks, _ = zip(*spent[kind], strict=True)
        longest, peak = duration(max(times)), memory(max(peaks)) if any(peaks) else ""
        by_kind.append((kind, count(len(times)), duration(seconds[kind]), share(seconds[kind], total), longest, peak))
    slowest = sorted((entry for entries in spent.values() for entry in entries), key=lambda entry: -entry[0])
    return (
        Facts(
            title="Time by kind of stage",
            columns=("kind", "stages", "time", "share", "longest", "peak memory"),
            rows=tuple(by_kind),
            note=f"Together {duration(total)} of stage time, stages running side by side counted each. Peak memory is "
            "the worker's most so far, over all stages it has run.",
        ),
        Facts(
            title="Slowest stages",
            columns=("stage", "time"),
            rows=tuple((label, duration(seconds)) for seconds, _, label in slowest[:SLOWEST_SHOWN]),
        ),
    )

"""`harness ls`: the finished stages of a workdir."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.cli.console import output, print_json, table
from harness.cli.workspace import open_store
from harness.report.words import duration, quantity
from harness.store.identity import SHORT
from harness.store.record import Record
from harness.store.store import Store


def list_records(workdir: Path, kind: str | None, *, as_json: bool) -> None:
    """Print every finished stage, or those of one kind."""
    store = open_store(workdir)
    rows = [_row(store, record) for record in store.records(kind)]
    if as_json:
        print_json(rows)
        return
    shown = table(f"stages in {workdir}", "stage", "label", "time", "size", "payload", right=("time", "size"))
    for row in rows:
        payload = "" if row["payload"] else "dropped"
        shown.add_row(row["stage"], row["label"], duration(row["seconds"]), quantity(row["bytes"]), payload)
    output().print(shown)
    output().print(f"{len(rows)} stages, {quantity(sum(row['bytes'] for row in rows))} bytes")


def _row(store: Store, record: Record) -> dict[str, Any]:
    facts = store.run_facts(record)
    return {
        "stage": f"{record.kind}/{record.fingerprint[:SHORT]}",
        "kind": record.kind,
        "fingerprint": record.fingerprint,
        "label": facts["label"],
        "seconds": facts["seconds"],
        "bytes": sum(size for _, size in record.files.values()),
        "payload": store.has_payload(record),
        "result": dict(record.result),
    }

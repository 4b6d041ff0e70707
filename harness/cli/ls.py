"""`harness ls`: the finished stages of a workdir."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cli.console import clipped, output, print_json
from harness.cli.tables import print_table, table
from harness.cli.workspace import open_store
from harness.errors import HarnessError, ProblemList, RecipeError, StoreError
from harness.pipeline.kinds import KINDS
from harness.report.words import duration, plural, quantity
from harness.store.identity import SHORT
from harness.store.record import Record
from harness.store.retractions import Retraction, read_retractions
from harness.store.store import Store


def list_records(workdir: Path, kind: str | None, *, as_json: bool) -> None:
    """Print every finished stage, or those of one kind.

    Raises:
        RecipeError: there is no such kind.
        ProblemList: stages are damaged; the others are printed first.
    """
    if kind is not None and kind not in KINDS:
        raise RecipeError(f"no kind of stage is called {clipped(kind)}", "", f"choose one of {', '.join(KINDS)}")
    store = open_store(workdir)
    retractions = read_retractions(store.root)
    rows: list[dict[str, Any]] = []
    damage: list[HarnessError] = []
    for found in store.survey(kind):
        try:
            if isinstance(found, StoreError):
                raise found
            rows.append(_row(store, found, retractions))
        except StoreError as error:
            damage.append(error)
    if as_json:
        print_json(rows)
    else:
        _print(rows, workdir)
    if damage:
        raise ProblemList(damage)


def _print(rows: Sequence[Mapping[str, Any]], workdir: Path) -> None:
    shown = table(f"stages in {workdir}", "stage", "label", "time", "size", "remarks", right=("time", "size"))
    for row in rows:
        remarks = [] if row["payload"] else ["payload dropped"]
        remarks += [f"retracted: {row['retracted']}"] if row["retracted"] else []
        cells = (row["stage"], row["label"], duration(row["seconds"]), quantity(row["bytes"]), "; ".join(remarks))
        shown.add_row(*cells)
    print_table(shown)
    output().print(f"{plural(len(rows), 'stage')}, {quantity(sum(row['bytes'] for row in rows))} bytes")


def _row(store: Store, record: Record, retractions: Mapping[str, Retraction]) -> dict[str, Any]:
    retraction = retractions.get(record.fingerprint)
    facts = store.run_facts(record)
    return {
        "stage": f"{record.kind}/{record.fingerprint[:SHORT]}",
        "kind": record.kind,
        "fingerprint": record.fingerprint,
        "label": facts["label"],
        "seconds": facts["seconds"],
        "bytes": sum(size for _, size in record.files.values()),
        "payload": store.has_payload(record),
        "retracted": retraction.reason if retraction else "",
        "result": dict(record.result),
    }

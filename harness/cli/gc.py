"""`harness gc`: drop what `runtime.keep` does not keep. Records stay, so nothing is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.cli.console import output
from harness.cli.workspace import open_workspace
from harness.report.words import quantity
from harness.store.store import Store

# What each word of `runtime.keep` lets go: everything below this path ("" is all, None nothing).
DROPPED = {"state": None, "weights": "state/optimizer", "record": ""}


def collect_garbage(recipe: Path, assignments: Sequence[str], workdir: Path | None, *, dry_run: bool) -> None:
    """Drop payloads of this recipe's finished stages by kind."""
    workspace = open_workspace(recipe, assignments, workdir)
    keep = workspace.runtime.keep
    freed = count = 0
    for stage in workspace.plan.stages:
        below = DROPPED[keep.get(stage.kind, "state")]
        record = workspace.store.record(stage.kind, stage.fingerprint)
        if below is None or record is None:
            continue
        size = _size(workspace.store, stage.kind, stage.fingerprint, below)
        if size:
            count += 1
            freed += size
            if not dry_run:
                workspace.store.drop_payload(record, below=below)
    verb = "would free" if dry_run else "freed"
    output().print(f"{verb} {quantity(freed)} bytes of {count} stages; their records stay")


def _size(store: Store, kind: str, fingerprint: str, below: str) -> int:
    directory = store.directory(kind, fingerprint)
    record = store.record(kind, fingerprint)
    assert record is not None
    files = record.files.items()
    return sum(size for path, (_, size) in files if path.startswith(below) and (directory / path).exists())

"""`harness gc`: drop what `runtime.keep` does not keep. Records stay, so nothing is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cli.console import output
from harness.cli.workspace import open_workspace
from harness.report.words import plural, quantity
from harness.store.in_use import used_by_others
from harness.store.record import Record
from harness.store.store import Store

# What each word of `runtime.keep` lets go: everything below this path ("" is all, None nothing).
DROPPED = {"state": None, "weights": "state/optimizer", "record": ""}


def collect_garbage(recipe: Path, assignments: Sequence[str], workdir: Path | None, *, dry_run: bool) -> None:
    """Drop payloads of this recipe's finished stages by kind."""
    workspace = open_workspace(recipe, assignments, workdir)
    store, keep = workspace.store, workspace.runtime.keep
    if not store.root.is_dir():
        output().print("nothing is stored yet")
        return
    freed, kept = _Sum(), _Sum()
    with used_by_others(store.root) as used:
        for stage in workspace.plan.stages:
            below = DROPPED[keep.get(stage.kind.name, "state")]
            record = store.record(stage.kind.name, stage.fingerprint)
            if below is None or record is None:
                continue
            (kept if stage.fingerprint in used else freed).add(_size(store, record, below))
            if stage.fingerprint not in used and not dry_run:
                store.drop_payload(record, below=below)
    console = output()
    console.print(f"{'would free' if dry_run else 'freed'} {freed}; their records stay")
    if kept.stages:
        console.print(f"kept {kept} that a command at work reads; when it has ended, the same command drops them")


@dataclass
class _Sum:
    """Bytes of stages that hold any."""

    stages: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        self.stages += size > 0
        self.size += size

    def __str__(self) -> str:
        return f"{quantity(self.size)} bytes of {plural(self.stages, 'stage')}"


def _size(store: Store, record: Record, below: str) -> int:
    directory = store.directory(record.kind, record.fingerprint)
    files = record.files.items()
    return sum(size for path, (_, size) in files if path.startswith(below) and (directory / path).exists())

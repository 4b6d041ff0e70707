"""`harness gc`: drop what `runtime.keep` does not keep. Records stay, so nothing is forgotten."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.cli.console import output
from harness.cli.tables import print_table, table
from harness.cli.workspace import Workspace, open_workspace
from harness.report.words import plural, quantity
from harness.store.in_use import used_by_others
from harness.store.record import Record
from harness.store.store import Store

# What each word of `runtime.keep` lets go: everything below this path ("" is all, None nothing).
DROPPED = {"state": None, "weights": "state/optimizer", "record": ""}


def collect_garbage(
    recipe: Path, assignments: Sequence[str], workdir: Path | None, *, dry_run: bool, confirmed: bool
) -> None:
    """List what would be dropped of this recipe's finished stages, and drop it; on a terminal only once confirmed."""
    workspace = open_workspace(recipe, assignments, workdir)
    console, root = output(), workspace.store.root
    if not root.is_dir():
        console.print("nothing is stored yet")
        return
    with used_by_others(root) as used:
        found = _survey(workspace, used)
    if found.drops:
        shown = table("", "kind", "keep", "stages", "bytes", right=("stages", "bytes"))
        for kind, one in found.by_kind.items():
            shown.add_row(kind, workspace.runtime.keep[kind], f"{one.stages:,}", quantity(one.size))
        print_table(shown)
    asks = bool(found.drops) and not dry_run and not confirmed and sys.stdin.isatty() and console.is_terminal
    drops = not dry_run and (not asks or _agrees(f"Drop {found.total}? [y/N] "))
    if drops:
        with used_by_others(root) as used:  # looked at again: a command may have started meanwhile
            found = _survey(workspace, used)
            for record, below in found.drops:
                workspace.store.drop_payload(record, below=below)
    console.print(f"{'freed' if drops else 'would free'} {found.total}; records are kept")
    if not workspace.runtime.keep:
        console.print("the recipe's `runtime.keep` is empty, so everything is kept (docs/recipes.md)")
    if found.kept.stages:
        console.print(f"kept {found.kept} that a running command reads; run `gc` again when it has ended")


def _agrees(question: str) -> bool:
    try:
        return output().input(question, markup=False).strip().lower() in ("y", "yes")
    except EOFError:
        return False


@dataclass
class _Sum:
    """Stages, and the bytes that would be dropped of them."""

    stages: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        self.stages += 1
        self.size += size

    def __add__(self, other: _Sum) -> _Sum:
        return _Sum(self.stages + other.stages, self.size + other.size)

    def __str__(self) -> str:
        return f"{quantity(self.size)} bytes of {plural(self.stages, 'stage')}"


@dataclass
class _Found:
    """What `runtime.keep` lets go: records, each with the path below which its files go; sums by kind of stage.

    `kept` are those that a running command reads.
    """

    drops: list[tuple[Record, str]] = field(default_factory=list)
    by_kind: dict[str, _Sum] = field(default_factory=dict)
    kept: _Sum = field(default_factory=_Sum)

    @property
    def total(self) -> _Sum:
        return sum(self.by_kind.values(), _Sum())


def _survey(workspace: Workspace, used: frozenset[str]) -> _Found:
    found = _Found()
    for stage in workspace.plan.stages:
        below = DROPPED[workspace.runtime.keep.get(stage.kind.name, "state")]
        record = workspace.store.record(stage.kind.name, stage.fingerprint)
        size = 0 if below is None or record is None else _size(workspace.store, record, below)
        if below is None or record is None or not size:
            continue
        if stage.fingerprint in used:
            found.kept.add(size)
        else:
            found.by_kind.setdefault(stage.kind.name, _Sum()).add(size)
            found.drops.append((record, below))
    return found


def _size(store: Store, record: Record, below: str) -> int:
    directory = store.directory(record.kind, record.fingerprint)
    files = record.files.items()
    return sum(size for path, (_, size) in files if path.startswith(below) and (directory / path).exists())

"""`harness pack`: what is finished of a recipe without texts and weights, to be published or continued elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.cli.console import output
from harness.cli.workspace import STORE, open_workspace
from harness.errors import StoreError
from harness.plan.preregistration import REGISTER
from harness.report.words import plural, quantity
from harness.store.record import EVENTS, RECORD, RUN, Record, write_json
from harness.store.retractions import RETRACTIONS
from harness.store.store import RUN_FACTS, Store

OF_RUNS = (*RUN_FACTS, "peak_memory_bytes")  # no paths, threads or devices of the machine


def pack(recipe: Path, assignments: Sequence[str], workdir: Path | None, folder: Path) -> None:
    """Copy the records of a recipe's finished stages, their events, and the files that hold numbers alone.

    Raises:
        ProblemList: what is wrong with the recipe.
        StoreError: the folder holds a store of another schema, or cannot be written.
    """
    workspace = open_workspace(recipe, assignments, workdir)
    packed = Store(folder / STORE)
    if packed.root.resolve() == workspace.store.root.resolve():
        raise StoreError("a store is packed into another folder", f"{folder} is its workdir", "name another folder")
    packed.create()
    finished = 0
    for stage in workspace.plan.stages:
        record = workspace.store.record(stage.kind.name, stage.fingerprint)
        if record is not None:
            _copy(record, workspace.store, packed, numbers=stage.kind.artifact.numbers)
            finished += 1
    for name in (REGISTER, RETRACTIONS):
        if (workspace.store.root / name).exists():
            shutil.copyfile(workspace.store.root / name, packed.root / name)
    size = sum(path.stat().st_size for path in packed.root.rglob("*") if path.is_file())
    of = f"{finished:,} of {plural(len(workspace.plan.stages), 'stage')} finished"
    output().print(f"{of}; {folder} holds {quantity(size)} bytes")


def _copy(record: Record, store: Store, packed: Store, *, numbers: bool) -> None:
    """One stage; its record comes last, as in any store."""
    source = store.directory(record.kind, record.fingerprint)
    target = packed.directory(record.kind, record.fingerprint)
    target.mkdir(parents=True, exist_ok=True)
    (target / RECORD).unlink(missing_ok=True)
    for path in (EVENTS, *(record.files if numbers else ())):
        if (source / path).exists():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, target / path)
    facts = store.run_facts(record)
    write_json(target / RUN, {name: facts[name] for name in OF_RUNS if name in facts})
    record.write(target)

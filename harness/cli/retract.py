"""`harness retract`: a stage is not to be trusted; every number made from it says so, everywhere it is shown."""

from __future__ import annotations

from pathlib import Path

from harness.cli.console import errors, output
from harness.cli.report import report_on
from harness.cli.sync import TrackingWorker
from harness.cli.tables import print_table, table
from harness.cli.workspace import REPORTS, open_store, open_workspace
from harness.errors import HarnessError, RecipeError
from harness.report.index import RECIPE, Index, read_indexes
from harness.report.words import plural
from harness.store.identity import SHORT
from harness.store.retractions import reinstate, retract
from harness.tracking.places import place_of

LONGEST_REASON = 500


def retract_stage(name: str, reason: str, workdir: Path, *, undo: bool) -> None:
    """Retract a stage, or take that back, and renew every report it touches.

    Raises:
        RecipeError: no reason, or one too many.
        StoreError: no stage, or several, match.
    """
    _check(reason, undo=undo)
    store = open_store(workdir)
    record = store.find(name)
    shown = f"{record.kind}/{record.fingerprint[:SHORT]}"
    if not undo:
        retract(store.root, record.fingerprint, record.kind, reason)
    elif not reinstate(store.root, record.fingerprint):
        raise RecipeError(f"{shown} is not retracted", "", "see `harness ls`")
    output().print(f"{shown} is {'trusted again' if undo else 'retracted'}")
    for index in read_indexes(workdir / REPORTS):
        if record.fingerprint in index.stages:
            _tell(index, record.fingerprint)
            _renew(index, workdir)


def _check(reason: str, *, undo: bool) -> None:
    if undo and reason:
        raise RecipeError("a reinstated stage needs no reason", f"got {reason!r}", "leave it out")
    if not undo and not reason.strip():
        raise RecipeError("a retraction needs a reason", "", 'give one: harness retract STAGE "why"')
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        rule = f"a reason is one line of up to {LONGEST_REASON} characters"
        raise RecipeError(rule, f"this one has {len(reason)}", "shorten it")


def _tell(index: Index, fingerprint: str) -> None:
    """Which numbers depend on it."""
    touched: dict[tuple[str, str], list[str]] = {}
    for entry in index.outcomes:
        if fingerprint in index.made_from(entry.stage):
            tasks = touched.setdefault((entry.kind, entry.row), [])
            if entry.task not in tasks:
                tasks.append(entry.task)
    shown = table(f"{index.recipe}: {plural(len(touched), 'row')} made from it", "row", "tasks")
    for (_, row), tasks in touched.items():
        shown.add_row(row, ", ".join(tasks))
    print_table(shown)


def _renew(index: Index, workdir: Path) -> None:
    """Write a recipe's report again, and bring the workdir's own MLflow to its state."""
    recipe = workdir / REPORTS / index.recipe / RECIPE
    try:
        workspace = open_workspace(recipe, [], workdir, writes=True)
        report = report_on(workspace)
        output().print(str(report.files.html))
        database = place_of(None, workdir).database
        if not index.own_tracking:
            output().print(f"`harness sync` of {index.recipe} shows it in MLflow, whose address is not kept here")
        elif database is not None and database.exists():
            with TrackingWorker(workspace, recipe, [], live=False) as worker:
                worker.sync(report)
    except HarnessError as error:
        told = f"{index.recipe} is not updated: {error.one_line()}; `harness sync` of its recipe updates it"
        errors().print(told, style="yellow")

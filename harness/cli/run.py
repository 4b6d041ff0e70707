"""`harness run`: do what is left of a recipe's plan, then report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from harness.cli.budget import budget_problems
from harness.cli.console import errors, output
from harness.cli.execute import execute, execute_first
from harness.cli.plan import disk_warning, lacks
from harness.cli.report import print_next, print_report, report_on
from harness.cli.search import run_search
from harness.cli.sync import TrackingWorker, finish
from harness.cli.workspace import Workspace, open_workspace, slots_and_threads, trainings_at_once
from harness.errors import HarnessError, PlanError, ProblemList, StageError
from harness.execution.runner import Summary
from harness.pipeline.corpus import CORPUS
from harness.pipeline.graph import Stage
from harness.pipeline.imports import IMPORTED
from harness.pipeline.tokens import TALLY
from harness.plan.disk import disk_of, free_bytes
from harness.plan.preregistration import register_claims
from harness.plan.work import Work
from harness.report.index import write_index
from harness.report.words import plural

DONE, FAILED, INTERRUPTED = 0, 1, 130
CONTINUE = "Run the same command to continue."


def run_recipe(recipe: Path, assignments: Sequence[str], workdir: Path | None, *, dry_run: bool) -> int:
    """Run a recipe; returns the exit code."""
    try:
        return _run(recipe, assignments, workdir, dry_run=dry_run)
    except KeyboardInterrupt:  # while it was planned or reported, or a second time
        errors().print(f"Interrupted. {CONTINUE}")
        return INTERRUPTED


def _run(recipe: Path, assignments: Sequence[str], workdir: Path | None, *, dry_run: bool) -> int:
    if not dry_run and errors().is_terminal:
        errors().print(f"planning {recipe}", style="dim")
    workspace = open_workspace(recipe, assignments, workdir, writes=True, runs=not dry_run)
    work = workspace.work()
    problems = [*_import_problems(work), *lacks(workspace, work, fetches=not dry_run)]
    if problems:
        raise ProblemList(problems)
    if dry_run:
        for stage in work.to_run:
            output().print(f"{stage.name}  {stage.label}")
        output().print(f"{len(work.to_run)} of {plural(len(workspace.plan.stages), 'stage')} to run")
        return DONE
    _announce(workspace, work)
    _warn_of_disk(workspace, work)
    workspace.store.create()
    workspace = _count_tokens(workspace, lambda: open_workspace(recipe, assignments, workdir, writes=True, runs=True))
    work = workspace.work()
    register_claims(workspace.plan, workspace.store)
    searches = workspace.trials is not None and not workspace.has_searched
    with _tracking(workspace, work, recipe, assignments, searches=searches) as worker:
        work = _read_corpora(workspace, work)
        if searches:
            summary = run_search(workspace)
            if summary.interrupted:
                errors().print(f"Interrupted during the search. {CONTINUE}")
                return INTERRUPTED
            workspace = open_workspace(recipe, assignments, workdir, writes=True, runs=True)
            work = workspace.work()
        write_index(workspace.plan, workspace.reports)
        return _run_left(workspace, work, worker, recipe, assignments)


def _announce(workspace: Workspace, work: Work) -> None:
    """Say what is about to run before anything is imported for it, which can take a while."""
    stages = f"{plural(len(workspace.plan.stages), 'stage')}, {len(work.done):,} done"
    starting = ""
    if work.to_run:
        workers = min(slots_and_threads(workspace.runtime)[0], len(work.to_run))
        starting = f", starting {plural(workers, 'worker')}"
    errors().print(f"{workspace.plan.loaded.recipe.name}: {stages}{starting}")


def _count_tokens(workspace: Workspace, anew: Callable[[], Workspace]) -> Workspace:
    """Counts what matched settings wait for, so that nothing is trained where they cannot be matched.

    Args:
        anew: opens the workspace again.

    Raises:
        ProblemList: they cannot be matched.
        KeyboardInterrupt: the counting was interrupted.
    """
    counts = [stage for stage in workspace.plan.stages if stage.kind is TALLY]
    if not workspace.plan.loaded.waiting:
        return workspace
    _run_first(workspace, counts, workspace.work())
    return anew()


def _run_first(workspace: Workspace, stages: Sequence[Stage], work: Work) -> None:
    summary = execute_first(workspace, stages, work)
    failed = [
        StageError(f"all other stages wait for {one.task.label}, which failed: {one.reason}") for one in summary.failed
    ]
    if failed:
        raise ProblemList(failed)


def _read_corpora(workspace: Workspace, work: Work) -> Work:
    """With a budget of pairs a document, reads the corpora before anything else; returns what is left.

    Raises:
        ProblemList: a corpus has too few documents.
        KeyboardInterrupt: the reading was interrupted.
    """
    corpora = [stage for stage in work.to_run if stage.kind is CORPUS]
    if workspace.runtime.budget.pairs_a_document is None or not corpora:
        return work
    _run_first(workspace, corpora, work)
    left = workspace.work()
    problems = list(budget_problems(workspace, left))
    if problems:
        raise ProblemList(problems)
    return left


def _tracking(
    workspace: Workspace, work: Work, recipe: Path, assignments: Sequence[str], *, searches: bool
) -> AbstractContextManager[TrackingWorker | None]:
    """What shows the run while it goes on; nothing where nothing is to run."""
    if not (work.to_run or searches) or workspace.runtime.tracking == "none":
        return nullcontext()
    return TrackingWorker(workspace, recipe, assignments, live=True)


def _run_left(
    workspace: Workspace, work: Work, worker: TrackingWorker | None, recipe: Path, assignments: Sequence[str]
) -> int:
    summary = Summary()
    if work.to_run:
        summary = execute(workspace, work.to_run, everything=workspace.plan.stages)
    report = None
    try:
        if not summary.interrupted:
            report = report_on(workspace)
    finally:  # what failed before is told even where no report can be written
        _tell(workspace, work, summary)
    if report is not None:
        print_report(report)
        if worker is not None:
            finish(worker, report, workspace, recipe)
        print_next(report, workspace, recipe, assignments)
    if summary.interrupted:
        return INTERRUPTED
    return FAILED if summary.failed or (report is not None and report.failure) else DONE


def _import_problems(work: Work) -> Iterator[HarnessError]:
    """Imports whose files are gone, which no run can fetch."""
    for stage in work.to_run:
        if stage.kind in IMPORTED.values():
            yield PlanError(
                f"the files of {stage.label} are not in the workdir",
                "",
                "`harness import` it again",
                stage.name,
            )


def _warn_of_disk(workspace: Workspace, work: Work) -> None:
    """Say it beforehand where the stages left will hardly fit: an estimate, and no reason to refuse."""
    if not work.to_run:
        return
    at_once = trainings_at_once(workspace.runtime)
    disk = disk_of(work.to_run, workspace.plan.stages, workspace.store, at_once)
    warning = disk_warning(disk, free_bytes(workspace.workdir), workspace.workdir)
    if warning:
        errors().print(warning, style="red")


def _tell(workspace: Workspace, work: Work, summary: Summary) -> None:
    console = errors()
    total, computed = len(workspace.plan.stages), len(summary.computed)
    if not summary.interrupted:
        console.print(f"{plural(computed, 'stage')} computed, {len(work.done)} of {total} were done before")
    for outcome in summary.failed:
        console.print(f"failed: {outcome.task.label}: {outcome.reason}", style="red")
        if outcome.log:
            console.print(f"  log: {workspace.store.root / outcome.log}")
    if summary.interrupted:
        console.print(f"Interrupted: {len(work.done) + computed} of {total} stages done. {CONTINUE}")
    elif summary.blocked:
        console.print(f"{plural(len(summary.blocked), 'stage waits', 'stages wait')} for those. {CONTINUE}")

"""`harness report`: compare what is done, write the report, show its leaderboard."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.console import output
from harness.cli.execute import execute
from harness.cli.tables import print_table, table
from harness.cli.workspace import Workspace, discard_damaged, open_workspace, stands
from harness.pipeline.code import is_stale
from harness.pipeline.evaluations import metric_label
from harness.pipeline.graph import Stage
from harness.plan.analysis import analysis_stage
from harness.plan.effects import with_effects
from harness.plan.plan import without_collections
from harness.plan.preregistration import register_claims
from harness.report import write
from harness.report.board import ONE_CLUSTER, Board, Row
from harness.report.index import write_index
from harness.report.overview import Overview, comparison_failure, overview
from harness.report.results import read_all
from harness.report.rows import SEPARATOR
from harness.report.status import look
from harness.report.words import NO_SPREAD
from harness.report.write import ReportFiles
from harness.store.store import Snapshot

PLAIN_WIDTH = 80  # columns of a leaderboard that is printed into a file
MOST_ITEMS = 5  # details of a caution that are printed; the report has all


@dataclass(frozen=True, kw_only=True)
class Report:
    """A written report and what the terminal shows of it; `search` is what a search has come to, in sentences."""

    files: ReportFiles
    overview: Overview
    search: tuple[str, ...] = ()

    @property
    def failure(self) -> str:
        """Why what is done is not compared, "" where it is, or where nothing is done yet."""
        return comparison_failure(self.overview.analysis, self.overview.statuses)


def write_report(recipe: Path, assignments: Sequence[str], workdir: Path | None) -> int:
    """Report on what is done so far of a recipe; returns the exit code, 1 where the comparison failed."""
    workspace = open_workspace(recipe, assignments, workdir, writes=True)
    report = report_on(workspace)
    print_report(report)
    print_next(report, workspace, recipe, assignments)
    return 1 if report.failure else 0


@without_collections()
def report_on(workspace: Workspace) -> Report:
    """Compare the finished outcomes (once) and write the report, unless it stands already."""
    plan, store = workspace.plan, workspace.store
    register_claims(plan, store)
    snapshot = Snapshot(store)  # of what is reported on; what compares it may be computed yet
    stage = _analysis(workspace, snapshot)
    after = with_effects(plan, stage)
    stages = [one for one in after if not _is_current(workspace, one, snapshot)]
    for one in stages:
        record = store.record(one.kind.name, one.fingerprint)
        if record is not None:
            store.discard(record)
    if stages and execute(workspace, stages, everything=[*plan.stages, *stages]).interrupted:
        raise KeyboardInterrupt
    seen = overview(plan, store, stage, after=after, snapshot=snapshot.later())
    write_index(plan, workspace.reports)
    files = write.write_report(plan, store, stage, workspace.reports, seen=seen, search=workspace.search)
    return Report(files=files, overview=seen, search=_found(workspace, seen))


def _found(workspace: Workspace, seen: Overview) -> tuple[str, ...]:
    if workspace.search is None:
        return ()
    from harness.report.search import search_answer  # renders: a run that has nothing to do does not

    return search_answer(workspace.plan, seen, workspace.search)


def _analysis(workspace: Workspace, snapshot: Snapshot) -> Stage | None:
    """The stage that compares what counts as finished.

    Outcomes whose values were dropped take part only where they were compared before: reporting recomputes nothing.
    """
    plan = workspace.plan
    done = workspace.work(snapshot).done
    recorded = done
    statuses = look(plan.stages, workspace.store, snapshot)
    retracted = frozenset(key for key, status in statuses.items() if status.retracted)
    if workspace.runtime.stale_code == "keep":
        recorded = frozenset(key for key, status in statuses.items() if status.record is not None)
    stage = analysis_stage(plan, recorded, retracted)
    if stage is not None:
        discard_damaged(workspace.store, stage)
    if stage is None or _is_current(workspace, stage, snapshot):
        return stage
    return analysis_stage(plan, done, retracted)


def _is_current(workspace: Workspace, stage: Stage, snapshot: Snapshot) -> bool:
    """Whether a comparison stands: done after all that it compares, which may have been computed again since."""
    store = workspace.store
    record = store.record(stage.kind.name, stage.fingerprint)
    if record is None:
        return False
    if workspace.runtime.stale_code == "rerun" and is_stale(stage.kind, record):
        return False
    return stands(store, stage, snapshot)


# ------------------------------------------------------------------------------------------------- terminal


def print_report(report: Report) -> None:
    """Print the answer, the leaderboard of each task, what limits them, and where the files are."""
    console = output()
    if any(row.estimates for board in report.overview.boards for row in board.rows):
        from harness.report.answer import answer, claims_in_words

        for sentence in (*claims_in_words(report.overview.findings), *answer(report.overview.boards)):
            console.print(Text(sentence, style="bold"), soft_wrap=False)
        console.print()
    for board in report.overview.boards:
        if any(row.estimates for row in board.rows):
            _print_board(console, board)
            for row in board.rows:
                for reason in dict.fromkeys(row.retracted.values()):
                    console.print(Text(f"{row.label}: {reason}", style="yellow"), soft_wrap=False)
                for gap in row.gap_lines:
                    line = Text(f"{row.label}: {gap}", style="yellow" if row.asked else "dim")
                    console.print(line, soft_wrap=False)
            console.print()
        else:
            gaps = {gap for row in board.settings for gap in row.gaps.values()}
            why = f"not compared: {report.failure}" if report.failure else "nothing to compare yet"
            why = ONE_CLUSTER if gaps == {ONE_CLUSTER} else why
            console.print(f"{board.title}: {why}")
    for sentence in report.search:
        console.print(Text(sentence), soft_wrap=False)
    for caution in report.overview.cautions:
        line = Text(caution.title, style="yellow")
        if caution.items:
            more = len(caution.items) - MOST_ITEMS
            items = [*caution.items[:MOST_ITEMS], *([f"{more:,} more in the report"] if more > 0 else [])]
            line.append(f" ({'; '.join(items)})")
        console.print(line, soft_wrap=False)
    for damage in report.files.damaged:
        console.print(damage, style="yellow")
    for path in report.files.paths:
        console.print(str(path))


def print_next(report: Report, workspace: Workspace, recipe: Path, assignments: Sequence[str]) -> None:
    """Print the commands that look closer at a report, or go beyond it."""
    lines = []
    if workspace.runtime.tracking != "none":
        lines.append(("show the runs in MLflow", ["ui", str(recipe), *workspace.options(assignments)]))
    pair = _pair(report.overview.boards)
    if pair is not None:
        one, other = pair
        if len(read_all(workspace.workdir)) > 1:  # where a second recipe may have rows of these names
            one = f"{workspace.plan.loaded.recipe.name}{SEPARATOR}{one}"
        lines.append(("compare two rows problem by problem", ["compare", one, other, *workspace.options()]))
    lines.append(("write a variation of this recipe", ["init", "my-recipe.yaml", "--from", str(recipe)]))
    output().print()
    for what, words in lines:
        output().print(f"To {what}:\n  harness {shlex.join(words)}")


def _pair(boards: Sequence[Board]) -> tuple[str, str] | None:
    """Two rows to compare: a setting, and the baseline or what else there is."""
    for board in boards:
        rows = [row for row in board.rows if row.estimates]
        settings = [row.name for row in rows if row.is_setting]
        others = [board.baseline, *settings, *(row.name for row in rows)]
        if not settings:
            continue
        first = next((name for name in settings if name != board.baseline), settings[0])
        second = next((name for name in others if name != first and any(row.name == name for row in rows)), None)
        if second is not None:
            return first, second
    return None


def _print_board(console: Console, board: Board) -> None:
    """Print a leaderboard: on a terminal within its width, in a file within that of an ordinary one."""
    if not console.is_terminal:
        console.width = min(console.width, PLAIN_WIDTH)
    level = next(one.level for row in board.rows for one in row.estimates.values())
    console.print(Text(f"{board.title} (with {100 * level:g} % intervals)", style="bold"))
    print_table(_table(board), console)


def _table(board: Board) -> Table:
    metrics = [metric_label(metric) for metric in board.key_metrics]
    order = ["order"] if board.has_places else []
    made = table("", "setting", "seeds", *metrics, *order, right=(*metrics, *order), whole=("setting", "seeds"))
    for row in (row for row in board.rows if row.estimates):
        name = Text(row.label, style="dim" if row.is_reference else "")
        places = [Text(str(row.places.get(board.main, "")))] if order else []
        made.add_row(name, Text(row.seeds), *(_cell(row, metric) for metric in board.key_metrics), *places)
    return made


def _cell(row: Row, metric: str) -> Text:
    found = row.estimates.get(metric)
    if found is None:
        return Text("")
    cell = Text(_short(found.estimate, 3), style="bold" if row.is_setting else "dim")
    limits = f"[{_short(found.low, 2)}, {_short(found.high, 2)}]" if found.low < found.high else NO_SPREAD
    cell.append(f" {limits}", style="not bold dim")
    return Text(cell.plain, style="dim strike") if row.doubt(metric) else cell


def _short(value: float, digits: int) -> str:
    """A number from 0 to 1 without its leading 0, so that a leaderboard fits 80 columns."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text

"""`harness report`: compare what is done, write the report, show its leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.cli.console import UNBOUNDED, output, table
from harness.cli.execute import execute
from harness.cli.workspace import Workspace, discard_damaged, open_workspace, stands
from harness.pipeline.code import is_stale
from harness.pipeline.evaluations import metric_label
from harness.pipeline.graph import Stage
from harness.plan.analysis import analysis_stage
from harness.plan.effects import effects_stage
from harness.report import write
from harness.report.board import Board, Row
from harness.report.index import write_index
from harness.report.overview import Overview, comparison_failure, overview
from harness.report.status import look
from harness.report.words import NO_SPREAD
from harness.report.write import ReportFiles

NAME_WIDTH = 20  # columns that a setting's name keeps on a narrow terminal, folded


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
    report = report_on(open_workspace(recipe, assignments, workdir, writes=True))
    print_report(report)
    return 1 if report.failure else 0


def report_on(workspace: Workspace) -> Report:
    """Compare the finished outcomes (once) and write the report, unless it stands already."""
    plan, store = workspace.plan, workspace.store
    stage = _analysis(workspace)
    after = [] if stage is None else [stage, *filter(None, [effects_stage(plan, stage)])]
    stages = [one for one in after if not _is_current(workspace, one)]
    for one in stages:
        record = store.record(one.kind.name, one.fingerprint)
        if record is not None:
            store.discard(record)
    if stages and execute(workspace, stages, everything=[*plan.stages, *stages]).interrupted:
        raise KeyboardInterrupt
    seen = overview(plan, store, stage)
    write_index(plan, workspace.reports)
    files = write.write_report(plan, store, stage, workspace.reports, seen=seen, search=workspace.search)
    return Report(files=files, overview=seen, search=_found(workspace, seen))


def _found(workspace: Workspace, seen: Overview) -> tuple[str, ...]:
    if workspace.search is None:
        return ()
    from harness.report.search import search_answer  # renders: a run that has nothing to do does not

    return search_answer(workspace.plan, seen, workspace.search)


def _analysis(workspace: Workspace) -> Stage | None:
    """The stage that compares what counts as finished.

    Outcomes whose values were dropped take part only where they were compared before: reporting recomputes nothing.
    """
    plan = workspace.plan
    done = workspace.work().done
    recorded = done
    statuses = look(plan.stages, workspace.store)
    retracted = frozenset(key for key, status in statuses.items() if status.retracted)
    if workspace.runtime.stale_code == "keep":
        recorded = frozenset(key for key, status in statuses.items() if status.record is not None)
    stage = analysis_stage(plan, recorded, retracted)
    if stage is not None:
        discard_damaged(workspace.store, stage)
    if stage is None or _is_current(workspace, stage):
        return stage
    return analysis_stage(plan, done, retracted)


def _is_current(workspace: Workspace, stage: Stage) -> bool:
    """Whether a comparison stands: done after all that it compares, which may have been computed again since."""
    store = workspace.store
    record = store.record(stage.kind.name, stage.fingerprint)
    if record is None:
        return False
    if workspace.runtime.stale_code == "rerun" and is_stale(stage.kind, record):
        return False
    return stands(store, stage)


# ------------------------------------------------------------------------------------------------- terminal


def print_report(report: Report) -> None:
    """Print the leaderboard of each task, what to beware of, and where the files are."""
    console = output()
    for board in report.overview.boards:
        if any(row.estimates for row in board.rows):
            _print_board(console, board)
            for row in board.rows:
                for reason in dict.fromkeys(row.retracted.values()):
                    console.print(Text(f"{row.label}: {reason}", style="yellow"))
                for gap in row.gap_lines:
                    console.print(Text(f"{row.label}: {gap}", style="yellow" if row.asked else "dim"))
            console.print()
        else:
            why = f"not compared: {report.failure}" if report.failure else "nothing to compare yet"
            console.print(f"{board.title}: {why}")
    for sentence in report.search:
        console.print(Text(sentence))
    for caution in report.overview.cautions:
        line = Text(caution.title, style="yellow")
        if caution.items:
            line.append(f" ({'; '.join(caution.items)})")
        console.print(line)
    for damage in report.files.damaged:
        console.print(damage, style="yellow")
    for path in report.files.paths:
        console.print(str(path))


def _print_board(console: Console, board: Board) -> None:
    """Print a leaderboard. Where a terminal is too narrow for it whole columns are left out, and that is said."""
    main, *others = board.key_metrics
    order = ["order"] if board.has_places else []
    columns, left_out = ["seeds", main, *others, *order], list[str]()
    made = _table(board, columns)
    for column in (*others, "seeds", *order):
        if _needed(made, console) <= console.width:
            break
        columns.remove(column)
        left_out.append(_title(column))
        made = _table(board, columns)
    console.print(made, soft_wrap=False)
    if left_out:
        console.print(
            f"left out on {console.width} columns: {', '.join(left_out)}; the files below have all", style="dim"
        )


def _needed(made: Table, console: Console) -> int:
    """Columns of a terminal that a leaderboard needs, with long names folded and nothing else."""
    longest = max(cell_len(str(cell)) for cell in made.columns[0].cells)
    whole = console.measure(made, options=console.options.update(width=UNBOUNDED)).maximum
    return whole - max(0, longest - NAME_WIDTH)


def _table(board: Board, columns: Sequence[str]) -> Table:
    level = next(one.level for row in board.rows for one in row.estimates.values())
    numbers = [column for column in columns if column != "seeds"]
    title = f"{board.title} (with {100 * level:g} % intervals)"
    made = table(title, "setting", *map(_title, columns), right=tuple(map(_title, numbers)))
    made.pad_edge = False
    for column in made.columns[1:]:
        column.no_wrap = True
    for row in (row for row in board.rows if row.estimates):
        facts = {"seeds": Text(row.seeds), "order": Text(str(row.places.get(board.main, "")))}
        name = Text(row.label, style="dim" if row.is_reference else "")
        made.add_row(name, *(facts[column] if column in facts else _cell(row, column) for column in columns))
    return made


def _title(column: str) -> str:
    return column if column in ("seeds", "order") else metric_label(column)


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

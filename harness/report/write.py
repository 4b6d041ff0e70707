"""Writes a report's files, and knows when they are still those of the plan's present state.

What renders (plotly, jinja2) is imported only when something changed since the last time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.pipeline.graph import Stage
from harness.plan.plan import Plan, without_collections
from harness.report.joint import Joint
from harness.report.overview import Overview, overview
from harness.report.version import harness_version
from harness.search.state import SEARCH, SearchState
from harness.store.identity import fingerprint
from harness.store.record import write_text
from harness.store.store import Store

if TYPE_CHECKING:
    from harness.report.collect import ReportData

STATE = "rendered.json"
HTML, MARKDOWN, CSV, JSON, LATEX = "report.html", "report.md", "leaderboard.csv", "report.json", "report.tex"


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where a report is. `rendered` is False where it stood already; `search` is None without a search.

    `damaged` says which stages' files were not as their records have them, with the remedy.
    """

    html: Path
    markdown: Path
    csv: Path
    json: Path
    latex: Path
    rendered: bool
    search: Path | None = None
    damaged: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        beside = () if self.search is None else (self.search,)
        return (self.html, self.markdown, self.csv, self.json, self.latex, *beside)


@without_collections()
def write_report(
    plan: Plan,
    store: Store,
    analysis: Stage | None,
    directory: Path,
    *,
    seen: Overview | None = None,
    search: SearchState | None = None,
) -> ReportFiles:
    """Write the report of what is done so far, unless the files in `directory` already are that report.

    Args:
        analysis: the stage that compares the finished outcomes; None while there is none. It may have failed.
        seen: its overview, if the caller has one already.
        search: what the recipe's search has come to so far.
    """
    seen = seen or overview(plan, store, analysis)
    digest = state_digest(plan, store, seen, search)
    files = _files(directory, search)
    if _stands(files, digest):
        return files
    from harness.report.collect import collect

    return _render(files, collect(plan, store, seen, search), digest, search)


def write_joint_report(joint: Joint, seen: Overview, name: str, directory: Path) -> ReportFiles:
    """Write one report of several recipes, unless the files in `directory` already are that report.

    Args:
        seen: the overview of all of them.
        name: what the report is called.
    """
    states = [(part.name, state_digest(part.plan, part.store, part.seen, part.search)) for part in joint.parts]
    rows = [row for board in seen.boards for row in board.rows]
    compared = [
        str((one.task, one.name, one.estimates, one.differences, one.above, one.places, one.gaps)) for one in rows
    ]
    digest = fingerprint({"name": name, "parts": states, "compared": compared})
    files = _files(directory)
    if _stands(files, digest):
        return files
    from harness.report.collect import collect
    from harness.report.joint_data import joint_data

    datas = [collect(part.plan, part.store, part.seen, part.search) for part in joint.parts]
    return _render(files, joint_data(joint, name, seen, datas), digest, None)


def _files(directory: Path, search: SearchState | None = None) -> ReportFiles:
    return ReportFiles(
        html=directory / HTML,
        markdown=directory / MARKDOWN,
        csv=directory / CSV,
        json=directory / JSON,
        latex=directory / LATEX,
        search=None if search is None else directory / SEARCH,
        rendered=False,
    )


def _stands(files: ReportFiles, digest: str) -> bool:
    return all(path.is_file() for path in files.paths) and _last_digest(files.html.parent) == digest


def _render(files: ReportFiles, data: ReportData, digest: str, search: SearchState | None) -> ReportFiles:
    from harness.report.html import render_html
    from harness.report.latex import render_latex
    from harness.report.markdown import render_markdown
    from harness.report.tables import leaderboard, report_json

    contents = [render_html(data), render_markdown(data), leaderboard(data), report_json(data), render_latex(data)]
    contents += [] if search is None else [json.dumps(asdict(search), indent=1, ensure_ascii=False) + "\n"]
    directory = files.html.parent
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in zip(files.paths, contents, strict=True):
        write_text(path, text)
    write_text(directory / STATE, json.dumps({"digest": digest}) + "\n")
    return replace(files, rendered=True, damaged=data.damaged)


def state_digest(plan: Plan, store: Store, seen: Overview, search: SearchState | None = None) -> str:
    """Changes with anything the report shows: the recipe, the stages' results and times, failures, the search's
    trials, this room's code.
    """
    stages: list[dict[str, Any]] = []
    for status in seen.statuses.values():
        record = status.record
        stages.append(
            {
                "stage": status.stage.fingerprint,
                "label": status.stage.label,
                "state": status.state,
                "reason": status.reason,
                "stale": status.stale,
                "retracted": status.retracted,
                "output": "" if record is None else record.output_digest,
                "finished": "" if record is None else str(seen.runs[record.fingerprint]["finished"]),
                "payload": record is not None and store.has_payload(record),
            }
        )
    recipe = plan.loaded.recipe.model_dump(mode="json", by_alias=True, exclude={"runtime"})
    settings = [list(setting.names) for setting in plan.settings]
    exploratory = [one.first_scored for found in seen.findings for one in found.results]
    shown = {
        "exploratory": exploratory,
        "recipe": recipe,
        "settings": settings,
        "stages": stages,
        "code": [_code_digest(), str(harness_version())],
    }
    return fingerprint(shown if search is None else {**shown, "search": json.dumps(asdict(search))})


def _code_digest() -> str:
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted([*folder.glob("*.py"), *folder.glob("templates/*")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _last_digest(directory: Path) -> str:
    try:
        return str(json.loads((directory / STATE).read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # never rendered, or the note is damaged: either way it is rendered now

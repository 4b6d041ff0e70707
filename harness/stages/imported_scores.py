"""imported_scores: somebody else's scores of a pool's candidates."""

from __future__ import annotations

from typing import Any

from harness.imports.files import COLUMNS
from harness.imports.tables import read_scores
from harness.sources.rows import read_rows
from harness.stages.context import StageContext
from harness.stages.incoming import incoming, provenance
from harness.store.artifacts import CandidateScores


def run(context: StageContext) -> dict[str, Any]:
    """Check and write; the result names the tasks that the file is about, [] where it names none."""
    with incoming(context, "scores") as path:
        rows = read_scores(read_rows(path, COLUMNS["scores"]))
    CandidateScores(context.directory).write(rows)
    return {
        **provenance(context),
        "scores": len(rows),
        "problems": len({(row["task"], row["problem"]) for row in rows}),
        "tasks": sorted({row["task"] for row in rows} - {""}),
    }

"""problem_splits: that no problem, template or passage of a task is in two splits."""

from __future__ import annotations

from typing import Any

from harness.errors import DataError
from harness.stages.context import StageContext
from harness.store.artifacts import Problems


def run(context: StageContext) -> dict[str, Any]:
    """Check, and count problems and clusters by split.

    Raises:
        DataError: a cluster or a prompt is in two splits.
    """
    where: dict[tuple[str, str], str] = {}
    problems: dict[str, int] = {}
    clusters: dict[str, int] = {}
    for split, artifact in context.inputs_like("problems", Problems):
        rows = artifact.rows()
        problems[split], clusters[split] = len(rows), len({row["cluster"] for row in rows})
        for what in ("cluster", "prompt"):
            for value in dict.fromkeys(row[what] for row in rows):
                if where.setdefault((what, value), split) != split:
                    raise DataError(
                        f"no {what} may be in two splits",
                        f"{value[:80]!r} is in {where[what, value]} and {split}",
                        "ask for fewer problems, or correct the task's cluster key",
                    )
    return {"problems": problems, "clusters": clusters}

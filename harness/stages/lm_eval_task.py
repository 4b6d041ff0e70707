"""lm_eval_task: the documents that a task of lm-evaluation-harness judges models by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.evaluation.lm_eval_task import documents, load_task
from harness.pipeline.evaluations.retention import LM_EVAL_TASK
from harness.stages.context import StageContext
from harness.store.artifacts import LmEvalDocuments


def run(context: StageContext) -> dict[str, Any]:
    """Load the task as planned and write its documents.

    Raises:
        DataError: its files are no longer those of the plan, or lm-eval cannot load it.
    """
    spec, path = LM_EVAL_TASK.read(context.spec), Path(context.how.source_path)
    found = documents(spec.task, load_task(spec.task, path, spec.files), spec.limit)
    names = LmEvalDocuments.columns
    LmEvalDocuments(context.directory).write([dict(zip(names, row, strict=True)) for row in found])
    return {"documents": len(found)}

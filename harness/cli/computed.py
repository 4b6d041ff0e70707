"""A stage that compares rows, computed in this process: it takes seconds, and no worker is worth starting."""

from __future__ import annotations

from harness.errors import StageError
from harness.pipeline.graph import Stage
from harness.store.store import Store


def compute(store: Store, stage: Stage) -> None:
    """Compute a stage anew.

    Raises:
        StageError: it failed.
    """
    from harness.execution.runner import make_task
    from harness.execution.worker import run_task

    store.create()
    old = store.record(stage.kind.name, stage.fingerprint)
    if old is not None:
        store.discard(old)
    outcome = run_task(make_task(stage, store, {}), device="cpu", threads=1, held={})
    if outcome.status != "done":
        reason = outcome.reason or outcome.status
        raise StageError("rows must be comparable", reason, "see the log and run again")

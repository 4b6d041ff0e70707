"""`python -m harness.cli.tracking_worker`: brings MLflow up to date, in a process of its own.

Importing mlflow takes seconds and a server may hang: neither delays or harms a run this way. Orders come as JSON lines
on stdin, answers go as JSON lines to stdout; the end of stdin is the end of the worker.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from harness.cli.console import print_anything
from harness.cli.workspace import Workspace, open_workspace
from harness.errors import HarnessError, MissingRequirement, reason_of
from harness.report.status import look
from harness.report.words import reference_rows
from harness.store.artifacts import Analysis
from harness.tracking.build import Finished, build_view
from harness.tracking.places import place_of
from harness.tracking.view import File

if TYPE_CHECKING:  # importing mlflow takes seconds
    from harness.tracking.mlflow_tracker import MlflowTracker

LIVE_SECONDS = 25.0
LIVE_SHARE = 0.1  # of the time at most is spent on keeping up with a run
NICENESS = 10
LOCK, LOCK_SECONDS = "tracking.lock", 60.0


class Worker:
    """Serves one recipe in one workdir.

    Args:
        open_again: opens it; while its search goes on, what is to be shown changes with what that has come to.

    Attributes:
        pause: seconds to wait before looking again.
    """

    def __init__(self, workspace: Workspace, open_again: Callable[[], Workspace] | None = None) -> None:
        self.pause = LIVE_SECONDS
        self._open_again = open_again
        self._workspace = workspace
        self._place = place_of(workspace.runtime.tracking_uri, workspace.workdir)
        self._tracker: MlflowTracker | None = None
        self._aside = ""  # where a database that could not be opened was put

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out an order; a problem is an answer, too."""
        try:
            if order["do"] == "addresses":
                return self._addresses(order["base"])
            return self._sync(self._finished(order))
        except HarnessError as error:
            return {"problem": [error.rule, error.value, error.remedy]}
        except OSError as error:
            return {"problem": ["files must be read and written", reason_of(error), "fix it and sync again"]}

    def follow(self) -> None:
        """Show what finished, and how far curves grew. What goes wrong is tried again later, and told in the end."""
        began = time.monotonic()
        self.answer({"do": "follow"})
        self.pause = max(LIVE_SECONDS, (time.monotonic() - began) / LIVE_SHARE)

    def _addresses(self, base: str) -> dict[str, Any]:
        from harness.tracking.mlflow_database import require_whole
        from harness.tracking.mlflow_tracker import MlflowTracker

        if self._place.database is not None:
            require_whole(self._place.database)
        tracker = MlflowTracker(self._place.uri, self._place.artifacts)
        return asdict(tracker.addresses(self._workspace.plan.loaded.recipe.name, base))

    def _sync(self, finished: Finished | None) -> dict[str, Any]:
        if self._open_again is not None and self._workspace.trials is not None and not self._workspace.has_searched:
            self._workspace = self._open_again()
        plan, store = self._workspace.plan, self._workspace.store
        try:
            # Two runs of a workdir must not create a database or a run each.
            with FileLock(str(store.root / LOCK), timeout=LOCK_SECONDS):
                tracker = self._open()
                statuses = look(plan.stages, store)
                states = {key: status.state for key, status in statuses.items()}
                retracted = {key: status.retracted for key, status in statuses.items() if status.retracted}
                counts = tracker.show(build_view(plan, store, states, finished, retracted, self._workspace.search))
                return {"runs": counts, "aside": self._aside}
        except Timeout:
            raise MissingRequirement(
                "only one process at a time may update MLflow",
                f"another one has been showing this workdir for {LOCK_SECONDS:g} seconds",
                "`harness sync` the recipe once that has ended",
            ) from None

    def _open(self) -> MlflowTracker:
        if self._tracker is None:
            from harness.tracking.mlflow_database import prepare
            from harness.tracking.mlflow_tracker import MlflowTracker

            place = self._place
            if place.database is not None and place.artifacts is not None:
                aside = prepare(place.database, place.artifacts)
                self._aside = "" if aside is None else str(aside)
            self._tracker = MlflowTracker(place.uri, place.artifacts)
        return self._tracker

    def _finished(self, order: Mapping[str, Any]) -> Finished | None:
        if order["do"] == "follow":
            return None
        files = tuple(File(name=Path(path).name, content=Path(path)) for path in order["report"])
        store = self._workspace.store
        record = store.record("analysis", order["analysis"]) if order["analysis"] else None
        if record is None:
            return Finished(report=files, made=time.time())
        path = Analysis(store.directory(record.kind, record.fingerprint)).path
        return Finished(
            analysis=json.loads(path.read_text(encoding="utf-8")),
            made=float(store.run_facts(record)["finished"]),
            references={row: label for row, (label, _) in reference_rows(self._workspace.plan).items()},
            report=files,
        )


@contextmanager
def _answers() -> Iterator[IO[str]]:
    """The real stdout; whatever libraries print goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's; it closes stdin
    os.nice(NICENESS)
    print_anything()  # MLflow's words, which go to a log
    with _answers() as answers, open(0, "rb", buffering=0, closefd=False) as orders:
        asked = json.loads(orders.readline())
        open_again = partial(open_workspace, Path(asked["recipe"]), asked["assignments"], Path(asked["workdir"]))
        worker = Worker(open_again(), open_again)
        import harness.tracking.mlflow_tracker  # noqa: F401  # takes seconds, in which no order waits for us

        while True:
            ready, _, _ = select.select([orders], [], [], worker.pause if asked["live"] else None)
            if not ready:
                worker.follow()
                continue
            line = orders.readline()
            if not line:
                return
            answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
    os._exit(0)  # all is said; to take mlflow's modules down would take a second, in which a run waits for us

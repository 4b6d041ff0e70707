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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from harness.cli.console import print_anything
from harness.cli.workspace import Workspace, open_workspace
from harness.errors import HarnessError
from harness.report.status import look
from harness.report.words import REFERENCES
from harness.store.artifacts import Analysis
from harness.tracking.build import Finished, build_view
from harness.tracking.curves import written
from harness.tracking.places import place_of
from harness.tracking.tracker import Tracker
from harness.tracking.view import File

LIVE_SECONDS = 25.0
LIVE_SHARE = 0.1  # of the time at most is spent on keeping up with a run
NICENESS = 10
LOCK = "tracking.lock"


class Worker:
    """Serves one recipe in one workdir."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._place = place_of(workspace.runtime.tracking_uri, workspace.workdir)
        self._tracker: Tracker | None = None
        self._seen: object = None
        self._pause = LIVE_SECONDS

    @property
    def pause(self) -> float:
        """Seconds to wait before looking again."""
        return self._pause

    def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out an order; a problem is an answer, too."""
        try:
            if order["do"] == "addresses":
                return asdict(self._open().addresses(self._workspace.plan.loaded.recipe.name, order["base"]))
            return self._sync(self._finished(order))
        except HarnessError as error:
            return {"problem": [error.rule, error.value, error.remedy]}

    def follow(self) -> None:
        """Show what finished, and how far curves grew, since the last look.

        Whatever goes wrong is tried again later, and told in the end.
        """
        began = time.monotonic()
        plan, store = self._workspace.plan, self._workspace.store
        states = tuple(status.state for status in look(plan.stages, store).values())
        now = (states, written(plan.stages, store))
        if now != self._seen:
            answer = self.answer({"do": "follow"})
            self._seen = None if "problem" in answer else now
        self._pause = max(LIVE_SECONDS, (time.monotonic() - began) / LIVE_SHARE)

    def _sync(self, finished: Finished | None) -> dict[str, Any]:
        plan, store = self._workspace.plan, self._workspace.store
        tracker = self._open()
        with FileLock(str(store.root / LOCK)):  # two runs of a workdir must not make a run each
            statuses = look(plan.stages, store)
            states = {key: status.state for key, status in statuses.items()}
            retracted = {key: status.retracted for key, status in statuses.items() if status.retracted}
            return asdict(tracker.show(build_view(plan, store, states, finished, retracted)))

    def _open(self) -> Tracker:
        if self._tracker is None:
            from harness.tracking.mlflow_tracker import MlflowTracker

            if self._place.folder is not None:
                self._place.folder.mkdir(parents=True, exist_ok=True)
            self._tracker = MlflowTracker(self._place.uri, self._place.artifacts)
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
            references={row: label for row, (label, _) in REFERENCES.items()},
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
        workdir = Path(asked["workdir"])
        worker = Worker(open_workspace(Path(asked["recipe"]), asked["assignments"], workdir))
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

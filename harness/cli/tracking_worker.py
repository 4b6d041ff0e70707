"""`python -m harness.cli.tracking_worker`: brings MLflow up to date, in a process of its own.

Importing mlflow takes seconds and a server may hang: neither delays or harms a run this way. Orders come as JSON lines
on stdin, answers go as JSON lines to stdout; the end of stdin is the end of the worker. Between them it says what it is
at each time that got on, so that whoever waits knows how long to wait for more.
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
from pathlib import Path
from typing import IO, Any, Literal

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
from harness.tracking.tracker import Addresses, Tracker
from harness.tracking.view import File

LIVE_SECONDS = 25.0
LIVE_SHARE = 0.1  # of the time at most is spent on keeping up with a run
NICENESS = 10
LOCK = "tracking.lock"

At = Literal["working", "queueing", "asking"]
"""What a worker is at: work on this machine, waiting for another run's worker, or asking a tracker."""


class Worker:
    """Serves one recipe in one workdir.

    Args:
        say: called with what it is at, each time that got on.
    """

    def __init__(self, workspace: Workspace, say: Callable[[At], None] = lambda at: None) -> None:
        self._workspace = workspace
        self._say = say
        self._place = place_of(workspace.runtime.tracking_uri, workspace.workdir)
        self._tracker: Tracker | None = None
        self._aside = ""  # where a database that could not be opened was put
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
                return asdict(self._addresses(order["base"]))
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

    def _addresses(self, base: str) -> Addresses:
        self._say("working")
        from harness.tracking.mlflow_database import require_whole
        from harness.tracking.mlflow_tracker import MlflowTracker

        if self._place.database is not None:
            require_whole(self._place.database)
        self._say("asking")
        tracker = MlflowTracker(self._place.uri, self._place.artifacts)
        return tracker.addresses(self._workspace.plan.loaded.recipe.name, base)

    def _sync(self, finished: Finished | None) -> dict[str, Any]:
        self._say("working")
        import harness.tracking.mlflow_tracker  # noqa: F401  # takes seconds, in which nobody need wait for us

        plan, store = self._workspace.plan, self._workspace.store
        self._say("queueing")
        with FileLock(str(store.root / LOCK)):  # two runs of a workdir must not make a database or a run each
            self._say("working")
            tracker = self._open()
            statuses = look(plan.stages, store)
            states = {key: status.state for key, status in statuses.items()}
            retracted = {key: status.retracted for key, status in statuses.items() if status.retracted}
            view = build_view(plan, store, states, finished, retracted)
            self._say("asking")
            return {"runs": asdict(tracker.show(view)), "aside": self._aside}

    def _open(self) -> Tracker:
        if self._tracker is None:
            from harness.tracking.mlflow_database import prepare
            from harness.tracking.mlflow_tracker import MlflowTracker

            place = self._place
            if place.database is not None and place.artifacts is not None:
                aside = prepare(place.database, place.artifacts)
                self._aside = "" if aside is None else str(aside)
            self._say("asking")
            self._tracker = MlflowTracker(place.uri, place.artifacts, lambda: self._say("asking"))
            self._say("working")
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

        def say(data: Mapping[str, Any]) -> None:
            answers.write(json.dumps(data) + "\n")
            answers.flush()

        say({"at": "working"})
        workspace = open_workspace(Path(asked["recipe"]), asked["assignments"], workdir)
        worker = Worker(workspace, lambda at: say({"at": at}))
        while True:
            ready, _, _ = select.select([orders], [], [], worker.pause if asked["live"] else None)
            if not ready:
                worker.follow()
                continue
            line = orders.readline()
            if not line:
                return
            say(worker.answer(json.loads(line)))


if __name__ == "__main__":
    main()

"""`harness sync`, and how `harness run` keeps MLflow up to date: through a worker process, which harms no run."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.cli.console import errors, output, visible
from harness.cli.report import Report, report_on
from harness.cli.workspace import Workspace, open_workspace
from harness.errors import HarnessError, MissingRequirement
from harness.tracking.places import place_of, without_secrets

# Unless the environment says otherwise: no reports home, and no minutes of waiting for a server that is away.
MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
END_SECONDS = 120.0  # that a run waits in the end for MLflow to be complete
STOP_SECONDS = 2.0


def sync_recipe(recipe: Path, assignments: Sequence[str], workdir: Path | None) -> int:
    """Bring MLflow to the state of the store; returns the exit code, 1 where the comparison failed.

    Raises:
        MissingRequirement: MLflow does not answer.
    """
    workspace = open_workspace(recipe, assignments, workdir, writes=True)
    if not workspace.work().done:
        output().print("nothing is done yet, so there is nothing to show")
        return 0
    report = report_on(workspace)
    with TrackingWorker(workspace, recipe, assignments, live=False) as worker:
        output().print(told(worker.sync(report), workspace))
    if report.failure:
        errors().print(f"not compared: {report.failure}", style="red")
        return 1
    return 0


class TrackingWorker:
    """The worker process of one recipe. Starting it takes no time; it loads what it needs on its own.

    Args:
        live: show what finishes while a run goes on, without being asked.
    """

    def __init__(self, workspace: Workspace, recipe: Path, assignments: Sequence[str], *, live: bool) -> None:
        self._shown = place_of(workspace.runtime.tracking_uri, workspace.workdir).shown
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 closed with us
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.cli.tracking_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**MLFLOW_SETTINGS, **os.environ},
            text=True,
        )
        about = {
            "recipe": str(recipe),
            "assignments": list(assignments),
            "workdir": str(workspace.workdir),
            "live": live,
        }
        self._send(about)

    def sync(self, report: Report, seconds: float | None = None) -> dict[str, Any]:
        """Show everything; counts of runs by what was done. `seconds` and errors as in `ask`."""
        return self.ask(sync_order(report), seconds)

    def ask(self, order: Mapping[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """Send an order and wait for its answer, at most so many seconds.

        Raises:
            MissingRequirement: MLflow does not answer, or not in time, or the worker broke.
        """
        answers = self._process.stdout
        assert answers is not None
        self._send(order)
        ready, _, _ = select.select([answers], [], [], seconds)
        if not ready:
            raise MissingRequirement(
                f"MLflow ({self._shown}) is not complete after {seconds:g} seconds",
                "",
                "check that it runs, then `harness sync` the recipe",
            )
        line = answers.readline()
        if not line.endswith("\n"):  # it ended, perhaps in the middle of a line
            raise MissingRequirement(f"the process that updates MLflow ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "problem" in answer:
            raise MissingRequirement(*answer["problem"])
        return answer

    def _send(self, data: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended: told where its answer is missing
            self._process.stdin.write(json.dumps(data) + "\n")
            self._process.stdin.flush()

    def _last_words(self) -> str:
        self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return without_secrets(visible(lines[-1])) if lines else f"exit code {self._process.returncode}"

    def __enter__(self) -> TrackingWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # in the middle of something; the next sync completes it
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


def sync_order(report: Report) -> dict[str, Any]:
    """The order to show everything that is done, and this report of it."""
    analysis = report.overview.analysis
    return {
        "do": "sync",
        "analysis": None if analysis is None else analysis.fingerprint,
        "report": [str(path) for path in report.files.paths],
    }


def finish(
    worker: TrackingWorker, report: Report, workspace: Workspace, recipe: Path, seconds: float = END_SECONDS
) -> None:
    """Show a run's results. Where that fails the run is no worse for it: it says what completes MLflow later."""
    try:
        errors().print(told(worker.sync(report, seconds), workspace))
    except KeyboardInterrupt:
        errors().print(f"MLflow is not complete; `harness sync {recipe}` completes it")
    except HarnessError as error:
        what = HarnessError(error.rule, error.value).one_line()
        remedy = f"results are safe in the workdir; `harness sync {recipe}` completes MLflow"
        errors().print(f"{what}; {remedy}", style="yellow")


def told(answer: Mapping[str, Any], workspace: Workspace) -> str:
    """What a sync did, in words."""
    place = place_of(workspace.runtime.tracking_uri, workspace.workdir)
    changed = [f"{number} {what}" for what, number in answer["runs"].items() if number]
    shown = f"MLflow ({place.shown}): runs {', '.join(changed) or 'none'}"
    if answer["aside"]:
        shown += f"; the database could not be opened: it is now {answer['aside']}, and a new one was written"
    return shown

"""`harness ui`: MLflow's web interface on the right database, and addresses that show settings side by side."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO

from harness.cli.console import output, visible
from harness.cli.sync import MLFLOW_SETTINGS, TrackingWorker
from harness.cli.workspace import Workspace, open_workspace
from harness.errors import MissingRequirement
from harness.tracking.places import Place, place_of, without_secrets

HOST, PORT = "127.0.0.1", 5000
START_SECONDS, LOOK_SECONDS = 90.0, 0.2


def open_ui(recipe: Path, assignments: Sequence[str], workdir: Path | None, port: int | None) -> None:
    """Print where a recipe's runs are shown; for a database, serve it until interrupted.

    Raises:
        MissingRequirement: there is no database yet, the port is taken, or MLflow does not answer.
    """
    workspace = open_workspace(recipe, assignments, workdir)
    place = place_of(workspace.runtime.tracking_uri, workspace.workdir)
    if place.database is not None and not place.database.exists():
        raise MissingRequirement(
            f"no MLflow database at {place.database}",
            "",
            f"`harness {shlex.join(['sync', str(recipe), *workspace.options(assignments)])}` writes it",
        )
    if place.is_server:
        _print_addresses(workspace, recipe, assignments, place.page)
        return
    chosen = _port(port)
    _print_addresses(workspace, recipe, assignments, f"http://{HOST}:{chosen}")
    _serve(place, chosen)


def _print_addresses(workspace: Workspace, recipe: Path, assignments: Sequence[str], base: str) -> None:
    with TrackingWorker(workspace, recipe, assignments, live=False) as worker:
        found = worker.ask({"do": "addresses", "base": base})
    titles = {
        "table": "settings and references, with intervals (begin here)",
        "curves": "training curves, a mean a setting",
        "comparison": "settings side by side",
        "trials": "trials of the search side by side, in parallel coordinates",
        "experiment": "all runs",
    }
    console = output()
    for name, title in titles.items():
        if found[name]:
            console.print(f"{title}:\n  {found[name]}")


def _port(port: int | None) -> int:
    """The port asked for, else the usual one, else any that is free."""
    for choice in (PORT, 0) if port is None else (port,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, choice))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise MissingRequirement(f"port {port} is in use", "", "choose another --port")


def _serve(place: Place, port: int) -> None:
    assert place.artifacts is not None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        server = subprocess.Popen(
            [*(sys.executable, "-m", "mlflow", "server"), *("--host", HOST, "--port", str(port), "--workers", "1")],
            env={
                **MLFLOW_SETTINGS,
                **os.environ,
                "MLFLOW_BACKEND_STORE_URI": place.uri,  # not an argument: it may hold a password
                "MLFLOW_DEFAULT_ARTIFACT_ROOT": place.artifacts.as_uri(),
            },
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours; we end it with all its workers
        )
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            _await(server, port, log)
            output().print(f"serving {place.shown}; Ctrl-C ends it")
            server.wait()
        except KeyboardInterrupt:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _await(server: subprocess.Popen[bytes], port: int, log: IO[str]) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with suppress(OSError), socket.create_connection((HOST, port), LOOK_SECONDS):
            return
        time.sleep(LOOK_SECONDS)
    log.seek(0)
    words = [line.strip() for line in log if line.strip()]
    raise MissingRequirement(
        f"MLflow's server did not start: {without_secrets(visible(words[-1])) if words else 'without a message'}",
        "",
        "check the installation of mlflow",
    )

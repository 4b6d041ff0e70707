"""MLflow servers that can be killed and started again, databases that are migrated already, and everything one holds as
plain data."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run

from harness.cli.sync import MLFLOW_SETTINGS
from harness.store.record import replacing
from harness.tracking.mlflow_database import prepare
from harness.tracking.places import ARTIFACTS, DATABASE

ENOUGH_SECONDS = 90.0
SERVER_DATABASE = "server.db"
RUNNING = "running"
IDS = ("mlflow.parentRunId",)
PER_SERVER = ("mlflow.user", "mlflow.runColor")
BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
Histories = dict[str, list[tuple[int, str, int]]]


class Server:
    """A real tracking server on a port of its own.

    Args:
        database: where it keeps runs, by default a file in the folder.
        migrated: an empty database that such a file begins as; else the server takes seconds to make one.
    """

    def __init__(self, folder: Path, database: str | None = None, *, migrated: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        self.log = folder / "log.txt"
        self._migrated = migrated
        self._database = database or f"sqlite:///{folder / SERVER_DATABASE}"
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._migrated is not None and not (self.folder / SERVER_DATABASE).exists():
            put_database(self._migrated, self.folder / SERVER_DATABASE)
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--workers", "1", "--artifacts-destination", str(self.folder / "artifacts")],
                env={
                    **os.environ,
                    **MLFLOW_SETTINGS,
                    "MLFLOW_BACKEND_STORE_URI": self._database,
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + ENOUGH_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                (self.folder / RUNNING).write_text(f"{self._process.pid} {self.uri}")
                return
            time.sleep(0.1)
        raise AssertionError("no server")

    def kill(self) -> None:
        """End it with all its workers, at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def start_shared(folder: Path, migrated: Path) -> None:
    """Start a server that other processes use too, and that outlives the one that started it."""
    server = Server(folder, migrated=migrated)
    server.start()
    _shared.append(server)  # its process is nobody's to wait for


def shared_uri(folder: Path) -> str:
    """Address of the server that was started in a folder, by whichever process."""
    return (folder / RUNNING).read_text().split()[1]


def kill_shared(folder: Path) -> None:
    """End the server that was started in a folder, if one was."""
    for server in _shared:
        server.kill()
    with suppress(FileNotFoundError, ProcessLookupError):
        os.killpg(int((folder / RUNNING).read_text().split()[0]), signal.SIGKILL)


_shared: list[Server] = []


def migrated_database(folder: Path) -> None:
    """Make an empty database as a workdir's own is made: seconds, so once for many tests."""
    prepare(folder / DATABASE, folder / ARTIFACTS)


def put_database(migrated: Path, path: Path) -> None:
    """Put a copy of an empty database in its place, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        shutil.copyfile(migrated, new)


def held(uri: str, experiment: str) -> dict[str, dict[str, Any]]:
    """Every run of an experiment, by kind and key, without the ids and users a server gives."""
    client = MlflowClient(tracking_uri=uri)
    runs = runs_of(uri, experiment)
    keys = {run.info.run_id: name_of(run) for run in runs}
    histories = _histories(client, uri, runs)
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        assert name_of(run) not in found, f"twice: {name_of(run)}"
        found[name_of(run)] = _content(uri, run, keys, histories[run.info.run_id])
    return found


def runs_of(uri: str, experiment: str) -> list[Run]:
    client = MlflowClient(tracking_uri=uri)
    known = client.get_experiment_by_name(experiment)
    return [] if known is None else list(client.search_runs([known.experiment_id], max_results=1000))


def name_of(run: Run) -> str:
    kind = run.data.tags["harness.kind"]
    return f"{kind} {run.data.tags[f'harness.{kind}'][:12]}"


def _histories(client: MlflowClient, uri: str, runs: list[Run]) -> dict[str, Histories]:
    """Every point (step, value as text, time) of every metric, by run id and name."""
    found: dict[str, Histories] = {run.info.run_id: {} for run in runs}
    for name in sorted({name for run in runs for name in run.data.metrics}):
        having = [run.info.run_id for run in runs if name in run.data.metrics]
        if uri.startswith("http"):  # its own pages ask for all runs at once: a tenth of the requests
            answer = requests.get(f"{uri}{BULK}", {"run_id": having, "metric_key": name})
            answer.raise_for_status()
            points = [(one["run_id"], one["step"], one["value"], one["timestamp"]) for one in answer.json()["metrics"]]
        else:
            points = [
                (run_id, point.step, point.value, point.timestamp)
                for run_id in having
                for point in client.get_metric_history(run_id, name)
            ]
        for run_id, step, value, made in points:
            found[run_id].setdefault(name, []).append((step, repr(float(value)), made))
    return found


def _content(uri: str, run: Run, keys: dict[str, str], histories: Histories) -> dict[str, Any]:
    run_id = run.info.run_id
    tags = {name: value for name, value in run.data.tags.items() if name not in (*IDS, *PER_SERVER)}
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "parent": keys.get(run.data.tags.get(IDS[0], ""), ""),
        "params": dict(run.data.params),
        "tags": tags,
        "metrics": {name: sorted(points) for name, points in histories.items()},
        "datasets": sorted(
            (one.dataset.name, one.dataset.digest, one.dataset.source, one.dataset.profile, one.tags[0].value)
            for one in run.inputs.dataset_inputs
        ),
        "files": _files(uri, run_id),
    }


def _files(uri: str, run_id: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        download_artifacts(run_id=run_id, tracking_uri=uri, dst_path=folder)
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }

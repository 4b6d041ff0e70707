"""What `docker/compose.yaml` puts together, without containers: a run, a real MLflow server, a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness.cli.workspace import open_workspace
from tests.integration.pipelines import TINY, harness
from tests.integration.told import shown_metrics, told_by_the_store
from tests.toys.mlflow_servers import ENOUGH_SECONDS, Server

USER, DATABASE, PASSWORD = "mlflow", "mlflow", "correcthorse7"


def binaries() -> Path | None:
    """Where PostgreSQL's programs are; Debian keeps them off the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


BINARIES = binaries()
pytestmark = [
    pytest.mark.skipif(BINARIES is None, reason="needs PostgreSQL: apt-get install -y postgresql"),
    pytest.mark.slow("starts PostgreSQL, and what writes to it imports mlflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of mlflow's own use of its libraries
]


def as_its_user(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs, which refuse to work for root."""
    assert BINARIES is not None
    command = [str(BINARIES / program), *arguments]
    before = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*before, *command], capture_output=True, text=True, timeout=ENOUGH_SECONDS, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def database() -> Iterator[str]:
    """Address of a fresh PostgreSQL that asks for a password."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        word = Path(folder) / "password"
        word.write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            shutil.chown(word, "postgres")
        data = f"{folder}/data"
        as_its_user("initdb", "-D", data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={word}", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        as_its_user("pg_ctl", "-D", data, "-l", f"{folder}/log", "-w", "-o", options, "start")
        try:
            address = f"{USER}:{PASSWORD}@127.0.0.1:{port}"
            as_its_user("createdb", f"--maintenance-db=postgresql://{address}/postgres", DATABASE)
            yield f"postgresql+psycopg2://{address}/{DATABASE}"
        finally:
            as_its_user("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@pytest.fixture
def server(database: str, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server", database)
    server.start()
    yield server
    server.kill()


def test_a_run_is_shown_in_full_by_a_server_on_postgresql(server: Server, tmp_path: Path) -> None:
    recipe = tmp_path / "postgres.yaml"
    runtime = {"tracking": "mlflow", "tracking_uri": server.uri}
    recipe.write_text(yaml.safe_dump({"extends": str(TINY), "runtime": runtime}), encoding="utf-8")
    process = harness("run", recipe, "--workdir", tmp_path / "workdir")
    out, told = process.communicate(timeout=4 * ENOUGH_SECONDS)
    assert process.returncode == 0, told
    assert "MLflow (" in told
    assert "completes MLflow" not in told
    assert shown_metrics(server.uri, "tiny") == told_by_the_store(open_workspace(recipe, [], tmp_path / "workdir"))
    again = harness("sync", recipe, "--workdir", tmp_path / "workdir")
    out, told = again.communicate(timeout=2 * ENOUGH_SECONDS)
    assert "10 unchanged" in out, told


def test_a_database_is_used_without_a_server_and_its_password_is_never_shown(database: str, tmp_path: Path) -> None:
    recipe = tmp_path / "postgres.yaml"
    runtime = {"tracking": "mlflow", "tracking_uri": database}
    recipe.write_text(yaml.safe_dump({"extends": str(TINY), "runtime": runtime}), encoding="utf-8")
    process = harness("run", recipe, "--workdir", tmp_path / "workdir")
    out, told = process.communicate(timeout=4 * ENOUGH_SECONDS)
    assert process.returncode == 0, told
    assert "MLflow (" in told
    assert "completes MLflow" not in told
    assert PASSWORD not in out + told
    shown = shown_metrics(database, "tiny")
    assert shown == told_by_the_store(open_workspace(recipe, [], tmp_path / "workdir"))
    for path in (tmp_path / "workdir").rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path

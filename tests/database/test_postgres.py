"""What `docker/compose.yaml` puts together, without containers: a run, a real MLflow server, a real PostgreSQL.

All but the evaluations of the runs was computed before: a database shows what it is given, whoever computed it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from harness.cli.workspace import Workspace, open_workspace
from tests.integration.pipelines import TINY
from tests.integration.shell import Shell
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
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of mlflow's own use of its libraries
]


def as_its_user(program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs, which refuse to work for root."""
    assert BINARIES is not None
    command = [str(BINARIES / program), *arguments]
    before = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*before, *command], capture_output=True, text=True, timeout=ENOUGH_SECONDS, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Address of a PostgreSQL that asks for a password, empty at first."""
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


@pytest.fixture
def workdir(finished: Workspace, tmp_path: Path) -> Path:
    """A copy of the finished one, without its evaluations."""
    shutil.copytree(finished.workdir, tmp_path / "workdir")
    for kind in ("pair_accuracy", "best_of_n"):
        shutil.rmtree(tmp_path / "workdir" / "store" / kind)
    return tmp_path / "workdir"


@pytest.fixture
def run_tracked(workdir: Path, shell: Shell) -> Callable[[str, str], Path]:
    """Runs the tiny recipe in that workdir under another name, tracked there; gives the recipe."""

    def run(name: str, uri: str) -> Path:
        recipe = workdir.parent / f"{name}.yaml"
        changes = {"extends": str(TINY), "name": name, "runtime": {"tracking": "mlflow", "tracking_uri": uri}}
        recipe.write_text(yaml.safe_dump(changes), encoding="utf-8")
        assert shell("run", recipe, "--workdir", workdir) == 0, shell.err
        assert "MLflow (" in shell.err
        assert "completes MLflow" not in shell.err
        assert shown_metrics(uri, name) == told_by_the_store(open_workspace(recipe, [], workdir))
        return recipe

    return run


def test_a_database_is_used_without_a_server_and_its_password_is_never_shown(
    database: str, run_tracked: Callable[[str, str], Path], workdir: Path, shell: Shell
) -> None:
    run_tracked("direct", database)
    assert PASSWORD not in shell.out + shell.err
    for path in workdir.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_a_run_is_shown_in_full_by_a_server_on_postgresql(
    server: Server, run_tracked: Callable[[str, str], Path], workdir: Path, shell: Shell
) -> None:
    recipe = run_tracked("served", server.uri)
    assert shell("sync", recipe, "--workdir", workdir) == 0
    assert re.search(r"runs \d+ unchanged\n", shell.out)

"""What `docker/compose.yaml` puts together, without containers: a run, a real MLflow server, a real PostgreSQL.

All but the evaluations of the runs was computed before: a database shows what it is given, whoever computed it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
import yaml

from harness.cli.workspace import Workspace, open_workspace
from harness.search.state import folder_of, read_state
from tests.integration.killing import state_of
from tests.integration.pipelines import ROOT, TINY
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


# A trial is cheap, as its stages are those of another: what they race for is the study.
TRIALS = 10
SEARCH = {
    "extends": str(TINY),
    "name": "raced-for",
    "ablations": None,
    "search": {
        "parameters": {"pretrain.learning_rate": {"choices": [0.003, 0.006]}},
        "objectives": [{"task": "logic", "evaluation": "pair_accuracy"}],
        "arms": ["one_to_one", "rm_only"],
        "sampler": {"kind": "RandomSampler"},
        "trials": TRIALS,
        "parallel": 2,
    },
}
DRIVE = """
import sys
from pathlib import Path
from harness.cli.search import run_search
from harness.cli.workspace import open_workspace
run_search(open_workspace(Path(sys.argv[1]), [], Path(sys.argv[2]), writes=True, runs=True))
"""
AT_MOST_SECONDS = 240.0


def is_at_a_trial(driver: subprocess.Popen[bytes], folder: Path, study: str, address: str) -> bool:
    """Whether a driver's trial is under way: one with its lease, that says its process.

    And none that does not say yet whose it is: the others would wait minutes before they take that one over.
    """
    leases = {path.name: json.loads(path.read_text())["pid"] for path in folder.glob("driver-*.lease")}
    trials = optuna.load_study(study_name=study, storage=address).trials
    running = [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
    drivers = [trial.user_attrs.get("driver") for trial in running]
    return None not in drivers and any(leases.get(one) == driver.pid for one in drivers)


def kill_at_a_trial(driver: subprocess.Popen[bytes], folder: Path, address: str) -> None:
    deadline = time.monotonic() + AT_MOST_SECONDS
    while time.monotonic() < deadline and driver.poll() is None:
        state = read_state(folder)
        if state is not None and any(trial.finished for trial in state.trials):
            os.kill(driver.pid, signal.SIGSTOP)
            while state_of(driver.pid) not in ("T", "Z", ""):
                time.sleep(0.001)
            if is_at_a_trial(driver, folder, state.study, address):
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()
                return
            os.kill(driver.pid, signal.SIGCONT)
        time.sleep(0.05)
    raise AssertionError("it was at no trial")


@pytest.mark.slow("three drivers of a search begin at once, and one is killed")
def test_drivers_on_one_database_lose_and_double_no_trial(database: str, finished: Workspace, tmp_path: Path) -> None:
    with sqlalchemy.create_engine(database, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE searches"))
    address = database.rpartition("/")[0] + "/searches"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**SEARCH, "search": {**SEARCH["search"], "storage": address}}))
    shared, second = workdirs = [tmp_path / name for name in ("shared", "second")]
    for workdir in workdirs:
        shutil.copytree(finished.workdir, workdir)
    drivers = [
        subprocess.Popen([sys.executable, "-c", DRIVE, str(recipe), str(workdir)], cwd=ROOT, start_new_session=True)
        for workdir in (shared, shared, second)
    ]
    try:
        kill_at_a_trial(drivers[0], folder_of(shared, "raced-for"), address)
        for driver in drivers[1:]:
            assert driver.wait(AT_MOST_SECONDS) == 0
    finally:
        for driver in drivers:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)

    states = [read_state(folder_of(workdir, "raced-for")) for workdir in workdirs]
    assert states[0] is not None
    assert all(state is not None and state.ended and state.trials == states[0].trials for state in states)
    counted = states[0].counted
    assert len(counted) == TRIALS
    assert {trial.state for trial in counted} == {"complete"}
    assert {trial.state for trial in states[0].trials} <= {"complete", "failed"}
    assert sorted(trial.arm for trial in counted if trial.arm) == ["one_to_one", "rm_only"]
    assert PASSWORD not in (folder_of(shared, "raced-for") / "search.json").read_text()

    found = optuna.load_study(study_name=states[0].study, storage=address).trials
    assert [trial.number for trial in found] == list(range(len(found)))
    left = [trial for trial in found if trial.user_attrs.get("reason") == "its driver ended"]
    assert left
    for trial in left:
        (again,) = [one for one in found if one.user_attrs.get("asked again") == trial.number]
        assert again.params.items() >= trial.params.items()
        assert again.state == optuna.trial.TrialState.COMPLETE
    assert len({trial.user_attrs["driver"] for trial in found if "driver" in trial.user_attrs}) > 1

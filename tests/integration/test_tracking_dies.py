"""The tracking server, or the process that talks to it, is killed in the middle of a run: no metric is lost.

In the middle: a fine-tuning waits at its third step until the test lets it go on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from harness.cli.app import run_command
from harness.cli.workspace import open_workspace
from tests.integration.pipelines import TINY, harness
from tests.integration.told import Told, shown_metrics, told_by_the_store
from tests.toys.mlflow_servers import ENOUGH_SECONDS, Server, runs_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow's own use of its libraries

NAME = "tiny"
WORKER = "harness.cli.tracking_worker"
FIRST_STEPS = 2
WAITING_LOSS = f"""\
import time
from pathlib import Path

import torch

GATE = Path(__file__).with_name("gate")
calls = 0


def loss(chosen, rejected, margin):
    global calls
    calls += 1
    while calls > {FIRST_STEPS} and not GATE.exists():
        time.sleep(0.05)
    return -torch.nn.functional.logsigmoid(chosen - rejected - margin).sum()
"""


class Amid:
    """A run in the middle of its fine-tuning, of which the server shows as much as there is."""

    def __init__(self, folder: Path, server: Server) -> None:
        self._folder = folder
        self.server = server
        plugin = folder / "site" / "waiting_loss"
        plugin.mkdir(parents=True)
        (plugin / "__init__.py").write_text(WAITING_LOSS)
        self.recipe = folder / "waiting.yaml"
        changes = {
            "extends": str(TINY),
            "plugins": ["waiting_loss"],
            "finetune": {"loss": {"rm": 1.0, "lm": 0.0, "kind": "waiting_loss:loss"}},
            "runtime": {"tracking": "mlflow", "tracking_uri": server.uri},
        }
        self.recipe.write_text(yaml.safe_dump(changes), encoding="utf-8")
        self.workdir = folder / "workdir"
        self.process = harness("run", self.recipe, "--workdir", self.workdir)
        deadline = time.monotonic() + ENOUGH_SECONDS
        while not self._curves_are_shown():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def _curves_are_shown(self) -> bool:
        runs = [run for run in runs_of(self.server.uri, NAME) if run.data.tags["harness.kind"] == "variant"]
        return len(runs) == 2 and all("finetune/loss" in run.data.metrics for run in runs)

    def tracking_worker(self) -> int:
        (found,) = [one.pid for one in psutil.Process(self.process.pid).children() if WORKER in one.cmdline()]
        return found

    def go_on(self) -> str:
        """Let the run end; what it told."""
        (self._folder / "site" / "waiting_loss" / "gate").touch()
        out, told = self.process.communicate(timeout=2 * ENOUGH_SECONDS)
        assert self.process.returncode == 0, told
        assert "Traceback" not in out + told
        return told

    def shown(self) -> Told:
        """Every metric of every run on the server."""
        return shown_metrics(self.server.uri, NAME)

    def told(self) -> Told:
        """The same by what records and events say."""
        return told_by_the_store(open_workspace(self.recipe, [], self.workdir))

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


@pytest.fixture
def amid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Amid]]:
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    server = Server(tmp_path / "server")
    server.start()
    made: list[Amid] = []

    def make() -> Amid:
        made.append(Amid(tmp_path, server))
        return made[0]

    yield make
    for one in made:
        one.end()
    server.kill()


def test_a_server_that_is_killed_and_comes_back_shows_everything_after_the_run(amid: Callable[[], Amid]) -> None:
    run = amid()
    run.server.kill()
    run.server.start()
    told = run.go_on()
    assert "completes MLflow" not in told
    assert run.shown() == run.told()


def test_a_server_that_stays_away_harms_no_run_and_is_completed_by_sync(amid: Callable[[], Amid]) -> None:
    run = amid()
    run.server.kill()
    told = run.go_on()
    assert f"`harness sync {run.recipe}` completes MLflow" in told
    run.server.start()
    assert run.shown() != run.told()
    assert run_command(["sync", str(run.recipe), "--workdir", str(run.workdir)]) == 0
    assert run.shown() == run.told()


def test_a_tracking_worker_that_is_killed_harms_no_run_and_sync_completes_it(amid: Callable[[], Amid]) -> None:
    run = amid()
    os.kill(run.tracking_worker(), signal.SIGKILL)
    told = run.go_on()
    assert f"`harness sync {run.recipe}` completes MLflow" in told
    assert run.shown() != run.told()
    assert run_command(["sync", str(run.recipe), "--workdir", str(run.workdir)]) == 0
    assert run.shown() == run.told()

"""The tracking server, or the process that talks to it, is killed in the middle of a run: no metric is lost.

In the middle: both fine-tunings wait at their third loss until the test lets them go on; all before them is done.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml

from harness.cli.execute import execute
from harness.cli.report import report_on
from harness.cli.run_command import run_command
from harness.cli.sync import TrackingWorker, finish
from harness.cli.workspace import Workspace, open_workspace
from harness.events import Metrics, read_events
from harness.pipeline.graph import Stage
from harness.store.record import EVENTS
from tests.integration.pipelines import TINY, of_kind
from tests.integration.told import Told, shown_metrics, told_by_the_store
from tests.toys.mlflow_servers import ENOUGH_SECONDS, SERVER_DATABASE, Server, runs_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow's own use of its libraries

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
    """A run that goes on in this process until its fine-tunings wait, of which the server shows as much as there is."""

    def __init__(self, workspace: Workspace, recipe: Path, server: Server, gate: Path) -> None:
        self.workspace = workspace
        self.recipe = recipe
        self.server = server
        self.name = workspace.plan.loaded.recipe.name
        self.worker = 0
        self._gate = gate

    def run(self, meanwhile: Callable[[], None]) -> None:
        """Run what is left; `meanwhile` happens while fine-tunings wait and all until then is shown."""
        workspace = self.workspace
        with (
            TrackingWorker(workspace, self.recipe, [], live=False) as worker,
            ThreadPoolExecutor(1) as beside,
        ):
            (self.worker,) = [one.pid for one in psutil.Process().children() if WORKER in one.cmdline()]
            done = beside.submit(self._amid, worker, meanwhile)
            summary = execute(workspace, workspace.work().to_run, everything=workspace.plan.stages)
            done.result()
            assert not summary.failed
            finish(worker, report_on(workspace), workspace, self.recipe)

    def _amid(self, worker: TrackingWorker, meanwhile: Callable[[], None]) -> None:
        try:
            deadline = time.monotonic() + ENOUGH_SECONDS
            while not all(map(self._waits, of_kind(self.workspace, "finetune"))):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            worker.ask({"do": "follow"})
            runs = [run for run in runs_of(self.server.uri, self.name) if run.data.tags["harness.kind"] == "variant"]
            assert len(runs) == 2
            assert all("finetune/loss" in run.data.metrics for run in runs)
            meanwhile()
        finally:
            self._gate.touch()

    def _waits(self, stage: Stage) -> bool:
        path = self.workspace.store.partial(stage.kind.name, stage.fingerprint) / EVENTS
        return any(isinstance(event, Metrics) for event in read_events(path))

    def sync(self) -> int:
        return run_command(["sync", str(self.recipe), "--workdir", str(self.workspace.workdir)])

    def shown(self) -> Told:
        """Every metric of every run on the server."""
        return shown_metrics(self.server.uri, self.name)

    def told(self) -> Told:
        """The same by what records and events say."""
        return told_by_the_store(self.workspace)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), migrated=migrated)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def amid(
    finished: Workspace,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Amid:
    """A copy of the finished workdir, for a recipe whose fine-tunings are others, with a name of its own."""
    plugin = tmp_path / "site" / "waiting_loss"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text(WAITING_LOSS)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "waiting_loss", raising=False)
    recipe = tmp_path / "waiting.yaml"
    changes = {
        "extends": str(TINY),
        "name": request.node.name.replace("_", "-")[:40],
        "plugins": ["waiting_loss"],
        "finetune": {"loss": {"rm": 1.0, "lm": 0.0, "kind": "waiting_loss:loss"}},
        "runtime": {"tracking": "mlflow", "tracking_uri": server.uri, "slots": 2},
    }
    recipe.write_text(yaml.safe_dump(changes), encoding="utf-8")
    shutil.copytree(finished.workdir, tmp_path / "workdir")
    shutil.rmtree(tmp_path / "workdir" / "store" / "analysis")  # of the other fine-tunings
    return Amid(open_workspace(recipe, [], tmp_path / "workdir"), recipe, server, plugin / "gate")


@pytest.mark.exhaustive("CI has a server that stays away, and a tracking worker that is killed")
def test_a_server_that_is_killed_and_comes_back_shows_everything_after_the_run(
    amid: Amid, capfd: pytest.CaptureFixture[str]
) -> None:
    def again() -> None:
        amid.server.kill()
        amid.server.start()

    amid.run(again)
    assert "completes MLflow" not in capfd.readouterr().err
    assert amid.shown() == amid.told()


@pytest.mark.slow("starts a server of MLflow three times")
def test_a_server_that_stays_away_harms_no_run_and_sync_fills_an_empty_one(
    amid: Amid, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for wait in ("FACTOR", "JITTER"):  # MLflow asks again at once
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_BACKOFF_{wait}", "0")
    amid.run(amid.server.kill)
    told = capfd.readouterr().err
    assert f"`harness sync {amid.recipe}` completes MLflow" in told
    assert told.count("MLflow must answer") == 1
    assert amid.sync() == 2
    told = capfd.readouterr().err
    assert "MLflow must answer" in told
    assert "Traceback" not in told
    for left in amid.server.folder.glob(f"{SERVER_DATABASE}*"):
        left.unlink()
    amid.server.start()
    assert amid.shown() == {}
    assert amid.sync() == 0
    assert amid.shown() == amid.told()


def test_a_tracking_worker_that_is_killed_harms_no_run_and_sync_completes_it(
    amid: Amid, capfd: pytest.CaptureFixture[str]
) -> None:
    amid.run(lambda: os.kill(amid.worker, signal.SIGKILL))
    assert f"`harness sync {amid.recipe}` completes MLflow" in capfd.readouterr().err
    assert amid.shown() != amid.told()
    assert amid.sync() == 0
    assert amid.shown() == amid.told()

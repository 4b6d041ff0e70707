"""Trainings of a recipe in several processes, by `runtime.training` alone: started, stopped, killed, failing."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harness.cli.workspace import Workspace
from harness.events import Metrics, read_events
from harness.execution.ranks import RANKS
from harness.pipeline.graph import Stage
from harness.store.record import EVENTS
from tests.integration.pipelines import ROOT, TINY, folder_of, harness, left, only, record_of, run
from tests.toys.executors import has_ended

Copy = Callable[..., Workspace]
SPREADS = tuple(itertools.product(("processes", "nodes"), ("trunk_state", "finetune"), ("ddp", "fsdp")))
SELECTED = tuple(itertools.product(("processes", "nodes"), ("ddp", "fsdp")))
SPEEDS = ("tokens_per_second", "flop_per_second", "matmul_peak_share")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def spread(how: str) -> list[str]:
    """Assignments for two processes on this machine, or for two machines that are this one twice."""
    if how == "processes":
        return ["runtime.training.processes=2"]
    launch = f"[{sys.executable}, {ROOT / 'tests' / 'toys' / 'on_two_nodes.py'}]"
    meeting = f"127.0.0.1:{free_port()}"
    return [
        "runtime.training.nodes=2",
        f"runtime.training.launch={launch}",
        f"runtime.training.rendezvous={meeting}",
    ]


def curve(workspace: Workspace, stage: Stage) -> list[dict[str, float]]:
    events = read_events(folder_of(workspace.store, stage) / EVENTS)
    return [
        {name: value for name, value in event.values.items() if name not in SPEEDS} | {"step": event.step}
        for event in events
        if isinstance(event, Metrics)
    ]


def nearly(curve: list[dict[str, float]]) -> list[object]:
    return [pytest.approx(one, rel=1e-4, abs=1e-5) for one in curve]


def forget(workspace: Workspace, *stages: Stage) -> None:
    for stage in stages:
        shutil.rmtree(folder_of(workspace.store, stage))


def forget_from(workspace: Workspace, stage: Stage) -> None:
    """This stage and all that need it."""
    forget(workspace, *(one for one in workspace.plan.stages if stage in workspace.plan.graph.in_order([one])))


def rank_processes(folder: Path) -> list[int]:
    """Processes that run a stage of a store, or start those that do."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and "harness.execution.rank" in words and str(folder) in words:
            found.append(int(entry.name))
    return found


@pytest.mark.exhaustive("CI has a trunk that is interrupted, and a fine-tuning on two machines that selects")
@pytest.mark.parametrize(("how", "kind", "sharing"), SPREADS)
def test_two_processes_train_as_one_does(finished: Workspace, copy: Copy, how: str, kind: str, sharing: str) -> None:
    workspace = copy(*spread(how), f"runtime.training.sharing={sharing}")
    # The test of a driver's end has a branch.
    stage = only(workspace, kind) if kind == "trunk_state" else only(workspace, kind, "rm+lm")
    assert stage.fingerprint in {one.fingerprint for one in finished.plan.stages}
    forget(workspace, stage)
    summary = run(workspace, [stage], slots=1)
    assert not summary.failed, [outcome.reason for outcome in summary.failed]
    expected = curve(finished, stage)
    assert curve(workspace, stage) == nearly(expected)
    assert len(expected) >= 2
    record = record_of(workspace.store, stage)
    assert record.result.keys() == record_of(finished.store, stage).result.keys()
    assert record.environment["processes"] == 2
    assert not [name for name in record.files if RANKS in name]


@pytest.mark.slow("a stage by one process, and by torchrun and a process on each of two machines")
@pytest.mark.sampled(("how", "sharing"), SELECTED, SELECTED[-1:])
def test_two_processes_select_the_checkpoint_that_one_does(copy: Copy, how: str, sharing: str) -> None:
    select = "finetune.select={every_steps: 2}"
    alone = copy(select)
    stage = only(alone, "finetune", "rm+lm")
    needed = alone.plan.graph.in_order([stage])
    assert not run(alone, [one for one in left(alone) if one in needed]).failed
    expected, points = record_of(alone.store, stage).result, curve(alone, stage)
    assert len(expected["dev_pair_accuracy"]) >= 2
    forget(alone, stage)
    together = copy(select, *spread(how), f"runtime.training.sharing={sharing}")
    summary = run(together, [stage], slots=1)
    assert not summary.failed, [outcome.reason for outcome in summary.failed]
    assert curve(together, stage) == nearly(points)
    record = record_of(together.store, stage)
    assert {name: record.result[name] for name in ("selected_step", "dev_pair_accuracy")} == {
        name: expected[name] for name in ("selected_step", "dev_pair_accuracy")
    }
    assert record.result.keys() == expected.keys()
    assert record.environment["processes"] == 2
    assert not [name for name in record.files if RANKS in name]


def test_a_training_that_diverges_in_several_processes_says_so(copy: Copy) -> None:
    workspace = copy("runtime.training.processes=2", "pretrain.loss.margin=1.0e+38")
    summary = run(workspace, [only(workspace, "trunk_state")], slots=1)
    (failed,) = summary.failed
    assert "must stay finite" in failed.reason
    assert "lower the learning rate" in failed.reason


@pytest.mark.exhaustive("starts torchrun twice; CI has a training in processes that is interrupted and goes on")
@pytest.mark.slow("two runs whose stages start torchrun and its processes")
def test_processes_end_with_their_driver_and_the_training_goes_on(finished: Workspace, copy: Copy) -> None:
    workspace = copy("runtime.training.processes=2")
    stage = only(workspace, "pretrain")
    forget_from(workspace, stage)
    driver = harness("run", TINY, "--workdir", workspace.workdir, "--set", "runtime.training.processes=2")
    store = workspace.store.root
    deadline = time.monotonic() + 120
    while len(ranks := rank_processes(store)) < 3 and time.monotonic() < deadline and driver.poll() is None:
        time.sleep(0.05)
    driver.kill()
    said = driver.communicate()
    assert len(ranks) == 3, said  # torchrun and two more
    assert all(has_ended(rank, seconds=40) for rank in ranks)
    assert not run(workspace, [stage], slots=1).failed
    assert curve(workspace, stage) == nearly(curve(finished, stage))


@pytest.mark.slow("a run and a stage that start torchrun and its processes")
def test_an_interrupted_training_saves_itself_in_all_processes(finished: Workspace, copy: Copy) -> None:
    workspace = copy("runtime.training.processes=2")
    stage = only(workspace, "trunk_state")
    forget_from(workspace, stage)
    driver = harness("run", TINY, "--workdir", workspace.workdir, "--set", "runtime.training.processes=2")
    partial = workspace.store.partial(stage.kind.name, stage.fingerprint).parent
    deadline = time.monotonic() + 120
    while not list(partial.glob(f"{stage.fingerprint[:12]}*/resume/step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in (psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)  # as a batch system does to every process of a job
    driver.communicate(timeout=120)
    assert driver.returncode == 143
    if workspace.store.record(stage.kind.name, stage.fingerprint) is None:  # else it came to its end all the same
        saved = workspace.store.partial(stage.kind.name, stage.fingerprint)
        assert list((saved / "resume").glob("step-*"))
        assert not run(workspace, [stage], slots=1).failed
    assert curve(workspace, stage) == nearly(curve(finished, stage))
    record = record_of(workspace.store, stage)
    assert record.result.keys() == record_of(finished.store, stage).result.keys()
    assert record.environment["processes"] == 2
    assert not [name for name in record.files if RANKS in name]

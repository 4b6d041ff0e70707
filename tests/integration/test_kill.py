"""Processes killed at random moments inside every kind of stage; the store goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.workspace import Workspace
from harness.events import Event, Metrics, Started, read_events
from harness.execution.executor import Outcome, StageTask
from harness.execution.runner import how_of, make_task
from harness.pipeline.graph import Stage
from harness.pipeline.kinds import KINDS
from harness.store.record import EVENTS
from harness.store.store import Store
from tests.integration.killing import Killer, await_work, frozen, is_amid
from tests.integration.outside import OUTSIDE, SAMPLE
from tests.integration.pipelines import (
    attempts,
    every_kind,
    folder_of,
    left,
    of_kind,
    outputs,
    python,
    record_of,
    run,
    run_up_to,
    tiny,
)
from tests.toys.crashing import COUNT_FILE, CRASH_FILE
from tests.toys.executors import await_partial, has_ended, local_executor

MOST_RUNS = 60
MOST_DRIVERS = 5
LAST_OPERATIONS = 10
EARLY_CRASHES = 4
DRIVERS = (("corpus", True), ("problems", False), ("trunk_state", False), ("base", True))
"""(a stage, whether its driver is killed with its whole process group) of the kills of drivers."""


def seconds_of(finished: Workspace) -> dict[str, float]:
    """How long each stage took undisturbed."""
    store = finished.store
    return {one.fingerprint: store.run_facts(record_of(store, one))["seconds"] for one in every_kind(finished)}


def first_steps_after_each_start(store: Store, stage: Stage) -> list[int]:
    """The first training step each attempt logged that is still part of the curve."""
    firsts: list[int] = []
    waiting = False
    events: list[Event] = list(read_events(folder_of(store, stage) / EVENTS))
    for event in events:
        if isinstance(event, Started):
            waiting = True
        elif isinstance(event, Metrics) and waiting:
            firsts.append(event.step)
            waiting = False
    return firsts


def went_on(store: Store, stage: Stage) -> bool:
    """Whether the last attempt began at a later step than the first."""
    firsts = first_steps_after_each_start(store, stage)
    return len(firsts) > 1 and firsts[-1] > firsts[0]


def steps(store: Store, stage: Stage) -> list[int]:
    return [event.step for event in read_events(folder_of(store, stage) / EVENTS) if isinstance(event, Metrics)]


@pytest.mark.slow("runs the tiny recipe as often as it takes to kill a worker of every kind")
@pytest.mark.sampled("kinds", (SAMPLE, tuple(sorted(set(KINDS) - OUTSIDE))), (SAMPLE,))
def test_a_kill_inside_every_kind_of_stage_changes_no_result(
    finished: Workspace, tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    """One run after another from an empty workdir, a worker of each kind killed, until all is done."""
    workspace, seed = tiny(tmp_path), len(kinds)
    wanted = set(kinds)
    kills: list[Stage] = []
    for number in range(MOST_RUNS):
        to_run = left(workspace)
        if not to_run:
            break
        kills += run_with_a_killer(workspace, to_run, wanted, seconds_of(finished), seed=1000 * seed + number)
    assert not left(workspace)
    for kind in sorted(wanted):  # a few milliseconds long: lie in wait for that one alone
        kills += insist(workspace, kind, seconds_of(finished), seed=seed)
    assert sorted(stage.kind.name for stage in kills) == sorted(kinds)
    assert outputs(workspace) == outputs(finished)
    for stage in (stage for stage in kills if stage.kind.trains):
        assert went_on(workspace.store, stage)
        assert attempts(workspace.store, stage) >= 2
        assert steps(workspace.store, stage) == steps(finished.store, stage), "no step is missing or twice in a curve"


def run_with_a_killer(
    workspace: Workspace, stages: Sequence[Stage], wanted: set[str], seconds: Mapping[str, float], seed: int
) -> list[Stage]:
    """Run stages with a killer about; gives those that were killed, which are just those that failed."""
    with Killer(workspace.store, every_kind(workspace), wanted, seconds, seed) as killer:
        summary = run(workspace, stages)
    assert all("SIGKILL" in outcome.reason for outcome in summary.failed), summary.failed
    failed = sorted(outcome.task.fingerprint for outcome in summary.failed)
    assert failed == sorted(stage.fingerprint for stage in killer.kills)
    return killer.kills


def insist(workspace: Workspace, kind: str, seconds: Mapping[str, float], seed: int) -> list[Stage]:
    """Take a stage of a kind away and kill its worker as it is made again, as often as it takes."""
    stage = next(stage for stage in every_kind(workspace) if stage.kind.name == kind)
    for attempt in range(MOST_RUNS):
        record = workspace.store.record(stage.kind.name, stage.fingerprint)
        if record is not None:
            workspace.store.discard(record)
        sooner = {stage.fingerprint: seconds[stage.fingerprint] / 2**attempt}
        kills = run_with_a_killer(workspace, [stage], {kind}, {**seconds, **sooner}, seed=1000 * seed + attempt)
        if kills:
            assert not run(workspace, [stage]).failed
            return kills
    return []


def test_a_fine_tuning_that_selects_is_the_same_however_often_it_is_killed(
    finished: Workspace, copy: Callable[..., Workspace]
) -> None:
    workspace = copy("finetune.select={every_steps: 1}")
    stage = of_kind(workspace, "finetune")[0]
    run_up_to(workspace, [stage])
    undisturbed = record_of(workspace.store, stage)
    assert len(undisturbed.result["dev_pair_accuracy"]) == 4
    took = workspace.store.run_facts(undisturbed)["seconds"]
    kills = 0
    for seed in range(6):
        if workspace.store.record(stage.kind.name, stage.fingerprint) is not None:
            workspace.store.discard(undisturbed)
        seconds = {one.fingerprint: took / 2 for one in every_kind(workspace)}
        kills += len(run_with_a_killer(workspace, [stage], {"finetune"}, seconds, seed))
    if workspace.store.record(stage.kind.name, stage.fingerprint) is None:
        assert not run(workspace, [stage]).failed
    assert kills >= 2
    again = record_of(workspace.store, stage)
    assert (again.output_digest, again.result) == (undisturbed.output_digest, undisturbed.result)


@pytest.mark.slow("crashes a training at each of its last ten file operations and goes on")
@pytest.mark.sampled("kind", ("trunk_state", "finetune", "candidates_part"), ("finetune", "candidates_part"))
def test_a_crash_at_any_file_operation_changes_no_result(copy: Callable[..., Workspace], kind: str) -> None:
    """Unlike kills at random times, this meets half-written, half-renamed and half-removed states one by one."""
    workspace = copy("finetune.select={every_steps: 1}")
    store, stage = workspace.store, of_kind(workspace, kind)[0]
    run_up_to(workspace, [stage])
    undisturbed = record_of(store, stage)
    task = replace(make_task(stage, store, how_of(workspace.runtime)), accelerated=True)  # which retires its worker
    executor = local_executor(slots=1)

    def run_one(one: StageTask) -> Outcome:
        executor.start(one)
        (outcome,) = executor.wait(120.0)
        return outcome

    def crash(operation: int) -> str:
        """How the stage ends that is to crash at an operation (0: at none)."""
        store.discard(record_of(store, stage))
        (workspace.workdir / CRASH_FILE).write_text(json.dumps({"module": task.module, "operation": operation}))
        return run_one(replace(task, module="tests.toys.crashing")).status

    try:
        assert crash(0) == "done"
        total = int((workspace.workdir / COUNT_FILE).read_text())
        early = range(1, max(2, total - LAST_OPERATIONS))
        late = range(max(2, total - LAST_OPERATIONS), total + 1)  # where a stage becomes a record: all of them
        for operation in [*random.Random(kind).sample(early, min(len(early), EARLY_CRASHES)), *late]:
            assert crash(operation) == "failed"
            outcome = run_one(task)
            assert outcome.status == "done", (operation, outcome.reason)
            again = record_of(store, stage)
            assert (again.output_digest, again.result) == (undisturbed.output_digest, undisturbed.result), operation
            assert not store.partial(kind, stage.fingerprint).exists()
    finally:
        executor.close()


@pytest.mark.slow("makes everything after a killed training anew")
@pytest.mark.sampled(("kind", "group"), DRIVERS, DRIVERS[:3])
def test_a_killed_driver_leaves_a_store_that_goes_on(
    finished: Workspace, copy: Callable[..., Workspace], kind: str, group: bool
) -> None:
    """The driver alone, whose workers must follow it, or its whole process group at one blow."""
    workspace = copy()
    wanted = of_kind(workspace, kind)[0]
    took = seconds_of(finished)[wanted.fingerprint]
    for attempt in range(MOST_DRIVERS):
        record = workspace.store.record(kind, wanted.fingerprint)
        if record is not None:
            workspace.store.discard(record)
        shutil.rmtree(workspace.store.partial(kind, wanted.fingerprint), ignore_errors=True)  # of an earlier try
        if kill_a_driver(workspace, wanted, group=group, seconds=took / 4 ** (1 + attempt), seed=attempt):
            break
    assert workspace.store.record(kind, wanted.fingerprint) is None
    summary = run(workspace, [wanted])
    assert [outcome.task.fingerprint for outcome in summary.computed] == [wanted.fingerprint]
    assert not left(workspace)
    assert outputs(workspace) == outputs(finished)
    if KINDS[kind].trains:
        assert attempts(workspace.store, wanted) == 2
        assert went_on(workspace.store, wanted)
        assert steps(workspace.store, wanted) == steps(finished.store, wanted)


def kill_a_driver(workspace: Workspace, wanted: Stage, *, group: bool, seconds: float, seed: int) -> bool:
    """Whether a stage had no record when its driver was killed and its worker had gone; a training, a saved step."""
    driver = python("-m", "tests.integration.drive", workspace.workdir, wanted.fingerprint)
    try:
        await_partial(workspace.store, wanted.kind.name, wanted.fingerprint)
        await_work(workspace.store, wanted, random.Random(seed), seconds)
        with frozen(workspace.store, wanted) as worker:
            amid = is_amid(workspace.store, wanted)
            if group:
                os.killpg(driver.pid, signal.SIGKILL)
            else:
                driver.kill()
            driver.wait()  # while its worker still stands still
    finally:
        end(driver)
    assert worker is None or has_ended(worker)
    return amid and worker is not None and workspace.store.record(wanted.kind.name, wanted.fingerprint) is None


def end(driver: subprocess.Popen[str]) -> None:
    """Make sure that nothing of a driver's process group is left."""
    if driver.poll() is None:
        driver.kill()
    driver.communicate()

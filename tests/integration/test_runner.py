"""How a run meets failures, interruptions, damage and company: through the command line, in real processes."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace
from harness.pipeline.graph import Stage
from harness.store.store import Store
from tests.integration.killing import await_work, frozen
from tests.integration.pipelines import (
    TINY,
    attempts,
    everything,
    finished_at,
    folder_of,
    harness,
    left,
    of_kind,
    only,
    outputs,
    python,
    record_of,
    run,
    tiny,
)
from tests.toys.executors import await_partial

MOST_TRIES = 5
TAKEOVER_SECONDS = 30.0  # well below the grace period after which even a live holder's lease is taken


def discard_below(workspace: Workspace, stage: Stage) -> list[Stage]:
    """Take away everything that depends on a stage, but the comparison of all; gives what was taken."""
    gone = [stage]
    for other in workspace.plan.stages:
        if any(item.stage in gone for item in other.inputs.values()):
            workspace.store.discard(record_of(workspace.store, other))
            gone.append(other)
    return gone[1:]


# -------------------------------------------------------------------------------------------------------- failures


def test_a_failed_stage_stops_only_what_depends_on_it(
    copy: Callable[..., Workspace], capfd: pytest.CaptureFixture[str]
) -> None:
    """Too few pairs fit 64 tokens, which only the data can show: the arm without PMP is finished all the same."""
    assignment = "pairs.max_tokens=64"
    workspace = copy(assignment)
    code = run_command(["run", str(TINY), "--workdir", str(workspace.workdir), "--set", assignment])
    told, complaints = capfd.readouterr()
    assert code == 1
    assert "Traceback" not in told + complaints
    failed = only(workspace, "encode", "pairs train")
    summary = complaints[complaints.index("stages computed") :]
    assert f"failed: {failed.label}: there must be as many pairs as requested" in summary
    logs = [Path(path) for path in re.findall(r"log: (\S+)", summary)]
    assert workspace.store.partial("encode", failed.fingerprint) / "log.txt" in logs
    assert all("there must be" in log.read_text() for log in logs)
    done = workspace.work().done
    for stage in workspace.plan.stages:
        needs = {one.fingerprint for one in workspace.plan.graph.in_order([stage])}
        assert (stage.fingerprint in done) == (not needs & failures(workspace)), stage.label
    assert "no-pmp" in told  # and the report compares what there is
    assert list(workspace.reports.glob("*.html"))


def failures(workspace: Workspace) -> set[str]:
    """Stages that left a log and no record."""
    return {
        stage.fingerprint
        for stage in workspace.plan.stages
        if workspace.store.partial(stage.kind.name, stage.fingerprint).exists()
    }


@pytest.mark.parametrize(
    ("assignments", "reason"),
    [
        (
            [
                *("pretrain.learning_rate=1.0", "pretrain.global_batch=2", "pretrain.schedule.warmup_pairs=0"),
                *("pretrain.betas=[0.0, 0.0]", "pretrain.loss.lm=0.0"),
            ],
            "the smoothed loss_rm must stay below",
        ),
        (["pretrain.loss.rm=1.0e+38"], "loss and gradient must stay finite"),
    ],
)
def test_a_training_that_diverges_stops_with_its_reason_and_leaves_the_other_arms(
    copy: Callable[..., Workspace], capfd: pytest.CaptureFixture[str], assignments: list[str], reason: str
) -> None:
    workspace = copy(*assignments)
    without = {
        outcome.stage.fingerprint
        for variant in workspace.plan.variants
        if variant.pretrain_seed is None
        for outcome in variant.outcomes
    }
    for stage in workspace.plan.stages:
        if stage.fingerprint in without:
            workspace.store.discard(record_of(workspace.store, stage))
    arguments = [argument for assignment in assignments for argument in ("--set", assignment)]
    code = run_command(["run", str(TINY), "--workdir", str(workspace.workdir), *arguments])
    complaints = capfd.readouterr().err
    assert code == 1
    assert re.search(rf"failed: trunk [^\n]*: {re.escape(reason)}", complaints)
    assert "Traceback" not in complaints
    assert without <= workspace.work().done
    (trunk,) = of_kind(workspace, "trunk_state")
    assert failures(workspace) == {trunk.fingerprint}


def test_what_failed_is_tried_again_and_goes_on_where_it_can(
    finished: Workspace, copy: Callable[..., Workspace]
) -> None:
    workspace = copy()
    stage = of_kind(workspace, "best_of_n")[0]
    scores = stage.inputs["scores"].stage
    for one in (stage, scores):
        workspace.store.discard(record_of(workspace.store, one))
    blocker = folder_of(workspace.store, scores).with_suffix(".lease.lock")
    blocker.unlink(missing_ok=True)
    blocker.mkdir()  # where the stage needs a file
    summary = run(workspace)
    assert [outcome.task.fingerprint for outcome in summary.failed] == [scores.fingerprint]
    assert summary.blocked == [stage]
    blocker.rmdir()
    assert not run(workspace).failed
    assert outputs(workspace) == outputs(finished)


# --------------------------------------------------------------------------------------------------- interruptions


def test_ctrl_c_ends_with_130_and_a_store_that_goes_on(finished: Workspace, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    base = only(workspace, "base")
    discard_below(workspace, base)
    for attempt in range(MOST_TRIES):
        record = workspace.store.record("base", base.fingerprint)
        if record is not None:
            workspace.store.discard(record)
        shutil.rmtree(workspace.store.partial("base", base.fingerprint), ignore_errors=True)  # of an earlier try
        code, complaints, at_it = interrupt(workspace, base, seed=attempt)
        assert code == 130, complaints
        assert "Traceback" not in complaints
        assert "Run the same command to continue." in complaints
        assert "failed" not in complaints
        assert not list(workspace.store.root.glob("*/*.lease"))
        if at_it and workspace.store.record("base", base.fingerprint) is None:
            break
    assert list(workspace.store.partial("base", base.fingerprint).glob("resume/step-*"))
    assert not run(workspace).failed
    assert attempts(workspace.store, base) == 2
    assert outputs(workspace) == outputs(finished)


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("Ctrl-C", 130, "Run the same command to continue."),
        ("SIGTERM", 143, "Run the same command to continue."),
        ("SIGKILL of the server that workers are forked from", 1, "workers cannot start"),
    ],
)
def test_an_end_in_the_first_seconds_is_one_clear_message(tmp_path: Path, how: str, code: int, told: str) -> None:
    """While the stages' code is imported for the workers."""
    process = harness("run", TINY, "--workdir", tmp_path)
    try:
        server = await_fork_server(process)
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        elif how == "SIGTERM":
            os.kill(process.pid, signal.SIGTERM)
        while how.startswith("SIGKILL") and server:  # one that dies before it is asked for anything is started again
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGKILL)
            server = await_fork_server(process)
        process.wait(timeout=120)
        assert process.stderr is not None
        complaints = os.read(process.stderr.fileno(), 1 << 16).decode()  # the server may still hold it open
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == code, complaints
    assert complaints.count(told) == 1
    assert "Traceback" not in complaints
    assert "Aborted" not in complaints


def await_fork_server(process: subprocess.Popen[str]) -> int | None:
    """Its process; none where `process` ends without one."""
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children():
                if any("forkserver" in word for word in child.cmdline()):
                    return child.pid
        time.sleep(0.02)
    return None


def interrupt(workspace: Workspace, stage: Stage, seed: int) -> tuple[int, str, bool]:
    """Ctrl-C in the middle of a stage: exit code, what was said, and whether the stage was still at work."""
    process = harness("run", TINY, "--workdir", workspace.workdir)
    try:
        await_partial(workspace.store, stage.kind.name, stage.fingerprint)
        await_work(workspace.store, stage, random.Random(seed), 0.05)
        with frozen(workspace.store, stage) as worker:
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.5)  # the driver asks its workers to stop; this one hears it when it wakes
        _, complaints = process.communicate(timeout=120)
    finally:
        end(process)
    return process.returncode, complaints, worker is not None


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.communicate()


# ---------------------------------------------------------------------------------------------------------- damage


def damage(store: Store, stage: Stage) -> None:
    """Flip one bit in the middle of a stage's largest file: size and time stay as they were."""
    record = record_of(store, stage)
    name = max(record.files, key=lambda name: record.files[name][1])
    path = folder_of(store, stage) / name
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "damaged",
    [["candidates"], ["encode"], ["base"], ["preferences", "encode preferences logic test"]],
    ids=["data", "tokens", "weights", "an input and its input"],
)
def test_damage_is_noticed_and_mended_and_never_used(
    finished: Workspace, copy: Callable[..., Workspace], damaged: list[str]
) -> None:
    workspace = copy()
    stages = [stage for stage in workspace.plan.stages if stage.kind.name in damaged or stage.label in damaged]
    gone = discard_below(workspace, stages[-1])
    for stage in stages:
        damage(workspace.store, stage)
    assert {stage.fingerprint for stage in workspace.work().to_run} <= {stage.fingerprint for stage in gone}
    summary = run(workspace)
    assert not summary.failed
    assert not summary.blocked
    needed = {item.stage for stage in gone for item in stage.inputs.values()} & set(stages)
    assert needed
    for stage in needed:
        assert finished_at(workspace.store, stage) != finished_at(finished.store, stage)
        workspace.store.verify(record_of(workspace.store, stage))
    assert outputs(workspace, gone) == outputs(finished, gone)
    for stage in gone:
        workspace.store.verify(record_of(workspace.store, stage))


# --------------------------------------------------------------------------------------------------------- company


APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Begins a command that sees no process of others, as on another machine; where that is allowed."""
if shutil.which("unshare") is None or subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
    APART = ()


@pytest.mark.slow("two drivers run the tiny recipe whole")
def test_two_runs_at_once_compute_each_stage_once(finished: Workspace, tmp_path: Path) -> None:
    workspace = tiny(tmp_path)
    runs = [harness("run", TINY, "--workdir", tmp_path, before=before) for before in ((), APART)]
    made: dict[Path, set[float]] = {}
    try:
        while any(process.poll() is None for process in runs):
            for record in workspace.store.records():
                run_file = workspace.store.directory(record.kind, record.fingerprint)
                made.setdefault(run_file, set()).add(float(workspace.store.run_facts(record)["finished"]))
            time.sleep(0.05)
        complaints = [process.communicate(timeout=60)[1] for process in runs]
    finally:
        for process in runs:
            end(process)
    assert [process.returncode for process in runs] == [0, 0], complaints
    assert not [path for path, times in made.items() if len(times) > 1]
    assert all(attempts(workspace.store, stage) == 1 for stage in everything(workspace))
    assert outputs(workspace) == outputs(finished)
    assert not list(workspace.store.root.glob("*/*.partial"))
    assert not list(workspace.store.root.glob("*/*.lease"))


LEAVE_A_LEASE = """
import os, sys
from pathlib import Path
from harness.store.lease import Lease
assert Lease(Path(sys.argv[1])).acquire()
os._exit(1)
"""


def test_the_lease_of_a_dead_process_is_taken_over(finished: Workspace, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    stage = of_kind(workspace, "pool_baselines")[0]
    workspace.store.discard(record_of(workspace.store, stage))
    lease = workspace.store.root / stage.kind.name / f"{stage.fingerprint[:12]}.lease"
    end_quietly(python("-c", LEAVE_A_LEASE, lease))
    assert lease.exists()
    began = time.monotonic()
    assert [outcome.status for outcome in run(workspace).computed] == ["done"]
    assert time.monotonic() - began < TAKEOVER_SECONDS
    assert outputs(workspace) == outputs(finished)
    assert not lease.exists()


def end_quietly(process: subprocess.Popen[str]) -> None:
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 1
    assert not complaints


def test_a_run_waits_for_what_another_one_is_building(finished: Workspace, copy: Callable[..., Workspace]) -> None:
    """The other one gives up: what it had not finished is ours."""
    workspace = copy()
    stage = of_kind(workspace, "pool_baselines")[0]
    workspace.store.discard(record_of(workspace.store, stage))
    begun = threading.Event()
    let_go = threading.Event()

    def hold() -> None:
        with workspace.store.build(stage.kind.name, stage.fingerprint, resumable=False) as building:
            assert building is not None
            begun.set()
            let_go.wait(60.0)

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(60.0)
    threading.Timer(1.5, let_go.set).start()
    began = time.monotonic()
    summary = run(workspace)
    assert time.monotonic() - began > 1.0
    holder.join()
    assert [outcome.task.fingerprint for outcome in summary.computed] == [stage.fingerprint]
    assert outputs(workspace) == outputs(finished)


# ------------------------------------------------------------------------------------------------------ other code


def test_results_of_other_code_are_kept_or_made_again_as_the_recipe_says(
    finished: Workspace, copy: Callable[..., Workspace]
) -> None:
    workspace = copy()
    stage = of_kind(workspace, "pool_baselines")[0]
    record = record_of(workspace.store, stage)
    other = replace(record, environment={**record.environment, "source_digest": "of other code"})
    other.write(folder_of(workspace.store, stage))
    assert [one.fingerprint for one in workspace.work().stale] == [stage.fingerprint]
    assert not left(workspace)
    rerun = copy("runtime.stale_code=rerun")
    assert [one.fingerprint for one in rerun.work().to_run] == [stage.fingerprint]
    run(rerun)
    assert finished_at(rerun.store, stage) != finished_at(finished.store, stage)
    assert record_of(rerun.store, stage).environment == record.environment
    assert not left(rerun)
    assert outputs(rerun) == outputs(finished)

"""`harness show STAGE --command`: the printed line is run as it is printed, for stages that ended well and badly."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.workspace import Workspace
from harness.events import EventLog, Failed, Started
from harness.execution.asked import read_asked
from harness.pipeline.graph import Stage
from harness.store.record import EVENTS, RUN, TASK
from tests.integration.pipelines import ROOT, TINY, folder_of, of_kind, only, outputs, record_of
from tests.integration.shell import Shell

TOO_SHORT = "pairs.max_tokens=64"


def printed(shell: Shell, workspace: Workspace, stage: Stage) -> str:
    assert shell("show", stage.name, "--workdir", workspace.workdir, "--command") == 0, shell.err
    (line,) = shell.out.splitlines()
    return line


def typed(line: str, keys: str) -> str:
    """What a terminal shows after the line was entered and these keys were typed."""
    process = subprocess.run(
        shlex.split(line),
        input=keys,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return process.stdout


@pytest.fixture
def failed(shell: Shell, copy: Callable[..., Workspace]) -> Workspace:
    """A run in which the encoding of PMP pairs failed."""
    workspace = copy(TOO_SHORT)
    assert shell("run", TINY, "--workdir", workspace.workdir, "--set", TOO_SHORT) == 1
    return workspace


@pytest.mark.parametrize("kind", ["candidates_part", "trunk_state", "score"])
def test_a_finished_stage_gives_the_same_bits_again(
    shell: Shell, finished: Workspace, copy: Callable[..., Workspace], kind: str
) -> None:
    """A stage without torch, one with a prefix of a stream for input, one that scores with a model."""
    workspace = copy()
    stage = of_kind(workspace, kind)[0]
    shown = typed(printed(shell, workspace, stage), "q\n")
    assert "equal to the record, bit for bit" in shown
    assert "Traceback" not in shown
    made = {path.name for path in (workspace.workdir / "debug").iterdir()}
    assert made == {stage.name.replace("/", "-")}
    assert outputs(workspace) == outputs(finished), "the store was only read"
    if kind == "trunk_state":
        asked = read_asked(workspace.store, stage.kind.name, stage.fingerprint)
        assert asked is not None
        assert asked.task.inputs["tokens"].rows == stage.inputs["tokens"].rows is not None


def test_a_difference_from_the_record_is_named(shell: Shell, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    stage = of_kind(workspace, "pool_baselines")[0]
    line = printed(shell, workspace, stage)
    replace(record_of(workspace.store, stage), output_digest="0" * 64).write(folder_of(workspace.store, stage))
    assert "not equal to the record" in typed(line, "q\n")


def test_the_debugger_stands_where_a_stage_failed(shell: Shell, failed: Workspace) -> None:
    stage = only(failed, "encode", "pairs train")
    shown = typed(printed(shell, failed, stage), "p max_tokens_of_the_spec\np context.spec['max_tokens']\nq\n")
    assert "Traceback" in shown
    assert "there must be as many pairs as requested" in shown
    assert "post mortem" in shown.lower()
    assert failed.store.record(stage.kind.name, stage.fingerprint) is None


def test_an_unfinished_stage_is_shown(shell: Shell, failed: Workspace) -> None:
    stage = only(failed, "encode", "pairs train")
    assert shell("show", stage.name, "--workdir", failed.workdir) == 0
    for told in (stage.label, "failed: there must be", "log.txt", '"max_tokens": 64'):
        assert told in shell.out, told
    assert shell("show", stage.fingerprint[:8], "--workdir", failed.workdir, "--json") == 0
    shown = shell.json()
    assert (shown["state"], shown["fingerprint"], shown["identity"]["spec"]) == (
        "failed",
        stage.fingerprint,
        json.loads(json.dumps(stage.identity["spec"])),
    )
    assert Path(shown["log"]).is_file()
    assert shown["task"]["inputs"].keys() == stage.inputs.keys()


def test_a_stage_that_waits_for_a_failed_one_is_shown(shell: Shell, failed: Workspace) -> None:
    stage = only(failed, "trunk_state")
    assert shell("show", stage.name, "--workdir", failed.workdir) == 0
    assert "blocked: waits for" in shell.out
    assert shell("show", stage.name, "--workdir", failed.workdir, "--command") == 2
    assert "never started" in shell.err


def test_an_interrupted_stage_is_shown_and_can_be_run(shell: Shell, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    stage = of_kind(workspace, "pool_baselines")[0]
    record = record_of(workspace.store, stage)
    task = workspace.store.run_facts(record)["task"]
    workspace.store.discard(record)
    with workspace.store.build(stage.kind.name, stage.fingerprint, resumable=False) as building:
        assert building is not None
        (building.directory / TASK).write_text(json.dumps({**task, "identity": record.identity}))
        log = EventLog(building.directory / EVENTS)
        log.emit(Started())
        log.emit(Failed(reason="Interrupted: "))
        log.close()
    assert shell("show", stage.name, "--workdir", workspace.workdir) == 0
    assert "interrupted" in shell.out
    assert "no record of it to compare with" in typed(printed(shell, workspace, stage), "q\n")


def test_stages_that_kept_no_task_say_so(shell: Shell, copy: Callable[..., Workspace]) -> None:
    """As those of earlier versions."""
    workspace = copy()
    stage = of_kind(workspace, "pool_baselines")[0]
    path = folder_of(workspace.store, stage) / RUN
    facts = json.loads(path.read_text())
    del facts["task"]
    path.write_text(json.dumps(facts))
    assert shell("show", stage.name, "--workdir", workspace.workdir) == 0
    assert shell("show", stage.name, "--workdir", workspace.workdir, "--command") == 2
    assert "run its recipe" in shell.err


def test_dropped_inputs_are_named(shell: Shell, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    stage = of_kind(workspace, "pool_baselines")[0]
    candidates = stage.inputs["candidates"].stage
    workspace.store.drop_payload(record_of(workspace.store, candidates))
    assert shell("show", stage.name, "--workdir", workspace.workdir, "--command") == 2
    assert candidates.name in shell.err


def test_a_finished_stage_keeps_its_task_in_one_place(finished: Workspace) -> None:
    for stage in finished.plan.stages:
        asked = read_asked(finished.store, stage.kind.name, stage.fingerprint)
        assert asked is not None
        assert asked.task.fingerprint == stage.fingerprint
        assert asked.task.identity == json.loads(json.dumps(stage.identity))
        assert {name: (one.fingerprint, one.rows) for name, one in asked.task.inputs.items()} == {
            name: (item.stage.fingerprint, item.rows) for name, item in stage.inputs.items()
        }
        assert (asked.device, asked.threads) == ("cpu", 1)
        folder = folder_of(finished.store, stage)
        assert not (folder / TASK).exists()
        assert str(finished.workdir) not in (folder / RUN).read_text(), "no absolute path"

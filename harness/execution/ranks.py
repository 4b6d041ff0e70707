"""One stage in many processes, on one machine or several, which torchrun starts and joins: for trainings.

The worker that holds the stage's lease starts them, keeps its log and writes its record. Each of them runs the stage
(`harness.execution.rank`) in the same folder; rank 0 writes what they have in common and says in a file how it ended.
They are asked to stop by a file, since a signal would not reach other machines, and are deaf to SIGTERM: a batch system
sends it to every process of a job, and torchrun would end them before they have saved.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import errors
from harness.errors import HarnessError, StageError, TrainingStopped
from harness.execution.asked import AskedTask
from harness.store.record import write_json

RANKS = "ranks"
"""Folder beside the stage's output while it runs: what the processes were asked, and what they answer."""
ASKED = "asked.json"
ANSWER = "answer.json"
STOP = "stop"

POLL_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1


def processes_of(how: Mapping[str, Any]) -> int:
    """How many processes a training is to have, on all machines together."""
    return int(how.get("processes", 1)) * int(how.get("nodes", 1))


def run_on_ranks(directory: Path, asked: AskedTask, *, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Run a stage in the processes its `how` asks for; what rank 0's `run` returned.

    Args:
        directory: the stage's, seen by every machine.
        asked: the stage; its threads are those of all processes of a machine together.

    Raises:
        HarnessError: what the stage raised.
        StageError: a process ended without a word.
    """
    how, folder = asked.task.how, directory / RANKS
    threads = max(1, asked.threads // int(how["processes"]))
    folder.mkdir()
    write_json(folder / ASKED, replace(asked, threads=threads).in_full())
    stage = ["-m", "harness.execution.rank", asked.task.store, str(directory)]
    process = subprocess.Popen(
        [*how["launch"], *_torchrun(how), *stage],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        start_new_session=True,
        preexec_fn=_alone_with_parent,
    )
    try:
        while process.poll() is None and not _has_failed(folder / ANSWER):
            if should_stop():
                (folder / STOP).touch()
            time.sleep(POLL_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return _answer(folder / ANSWER, process.returncode)


def _torchrun(how: Mapping[str, Any]) -> list[str]:
    """torchrun, for this machine or, started once on each, for all machines."""
    nodes = int(how["nodes"])
    meeting = ["--standalone"]
    if nodes > 1:
        address = how.get("rendezvous") or f"{socket.gethostname()}:{_free_port()}"
        meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", address, "--rdzv-id", "harness"]
    return [
        sys.executable,
        *("-m", "torch.distributed.run"),
        *meeting,
        *("--nnodes", str(nodes), "--nproc-per-node", str(how["processes"]), "--max-restarts", "0"),
    ]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def end_with_parent() -> None:
    """Be killed when the parent ends, however it ends, so that nobody trains for nobody (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_torchrun_alone() -> None:
    """Of a process that torchrun started: deaf to SIGTERM, which what it starts is not, and killed when torchrun ends;
    at once where that has ended meanwhile."""
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    end_with_parent()
    with contextlib.suppress(OSError):
        if b"torch.distributed.run" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes():
            return
    os._exit(1)


def _alone_with_parent() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # so are the processes that it starts, at first
    end_with_parent()


def _has_failed(answer: Path) -> bool:
    """Whether a process has said why it failed: torchrun would wait for the others, which are deaf, before it ends.

    Who was stopped has not failed: others may still be saving.
    """
    kind, *_ = _read(answer).get("error", [""])
    return kind not in ("", TrainingStopped.__name__)


def _read(answer: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(answer.read_bytes())
    except FileNotFoundError:
        return {}
    return told


def _answer(path: Path, exitcode: int) -> dict[str, Any]:
    told = _read(path)
    if not told:
        raise StageError(
            f"a process of the training failed (torchrun's exit code {exitcode})",
            "",
            "see the stage's log",
        )
    if "error" in told:
        kind, rule, value, remedy = told["error"]
        found: HarnessError = getattr(errors, kind, StageError)(rule, value, remedy)
        raise found
    result: dict[str, Any] = told["result"]
    return result

"""The local executor: stages in worker processes of this machine, forked from a server that has imported their code.

A crash stays inside its worker; a worker that used an accelerator, trained or scored is retired, so that its memory is
free again; the others go on and are preferred for tasks of the affinity they served last. Workers end with the driver.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from harness.execution.executor import Outcome, Task
from harness.store.record import LOG
from harness.store.store import Store

STOP_GRACE_SECONDS = 20.0


@dataclass
class _Worker:
    process: ForkServerProcess
    connection: Connection
    device: str
    task: Task | None = None
    affinity: str | None = None
    started: float = field(default_factory=time.time)


class LocalExecutor:
    """Runs up to `cores // threads` tasks at once, and one accelerated task a GPU where there are GPUs.

    Args:
        slots: tasks at once on the CPU.
        threads: threads of each task's numeric libraries.
        gpus: indices of the GPUs to use; accelerated tasks wait for one of them.
        preload: modules the fork server imports once, so that tasks need not.
    """

    def __init__(self, *, slots: int, threads: int, gpus: Sequence[int] = (), preload: Sequence[str] = ()) -> None:
        self._slots = slots
        self._threads = threads
        self._free_gpus = sorted(gpus)
        self._has_gpus = bool(gpus)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["harness.execution.worker", *preload])
        self._workers: list[_Worker] = []
        self._stopping = False

    def has_room(self, task: Task) -> bool:
        if self._on_gpu(task):
            return bool(self._free_gpus)
        running = [worker for worker in self._workers if worker.task is not None and worker.device == "cpu"]
        return len(running) < self._slots

    def _on_gpu(self, task: Task) -> bool:
        return task.accelerated and self._has_gpus

    def start(self, task: Task) -> None:
        worker = self._idle(task) or self._spawn(f"cuda:{self._free_gpus.pop(0)}" if self._on_gpu(task) else "cpu")
        worker.task = task
        worker.affinity = task.affinity
        worker.started = time.time()
        with contextlib.suppress(OSError):  # it died while idle; `wait` finds its end and reports it
            worker.connection.send(task)

    def _idle(self, task: Task) -> _Worker | None:
        if self._on_gpu(task):
            return None
        idle = [worker for worker in self._workers if worker.task is None and worker.process.is_alive()]
        same = [worker for worker in idle if worker.affinity == task.affinity]
        return (same or idle or [None])[0]  # type: ignore[list-item]

    def _spawn(self, device: str) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, device, self._threads), daemon=True)
        process.start()
        theirs.close()
        worker = _Worker(process=process, connection=ours, device=device)
        self._workers.append(worker)
        return worker

    def wait(self, seconds: float) -> list[Outcome]:
        busy = [worker for worker in self._workers if worker.task is not None]
        handles: list[Any] = [handle for worker in busy for handle in (worker.connection, worker.process.sentinel)]
        if not handles:
            return []
        ready = set(wait(handles, seconds))
        outcomes = []
        for worker in busy:
            if worker.connection in ready or worker.process.sentinel in ready:
                outcomes.append(self._collect(worker))
        return outcomes

    def _collect(self, worker: _Worker) -> Outcome:
        task = worker.task
        assert task is not None
        try:
            outcome: Outcome = worker.connection.recv()
            retire = task.accelerated
        except (EOFError, OSError):
            worker.process.join()
            outcome = self._ended(worker, task)
            retire = True
        worker.task = None
        if retire:
            self._retire(worker)
        return outcome

    def _ended(self, worker: _Worker, task: Task) -> Outcome:
        """The outcome of a task whose worker is no more: a failure, unless it was to end."""
        store = Store(Path(task.store))
        return Outcome(
            task=task,
            status="interrupted" if self._stopping else "failed",
            reason="stopped on request" if self._stopping else _how_it_ended(worker.process.exitcode),
            log=str((store.partial(task.kind, task.fingerprint) / LOG).relative_to(store.root)),
            seconds=time.time() - worker.started,
            worker=worker.process.pid or 0,
        )

    def _retire(self, worker: _Worker) -> None:
        worker.connection.close()  # the worker sees the end of its pipe and leaves
        self._workers.remove(worker)
        if worker.device.startswith("cuda:"):
            worker.process.join()  # its memory must be free before the next task gets the device
            self._free_gpus = sorted([*self._free_gpus, int(worker.device.removeprefix("cuda:"))])

    def close(self, *, interrupt: bool = False) -> list[Outcome]:
        outcomes: list[Outcome] = []
        self._stopping = True
        if interrupt:
            for worker in self._workers:
                if worker.task is not None and worker.process.pid is not None:
                    os.kill(worker.process.pid, signal.SIGTERM)
            deadline = time.time() + STOP_GRACE_SECONDS
            while any(worker.task is not None for worker in self._workers) and time.time() < deadline:
                outcomes += self.wait(0.2)
        for worker in list(self._workers):
            if worker.task is not None:
                worker.process.kill()
                worker.process.join()
                outcomes.append(self._ended(worker, worker.task))
            worker.connection.close()
            worker.process.join()
        self._workers.clear()
        return outcomes


def _how_it_ended(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with exit code {exitcode} before it was done"


class _StopFlag:
    """SIGTERM asks a stage to save and stop; a stage that cannot save is left at once, its lease given back."""

    def __init__(self) -> None:
        self.asked = False
        self.patient = True  # between tasks there is nothing to leave

    def __call__(self) -> bool:
        return self.asked

    def on_signal(self, *_: object) -> None:
        from harness.execution.worker import Interrupted

        self.asked = True
        if not self.patient:
            raise Interrupted


def _serve(connection: Connection, device: str, threads: int) -> None:
    """A worker's life: tasks in, outcomes out, until the pipe closes or the driver dies."""
    from harness.execution.worker import run_task

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    stop = _StopFlag()
    signal.signal(signal.SIGTERM, stop.on_signal)
    _leave_with(multiprocessing.parent_process())
    if device.startswith("cuda:"):
        os.environ["CUDA_VISIBLE_DEVICES"] = device.removeprefix("cuda:")
        device = "cuda"
    held: dict[str, Any] = {}
    affinity: str | None = None
    while True:
        try:
            task: Task = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        if task.affinity is None or task.affinity != affinity:
            held.clear()
            affinity = task.affinity
        stop.patient = task.resumable
        outcome = run_task(task, device=device, threads=threads, held=held, should_stop=stop)
        stop.patient = True
        connection.send(outcome)


def _leave_with(parent: Any) -> None:
    """End this process as soon as the driver is gone, so that nobody computes for nobody."""

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="driver-watch", daemon=True).start()

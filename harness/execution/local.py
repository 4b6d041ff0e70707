"""The local executor: stages in worker processes of this machine, forked from a server that has imported their code.

A crash stays inside its worker. A worker that used an accelerator, trained or scored is retired, so that its memory is
free again, unless its task named an affinity: then it keeps what it has loaded for tasks of the same affinity, and is
retired when a task of another needs its place. Workers end with the driver.
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
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from harness.errors import StageError
from harness.execution.executor import Capacity, Outcome, StageTask
from harness.store.record import LOG
from harness.store.store import Store

STOP_GRACE_SECONDS = 20.0


@dataclass
class _Worker:
    process: ForkServerProcess
    connection: Connection
    gpus: tuple[str, ...] = ()  # none for a worker on the CPU
    task: StageTask | None = None
    affinity: str | None = None
    loaded: bool = False  # it keeps something large for its affinity
    started: float = field(default_factory=time.time)


class LocalExecutor:
    """Runs up to `slots` tasks at once, and where there are GPUs as many accelerated ones as these can hold.

    Args:
        slots: tasks at once on the CPU.
        threads: threads of each task's numeric libraries.
        gpus: the GPUs to use, as CUDA calls them; accelerated tasks wait for one of them.
        preload: modules the fork server imports once, so that tasks need not.
    """

    def __init__(self, *, slots: int, threads: int, gpus: Sequence[str] = (), preload: Sequence[str] = ()) -> None:
        self._capacity = Capacity(slots=slots, threads=threads, gpus=len(gpus))
        self._gpus = tuple(gpus)
        self._free_gpus = list(gpus)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["harness.execution.worker", *preload])
        self._workers: list[_Worker] = []
        self._stopping = False

    def capacity(self) -> Capacity:
        return self._capacity

    def has_room(self, task: StageTask) -> bool:
        self._bury()
        if self._on_gpu(task):
            kept = sum(len(worker.gpus) for worker in self._idle())
            return self._warm(task) is not None or task.gpus <= len(self._free_gpus) + kept
        running = [worker for worker in self._workers if worker.task is not None and not worker.gpus]
        return len(running) < self._capacity.slots

    def _on_gpu(self, task: StageTask) -> bool:
        return task.accelerated and self._capacity.device == "cuda"

    def _bury(self) -> None:
        """Forget workers that ended while idle; what they kept is free."""
        for worker in list(self._workers):
            if worker.task is None and not _is_there(worker):
                self._retire(worker)

    def start(self, task: StageTask) -> None:
        worker = self._warm(task) or self._fresh(task)
        worker.task = task
        worker.affinity = task.affinity
        worker.loaded = task.accelerated and task.affinity is not None
        worker.started = time.time()
        with contextlib.suppress(OSError):  # it died while idle; `wait` finds its end and reports it
            worker.connection.send(task)

    def _idle(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.task is None and _is_there(worker)]

    def _warm(self, task: StageTask) -> _Worker | None:
        """An idle worker that holds what tasks of this affinity share."""
        same = (worker for worker in self._idle() if worker.affinity == task.affinity is not None)
        wanted = task.gpus if self._on_gpu(task) else 0
        return next((worker for worker in same if len(worker.gpus) == wanted), None)

    def _fresh(self, task: StageTask) -> _Worker:
        """A worker that holds nothing large; what idle ones keep for other affinities makes room for this task's."""
        if self._on_gpu(task):
            while len(self._free_gpus) < task.gpus:
                self._retire(next(worker for worker in self._idle() if worker.gpus))
            gpus, self._free_gpus = self._free_gpus[: task.gpus], self._free_gpus[task.gpus :]
            return self._spawn(tuple(gpus))
        on_cpu = [worker for worker in self._workers if not worker.gpus]
        loaded = [worker for worker in on_cpu if worker.loaded]
        if task.accelerated and len(loaded) >= self._capacity.slots:
            self._retire(next(worker for worker in loaded if worker.task is None))
        idle = (worker for worker in self._idle() if worker in on_cpu and not worker.loaded)
        return next(idle, None) or self._spawn(())

    def _spawn(self, gpus: tuple[str, ...]) -> _Worker:
        _have_fork_server()
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, gpus, self._capacity.threads), daemon=True)
        try:
            process.start()
        except (EOFError, OSError) as error:
            raise StageError(
                f"workers cannot start: the process that imports their code ended ({type(error).__name__})",
                "",
                "free memory and run again",
            ) from None
        theirs.close()
        worker = _Worker(process=process, connection=ours, gpus=gpus)
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
            if not worker.connection.poll() and worker.process.pid is not None:
                os.kill(worker.process.pid, signal.SIGKILL)  # it lives: it was the server it was forked from that ended
            outcome: Outcome = worker.connection.recv()
            retire = task.accelerated and task.affinity is None
        except (EOFError, OSError):
            worker.process.join()
            outcome = self._ended(worker, task)
            retire = True
        worker.task = None
        if retire:
            self._retire(worker)
        return outcome

    def _ended(self, worker: _Worker, task: StageTask) -> Outcome:
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
        if worker.gpus:
            worker.process.join()  # its memory must be free before the next task gets the device
            free = {*self._free_gpus, *worker.gpus}
            self._free_gpus = [gpu for gpu in self._gpus if gpu in free]

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


def _have_fork_server() -> None:
    """Start the server that workers are forked from, unless it runs, deaf to Ctrl-C and SIGTERM from its first moment.

    It imports for seconds, and in the middle of that a Ctrl-C, which reaches the whole process group, would be told
    with a traceback. A batch system sends SIGTERM to every process of a job, and without the server nobody knows how
    workers ended; it ends with the driver. Blocked signals are inherited; the resource tracker, which unblocks them, is
    started before.

    Nothing that it imports may ask CUDA whether there are GPUs: its children could use none then. Where a library does
    all the same, torch asks NVIDIA's management library instead, which does no harm.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    resource_tracker.ensure_running()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _is_there(worker: _Worker) -> bool:
    """Whether an idle worker lives: it says nothing unasked, so something to read is the end of its pipe."""
    return worker.process.is_alive() and not worker.connection.poll()


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


def _serve(connection: Connection, gpus: tuple[str, ...], threads: int) -> None:
    """A worker's life: tasks in, outcomes out, until the pipe closes or the driver dies."""
    from harness.execution.worker import forget_launcher, run_task

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    stop = _StopFlag()
    signal.signal(signal.SIGTERM, stop.on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})  # what a stage starts would inherit it
    forget_launcher()
    _leave_with(multiprocessing.parent_process())
    device = "cpu"
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        device = "cuda"
    held: dict[str, Any] = {}
    affinity: str | None = None
    while True:
        try:
            task: StageTask = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        if task.affinity is None or task.affinity != affinity:
            held.clear()
            affinity = task.affinity
        stop.patient = task.trains
        outcome = run_task(task, device=device, threads=threads, held=held, should_stop=stop)
        stop.patient = True
        connection.send(outcome)


def _leave_with(parent: Any) -> None:
    """End this process as soon as the driver is gone, so that nobody computes for nobody."""

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="driver-watch", daemon=True).start()

"""One task, from lease to record. The only place where a stage's code meets the store.

Imported by workers of every executor; the driver never imports it, since stages bring torch.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
import platform
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import (
    NO_SPACE,
    CorruptArtifact,
    HarnessError,
    LeaseLost,
    StageError,
    TrainingStopped,
    reason_of,
)
from harness.events import EventLog, Failed, Finished, Started, read_events
from harness.execution.asked import AskedTask
from harness.execution.cores import cores
from harness.execution.executor import Outcome, StageTask
from harness.execution.ranks import RANKS, processes_of, run_on_ranks
from harness.stages.context import Given, HowToRun, StageContext
from harness.store.artifacts import TrunkState
from harness.store.identity import SHORT
from harness.store.record import EVENTS, LOG, RESUME, TASK, remove, write_json
from harness.store.store import Building, Store

# Libraries whose version may move a result's last bits.
RECORDED_LIBRARIES = ("torch", "transformers", "accelerate", "numpy", "pyarrow", "scikit-learn", "scipy", "tokenizers")

LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""How torch's launchers, and pods made for them, tell a process which of how many it is."""

MOST_TOKENIZER_THREADS = 16
"""Beyond that nothing is won: a sixteenth of tokenising on one core is Python's, meanwhile (docs/log.md)."""


class Interrupted(BaseException):
    """The stage was asked to stop and has saved what it could."""


def prepare_libraries(threads: int) -> None:
    """Give this process's numeric libraries so many threads: two jobs with default threads run 5-10 times slower.

    Called after the stage's module, and with it its libraries, were imported. Tokenizers get every core: their threads
    sleep while there is nothing to do, what they give does not depend on their number, and all pairs are tokenised by
    one stage that others wait for.
    """
    tokenizers = min(MOST_TOKENIZER_THREADS, cores())
    os.environ["RAYON_NUM_THREADS"] = str(tokenizers)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if tokenizers > 1 else "false"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()  # our events say how far it is
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].set_cpu_count(threads)
    if "numpy" in sys.modules:
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads)


def forget_launcher() -> None:
    """Forget which of how many processes this one is: whoever started the driver said so of the driver.

    A stage in several processes has a launcher of its own (`ranks`); without it a training is alone, and would wait for
    others for ever where a pod or an MPI job says that there are some.
    """
    for name in list(os.environ):
        if name in LAUNCHED or name.startswith(("OMPI_COMM_WORLD_", "PMI_", "MV2_COMM_WORLD_")):
            del os.environ[name]


def run_task(
    task: StageTask,
    *,
    device: str,
    threads: int,
    held: dict[str, Any],
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Compute a task's stage unless it is there; never raises for what the stage does wrong."""
    begun = time.time()
    store = Store(Path(task.store))
    log = f"{task.kind}/{task.fingerprint[:SHORT]}.partial/{LOG}"
    try:
        if _is_done(store, task):
            return _outcome(task, "done", begun)
        if store.is_building(task.kind, task.fingerprint):  # before its inputs are read for nothing
            return _outcome(task, "busy", begun)
        for given in task.inputs.values():
            _verify(store, given.kind, given.fingerprint)
        with store.build(task.kind, task.fingerprint, resumable=task.resumable) as building:
            if building is None:
                return _outcome(task, "busy", begun)
            if _is_done(store, task):  # by another run, between our look and our lease
                shutil.rmtree(building.directory)
                return _outcome(task, "done", begun)
            with _output_to(building.directory / LOG):
                asked = AskedTask(task=task, device=device, threads=threads)
                _build(asked, store, building, begun, held=held, stop=should_stop)
        return _outcome(task, "done", begun)
    except LeaseLost:
        return _outcome(task, "busy", begun)
    except CorruptArtifact as error:
        if not error.where:  # no stage's files: what a model or an asset brought along
            return _outcome(task, "failed", begun, reason=error.one_line(), log=log)
        return _outcome(task, "corrupt", begun, reason=error.one_line(), culprit=error.where)
    except (Interrupted, TrainingStopped):
        return _outcome(task, "interrupted", begun, reason="stopped on request")
    except HarnessError as error:
        return _outcome(task, "failed", begun, reason=error.one_line(), log=log)
    except Exception as error:  # noqa: BLE001  the boundary: whatever a stage raises must not take the driver along
        return _outcome(task, "failed", begun, reason=_reason(error, store), log=log)


def _is_done(store: Store, task: StageTask) -> bool:
    record = store.record(task.kind, task.fingerprint)
    if record is None or not store.has_payload(record):
        return False
    return not task.this_code or record.environment.get("source_digest") == task.source_digest


def _build(
    asked: AskedTask,
    store: Store,
    building: Building,
    begun: float,
    *,
    held: dict[str, Any],
    stop: Callable[[], bool],
) -> None:
    task = asked.task
    _forget_peak_memory()
    _clear_all_but_resume(building.directory)
    events_path = building.directory / EVENTS
    attempt = 1 + sum(isinstance(event, Started) for event in read_events(events_path))
    events = EventLog(events_path)
    events.emit(Started(attempt=attempt))
    context = stage_context(asked, store, building.directory, events, held=held, should_stop=stop)
    try:
        write_json(building.directory / TASK, asked.in_full())
        if _is_spread(task):
            events.close()  # the processes write them meanwhile
            try:
                result: Mapping[str, Any] = run_on_ranks(building.directory, asked, should_stop=stop)
            finally:
                events = EventLog(events_path)
        else:
            module = importlib.import_module(task.module)
            prepare_libraries(asked.threads)  # after the import: libraries that are loaded now are told themselves
            result = module.run(context)
        events.emit(Finished())
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, HarnessError):
            print(error.one_line(), file=sys.stderr)  # noqa: T201  stderr is the stage's log here
            if not isinstance(error, TrainingStopped):  # who stopped and did not fail is known by the name
                reason = error.one_line()
        else:
            traceback.print_exc()
        with contextlib.suppress(OSError):  # a full disk must not hide why the stage failed
            events.emit(Failed(reason=reason))
        raise
    finally:
        with contextlib.suppress(OSError):  # every event was flushed when it was emitted
            events.close()
    shutil.rmtree(building.directory / RANKS, ignore_errors=True)
    _drop_resume(building.directory)
    (building.directory / TASK).unlink()
    building.publish(
        kind=task.kind,
        identity=task.identity,
        result=result,
        environment=_environment(asked),
        run={
            "label": task.label,
            "seconds": round(time.time() - begun, 3),
            "finished": round(time.time(), 3),
            "attempts": attempt,
            "log": LOG,
            "peak_memory_bytes": _peak_memory(),
            "task": asked.as_json(),
        },
    )


def _is_spread(task: StageTask) -> bool:
    """Whether several processes compute it: trainings, if they are to."""
    return task.trains and processes_of(task.how) > 1


def stage_context(
    asked: AskedTask,
    store: Store,
    directory: Path,
    events: EventLog,
    *,
    held: dict[str, Any],
    should_stop: Callable[[], bool] = lambda: False,
) -> StageContext:
    """What a task's stage is given, to write into `directory`."""
    task = asked.task
    return StageContext(
        spec=task.identity["spec"],
        inputs={
            name: Given(directory=store.directory(given.kind, given.fingerprint), rows=given.rows)
            for name, given in task.inputs.items()
        },
        directory=directory,
        events=events,
        how=HowToRun(device=asked.device, **task.how),
        earlier_states=lambda: _earlier_states(store, task),
        should_stop=should_stop,
        held=held,
    )


def _clear_all_but_resume(directory: Path) -> None:
    """Remove what an attempt that died before its record left: a stage writes into an empty folder."""
    for path in directory.iterdir():
        if path.name not in (RESUME, EVENTS, LOG):
            remove(path)


def _drop_resume(directory: Path) -> None:
    """Remove what a finished stage would have gone on from: at one blow, since half of it must never be found."""
    done_with = directory / f"{RESUME}.old"
    with contextlib.suppress(FileNotFoundError):
        (directory / RESUME).rename(done_with)
        shutil.rmtree(done_with)


def _verify(store: Store, kind: str, fingerprint: str) -> None:
    culprit = f"{kind}/{fingerprint}"
    record = store.record(kind, fingerprint)
    if record is None:
        raise CorruptArtifact("a stage's inputs must be there", f"{culprit[:40]} is gone", "run again", culprit)
    try:
        store.verify(record)
    except CorruptArtifact as error:
        raise CorruptArtifact(error.rule, error.value, error.remedy, culprit) from None


def _earlier_states(store: Store, task: StageTask) -> list[tuple[int, TrunkState]]:
    """The nearest earlier state of the task's trunk that is whole, as (step, state); empty where there is none.

    It is no input (any state, or none, leads to the same result), so its bytes are checked here.
    """
    from harness.pipeline.training_kinds import trunk_of

    step = int(task.identity["spec"]["step"])
    records = [
        record
        for record in store.records(task.kind)
        if record.identity["code_version"] == task.identity["code_version"]
        and int(record.identity["spec"]["step"]) < step
        and trunk_of(record.identity) == task.trunk
    ]
    for record in sorted(records, key=lambda record: -int(record.identity["spec"]["step"])):
        try:
            store.verify(record)
        except CorruptArtifact:
            continue  # dropped or damaged: an earlier one, or the base model, leads to the same state
        directory = store.directory(record.kind, record.fingerprint)
        return [(int(record.identity["spec"]["step"]), TrunkState(directory))]
    return []


def _environment(asked: AskedTask) -> dict[str, Any]:
    task, device = asked.task, asked.device
    loaded = [name for name in RECORDED_LIBRARIES if name.replace("scikit-learn", "sklearn") in sys.modules]
    environment: dict[str, Any] = {
        "device": device,
        "threads": asked.threads,
        **({"processes": processes_of(task.how)} if _is_spread(task) else {}),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": {name: importlib.metadata.version(name) for name in loaded},
        "source_digest": task.source_digest,
    }
    if device.startswith("cuda") and "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        environment["gpu"] = sys.modules["torch"].cuda.get_device_name(0)
    return environment


def _forget_peak_memory() -> None:
    """Have the kernel count this process's peak memory anew, where it can: a warm worker has run other tasks before."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    """Most resident bytes of this process since it forgot."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reason(error: Exception, store: Store) -> str:
    if _is_for_want_of_space(error, store):
        return StageError("the workdir needs space", "the disk is full", "make space and run again").one_line()
    told = error.strerror if isinstance(error, OSError) and error.strerror else reason_of(error)
    return f"{type(error).__name__}: {told}"


def _is_for_want_of_space(error: Exception, store: Store) -> bool:
    """Whether the disk is full: libraries in Rust say so in words only, numpy only that too little was written."""
    if any(os.strerror(number) in str(error) for number in NO_SPACE):
        return True
    if not isinstance(error, OSError):
        return False
    return error.errno in NO_SPACE or (error.errno is None and not os.statvfs(store.root).f_bavail)


def _outcome(task: StageTask, status: Any, begun: float, **facts: str) -> Outcome:
    return Outcome(task=task, status=status, seconds=time.time() - begun, worker=os.getpid(), **facts)


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send everything the process prints (C libraries too) to a log file."""
    with path.open("a", encoding="utf-8") as file:
        saved = [os.dup(1), os.dup(2)]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            if isinstance(stream, io.TextIOWrapper):  # whatever a library prints must not end its stage
                stream.reconfigure(errors="backslashreplace")
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):  # what a full disk does not take must not keep us from going back
                    stream.flush()
            for target, source in zip((1, 2), saved, strict=True):
                os.dup2(source, target)
                os.close(source)

"""One suite for every executor: add its factory below and it is held to the contract of `execution/executor.py`.

Real processes and a toy stage (`tests/toys/stage.py`) that crashes, hangs and stumbles on request.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from harness.events import Started, read_events
from harness.execution.cores import cores
from harness.execution.executor import Capacity, Executor, Outcome, StageTask, TaskInput
from harness.store.identity import fingerprint
from harness.store.record import EVENTS, LOG, Record
from harness.store.store import Store
from tests.toys.executors import await_partial, has_ended, is_alive, local_executor

KIND = "toy"
ENOUGH_SECONDS = 60.0


class Factory(Protocol):
    """Makes an executor of so many tasks at once, each with so many threads."""

    def __call__(self, *, slots: int, threads: int) -> Executor: ...


FACTORIES: dict[str, Factory] = {"local": local_executor}


@pytest.fixture(params=sorted(FACTORIES))
def factory(request: pytest.FixtureRequest) -> Factory:
    return FACTORIES[request.param]


@pytest.fixture
def make(factory: Factory) -> Iterator[Callable[..., Executor]]:
    """A maker of executors that are closed at the end."""
    made: list[Executor] = []

    def maker(slots: int = 2, threads: int = 1) -> Executor:
        made.append(factory(slots=slots, threads=threads))
        return made[-1]

    yield maker
    for executor in made:
        executor.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.create()
    return store


def toy(store: Store, does: str, *, number: int = 0, inputs: Sequence[Record] = (), **how: Any) -> StageTask:
    """A task of the toy stage; `number` tells otherwise equal tasks apart, `spec` adds to what it does."""
    spec = {"does": does, "number": number, **how.pop("spec", {})}
    given = {f"input-{index}": record for index, record in enumerate(inputs)}
    identity = {
        "kind": KIND,
        "code_version": 1,
        "spec": spec,
        "inputs": {name: record.fingerprint for name, record in given.items()},
    }
    return StageTask(
        kind=KIND,
        module=how.pop("module", "tests.toys.stage"),
        fingerprint=fingerprint(identity),
        identity=identity,
        inputs={name: TaskInput(kind=record.kind, fingerprint=record.fingerprint) for name, record in given.items()},
        store=str(store.root),
        label=f"{does} {number}",
        **how,
    )


def gather(executor: Executor, count: int) -> list[Outcome]:
    """The next `count` outcomes."""
    outcomes: list[Outcome] = []
    deadline = time.monotonic() + ENOUGH_SECONDS
    while len(outcomes) < count:
        assert time.monotonic() < deadline, f"only {len(outcomes)} of {count} outcomes arrived"
        outcomes += executor.wait(0.2)
    return outcomes


def run_all(executor: Executor, tasks: Sequence[StageTask]) -> list[Outcome]:
    """Run tasks as room permits."""
    outcomes: list[Outcome] = []
    for task in tasks:
        while not executor.has_room(task):
            outcomes += gather(executor, 1)
        executor.start(task)
    return outcomes + gather(executor, len(tasks) - len(outcomes))


def run_one(executor: Executor, task: StageTask) -> Outcome:
    (outcome,) = run_all(executor, [task])
    return outcome


def record_of(store: Store, task: StageTask) -> Record:
    record = store.record(task.kind, task.fingerprint)
    assert record is not None
    return record


def starts(directory: Path) -> int:
    return sum(isinstance(event, Started) for event in read_events(directory / EVENTS))


# -------------------------------------------------------------------------------------------- outcomes and room


def test_every_task_has_exactly_one_outcome(make: Callable[..., Executor], store: Store) -> None:
    executor = make()
    deeds = ("write", "leave", "write", "stumble", "kill_itself", "refuse", "write", "step")
    tasks = [toy(store, does, number=number, spec={"steps": 2}) for number, does in enumerate(deeds)]
    outcomes = run_all(executor, tasks)
    assert Counter(outcome.task.fingerprint for outcome in outcomes) == Counter(task.fingerprint for task in tasks)
    assert executor.wait(0.3) == []
    status = {outcome.task.fingerprint: outcome.status for outcome in outcomes}
    assert [status[task.fingerprint] for task in tasks] == [
        "done" if does in ("write", "step") else "failed" for does in deeds
    ]


def test_a_done_task_has_a_record_and_its_payload(make: Callable[..., Executor], store: Store) -> None:
    task = toy(store, "write", spec={"text": "hello"})
    outcome = run_one(make(), task)
    assert (outcome.status, outcome.task, outcome.reason) == ("done", task, "")
    assert outcome.seconds > 0
    assert outcome.worker > 0
    record = record_of(store, task)
    store.verify(record)
    directory = store.directory(KIND, task.fingerprint)
    assert (directory / "text.txt").read_text() == "hello"
    assert store.run_facts(record)["attempts"] == 1
    assert not list(store.root.glob("*/*.partial"))
    assert not list(store.root.glob("*/*.lease"))


def test_a_task_that_is_done_is_not_computed_again(make: Callable[..., Executor], store: Store) -> None:
    task = toy(store, "write")
    executor = make()
    assert run_one(executor, task).status == "done"
    before = store.run_facts(record_of(store, task))
    assert run_one(executor, task).status == "done"
    assert store.run_facts(record_of(store, task)) == before


def test_room_ends_with_the_slots_and_comes_back_with_outcomes(make: Callable[..., Executor], store: Store) -> None:
    executor = make(slots=2)
    tasks = [toy(store, "write", number=number, spec={"seconds": 0.2}) for number in range(3)]
    for task in tasks[:2]:
        assert executor.has_room(task)
        executor.start(task)
    assert not executor.has_room(tasks[2])
    gather(executor, 1)
    assert executor.has_room(tasks[2])


def test_an_executor_holds_what_it_says(make: Callable[..., Executor], store: Store) -> None:
    """As many tasks as slots, each with its threads; tasks that want an accelerator run on its device."""
    executor = make(slots=2, threads=3)
    capacity = executor.capacity()
    assert (capacity.slots, capacity.threads) == (2, 3)
    tasks = [toy(store, "report", number=number, accelerated=number == 0) for number in range(capacity.slots + 1)]
    for task in tasks[: capacity.slots]:
        assert executor.has_room(task)
        executor.start(task)
    assert capacity.gpus or not executor.has_room(tasks[-1])
    gather(executor, capacity.slots)
    assert record_of(store, tasks[0]).result["device"] == capacity.device
    assert [record_of(store, task).result["torch"] for task in tasks[: capacity.slots]] == [capacity.threads] * 2
    assert executor.capacity() == capacity


def test_waiting_without_tasks_returns_at_once(make: Callable[..., Executor]) -> None:
    began = time.monotonic()
    assert make().wait(30.0) == []
    assert time.monotonic() - began < 10.0


# ------------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("does", "reason"), [("leave", "exit code 3"), ("leave_politely", "exit code 4"), ("kill_itself", "SIGKILL")]
)
def test_a_crash_is_contained(make: Callable[..., Executor], store: Store, does: str, reason: str) -> None:
    executor = make(slots=2)
    crashing, other = toy(store, does), toy(store, "write", spec={"seconds": 0.3})
    outcomes = {outcome.task.label: outcome for outcome in run_all(executor, [other, crashing])}
    crashed = outcomes[crashing.label]
    assert crashed.status == "failed"
    assert reason in crashed.reason
    assert "\n" not in crashed.reason
    assert f"about to {does}" in (store.root / crashed.log).read_text()
    assert outcomes[other.label].status == "done"
    assert run_one(executor, toy(store, "write", number=2)).status == "done"  # and the executor goes on


def test_an_exception_fails_with_its_reason_and_a_traceback_in_the_log(
    make: Callable[..., Executor], store: Store
) -> None:
    outcome = run_one(make(), toy(store, "stumble"))
    assert (outcome.status, outcome.reason) == ("failed", "ValueError: the toy stumbled and fell")
    log = (store.root / outcome.log).read_text()
    assert "about to stumble" in log
    assert "Traceback (most recent call last)" in log
    assert "in stumble" in log


def test_code_that_cannot_be_imported_fails_with_a_traceback_in_the_log(
    make: Callable[..., Executor], store: Store
) -> None:
    outcome = run_one(make(), toy(store, "write", module="tests.toys.there_is_none"))
    assert outcome.status == "failed"
    assert "ModuleNotFoundError" in outcome.reason
    assert "there_is_none" in (store.root / outcome.log).read_text()


def test_an_error_of_ours_is_told_in_one_line(make: Callable[..., Executor], store: Store) -> None:
    outcome = run_one(make(), toy(store, "refuse"))
    told = "a toy must be whole, but it has a crack; buy another"
    assert (outcome.status, outcome.reason) == ("failed", told)
    log = (store.root / outcome.log).read_text()
    assert told in log
    assert "Traceback" not in log


def test_damage_that_is_no_inputs_fails_and_is_not_repaired(make: Callable[..., Executor], store: Store) -> None:
    """What a model from outside lacks: there is no stage to compute again."""
    outcome = run_one(make(), toy(store, "lack"))
    told = "a model's weights must be whole, but one is missing; fetch it again"
    assert (outcome.status, outcome.reason, outcome.culprit) == ("failed", told, "")


def test_a_failed_task_can_be_tried_again(make: Callable[..., Executor], store: Store) -> None:
    executor, task = make(), toy(store, "stumble")
    assert [run_one(executor, task).status for _ in range(2)] == ["failed", "failed"]
    assert store.record(KIND, task.fingerprint) is None
    assert not store.is_building(KIND, task.fingerprint)


def test_an_input_that_does_not_match_its_record_is_named(make: Callable[..., Executor], store: Store) -> None:
    executor, source = make(), toy(store, "write", spec={"text": "good"})
    run_one(executor, source)
    (store.directory(KIND, source.fingerprint) / "text.txt").write_text("evil")  # the same size
    outcome = run_one(executor, toy(store, "write", number=1, inputs=[record_of(store, source)]))
    assert (outcome.status, outcome.culprit) == ("corrupt", f"{KIND}/{source.fingerprint}")


def test_what_an_attempt_that_died_before_its_record_left_is_not_part_of_the_next(
    make: Callable[..., Executor], store: Store
) -> None:
    task = toy(store, "step", spec={"steps": 2}, trains=True, resumable=True)
    partial = store.partial(KIND, task.fingerprint)
    (partial / "state").mkdir(parents=True)
    (partial / "state" / "weights").write_text("half")
    (partial / "text.txt").write_text("finished by another")
    assert run_one(make(), task).status == "done"
    assert sorted(record_of(store, task).files) == ["text.txt"]


# ------------------------------------------------------------------------------------------------ several holders


def test_a_task_somebody_else_builds_is_busy(make: Callable[..., Executor], store: Store) -> None:
    executor, task = make(), toy(store, "write")
    with store.build(KIND, task.fingerprint, resumable=False) as building:
        assert building is not None
        assert run_one(executor, task).status == "busy"
        assert store.record(KIND, task.fingerprint) is None
    assert run_one(executor, task).status == "done"


def test_one_of_two_executors_computes_a_task(make: Callable[..., Executor], store: Store) -> None:
    first, second = make(), make()
    tasks = [toy(store, "write", number=number, spec={"seconds": 0.1}) for number in range(4)]
    for pair in (tasks[:2], tasks[2:]):
        for executor in (first, second):
            for task in pair:
                executor.start(task)
        outcomes = [outcome for executor in (first, second) for outcome in gather(executor, len(pair))]
        statuses = Counter(outcome.status for outcome in outcomes)
        assert statuses["done"] >= len(pair)
        assert statuses["done"] + statuses["busy"] == 2 * len(pair)
    assert [starts(store.directory(KIND, task.fingerprint)) for task in tasks] == [1] * len(tasks)


# ------------------------------------------------------------------------------------------------------- workers


def test_tasks_of_one_affinity_find_what_the_last_one_held(make: Callable[..., Executor], store: Store) -> None:
    executor = make(slots=2)
    first = [toy(store, "hold", number=number, affinity="model a") for number in range(3)]
    outcomes = [run_one(executor, task) for task in first]
    assert [record_of(store, task).result["count"] for task in first] == [1, 2, 3]
    assert len({outcome.worker for outcome in outcomes}) == 1


def test_a_task_of_another_affinity_or_none_finds_nothing(make: Callable[..., Executor], store: Store) -> None:
    executor = make(slots=1)
    affinities = ("model a", "model b", "model a", None, None)
    tasks = [toy(store, "hold", number=number, affinity=affinity) for number, affinity in enumerate(affinities)]
    for task in tasks:
        run_one(executor, task)
    assert [record_of(store, task).result["count"] for task in tasks] == [1] * len(tasks)


def test_a_worker_is_left_to_the_affinity_it_serves_while_another_is_idle(
    make: Callable[..., Executor], store: Store
) -> None:
    executor = make(slots=2)
    together = [toy(store, "hold", number=number, affinity=name) for number, name in enumerate(("a", "b"))]
    run_all(executor, [toy(store, "write", number=9, spec={"seconds": 0.2}), *together[:1]])
    run_all(executor, together[1:])
    later = [toy(store, "hold", number=number, affinity=name) for number, name in ((2, "b"), (3, "a"))]
    for task in later:
        run_one(executor, task)
    assert [record_of(store, task).result["count"] for task in later] == [2, 2]


def test_a_worker_that_used_an_accelerator_ends(make: Callable[..., Executor], store: Store) -> None:
    executor = make(slots=1)
    outcomes = [run_one(executor, toy(store, "write", number=number, accelerated=True)) for number in range(2)]
    assert outcomes[0].worker != outcomes[1].worker
    assert all(has_ended(outcome.worker) for outcome in outcomes)
    plain = [run_one(executor, toy(store, "write", number=number)) for number in (2, 3)]
    assert plain[0].worker == plain[1].worker
    assert is_alive(plain[0].worker)


def test_what_an_accelerated_task_loaded_is_kept_for_its_affinity_while_there_is_room(
    make: Callable[..., Executor], store: Store
) -> None:
    executor = make(slots=1)
    asked = [("a", True), ("a", True), (None, False), ("a", True), ("b", True), (None, False), ("b", True)]
    tasks = [
        toy(store, "hold", number=number, affinity=name, accelerated=accelerated)
        for number, (name, accelerated) in enumerate(asked)
    ]
    outcomes = [run_one(executor, task) for task in tasks]
    assert [record_of(store, task).result["count"] for task in tasks] == [1, 2, 1, 3, 1, 1, 2]
    assert outcomes[0].worker == outcomes[3].worker != outcomes[4].worker
    assert has_ended(outcomes[0].worker)  # its place was needed for another model
    assert is_alive(outcomes[4].worker)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_of_numeric_libraries_are_set(make: Callable[..., Executor], store: Store, threads: int) -> None:
    task = toy(store, "report", number=threads)
    assert run_one(make(slots=1, threads=threads), task).status == "done"
    record = record_of(store, task)
    assert record.result["torch"] == threads
    assert record.result["pools"] == [threads]
    assert record.result["openmp"] == str(threads)
    assert record.result["rayon"] == str(min(16, cores()))  # tokenizers have every core
    assert record.environment["threads"] == threads


def test_peak_memory_is_of_the_task_alone(make: Callable[..., Executor], store: Store) -> None:
    large, small = (toy(store, "fill", spec={"bytes": size}) for size in (400_000_000, 1_000))
    executor = make(slots=1)
    outcomes = [run_one(executor, task) for task in (large, small)]
    assert outcomes[0].worker == outcomes[1].worker
    of_large, of_small = (store.run_facts(record_of(store, task))["peak_memory_bytes"] for task in (large, small))
    assert of_large > of_small + 300_000_000


# ------------------------------------------------------------------------------------------------------ endings


def test_an_interrupted_task_saves_and_goes_on_later(make: Callable[..., Executor], store: Store) -> None:
    executor, task = make(), toy(store, "step", spec={"steps": 100}, trains=True, resumable=True)
    executor.start(task)
    await_partial(store, KIND, task.fingerprint, "resume/step")
    outcomes = executor.close(interrupt=True)
    assert [(outcome.task, outcome.status) for outcome in outcomes] == [(task, "interrupted")]
    assert not store.is_building(KIND, task.fingerprint)
    assert run_one(make(), task).status == "done"
    assert record_of(store, task).result["started_from"] > 0
    assert store.run_facts(record_of(store, task))["attempts"] == 2


def test_a_task_that_saves_as_it_goes_is_left_at_once_and_goes_on_later(
    make: Callable[..., Executor], store: Store
) -> None:
    """It is not waited for, since it never looks whether it is to stop; what it saved is kept."""
    executor, task = make(), toy(store, "step", spec={"steps": 100, "deaf": True}, resumable=True)
    executor.start(task)
    await_partial(store, KIND, task.fingerprint, "resume/step")
    assert [outcome.status for outcome in executor.close(interrupt=True)] == ["interrupted"]
    assert int((store.partial(KIND, task.fingerprint) / "resume/step").read_text()) < 100
    assert run_one(make(), task).status == "done"
    assert record_of(store, task).result["started_from"] > 0


def test_a_task_that_cannot_save_is_left_at_once(make: Callable[..., Executor], store: Store) -> None:
    executor, task = make(), toy(store, "write", spec={"seconds": 600.0})
    executor.start(task)
    await_partial(store, KIND, task.fingerprint, LOG)
    began = time.monotonic()
    assert [outcome.status for outcome in executor.close(interrupt=True)] == ["interrupted"]
    assert time.monotonic() - began < 15.0
    assert not store.is_building(KIND, task.fingerprint)


def test_closing_ends_all_workers_and_gives_the_outcomes_owed(make: Callable[..., Executor], store: Store) -> None:
    executor = make(slots=2)
    done = run_one(executor, toy(store, "write"))
    task = toy(store, "write", number=1, spec={"seconds": 600.0})
    executor.start(task)
    await_partial(store, KIND, task.fingerprint, LOG)
    outcomes = executor.close()
    assert [(outcome.task, outcome.status) for outcome in outcomes] == [(task, "interrupted")]
    assert has_ended(done.worker)
    assert has_ended(outcomes[0].worker)
    assert executor.wait(0.0) == []


DRIVER = """
import pickle, sys, time
from tests.contract.test_executors import FACTORIES
if __name__ == "__main__":
    name, path = sys.argv[1:]
    executor = FACTORIES[name](slots=2, threads=1)
    for task in pickle.loads(open(path, "rb").read()):
        executor.start(task)
    while True:
        executor.wait(1.0)
"""


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_workers_end_when_the_driver_is_killed(name: str, store: Store, tmp_path: Path) -> None:
    tasks = [toy(store, "write", number=number, spec={"seconds": 600.0}) for number in range(2)]
    (tmp_path / "tasks").write_bytes(pickle.dumps(tasks))
    (tmp_path / "driver.py").write_text(DRIVER)
    root = str(Path(__file__).parents[2])
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), name, str(tmp_path / "tasks")],
        cwd=root,
        env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"},
    )
    try:
        for task in tasks:
            await_partial(store, KIND, task.fingerprint, LOG)
        leases = [store.root / KIND / f"{task.fingerprint[:12]}.lease" for task in tasks]
        workers = [json.loads(lease.read_text())["pid"] for lease in leases]
        assert all(is_alive(worker) for worker in workers)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert all(has_ended(worker) for worker in workers)
    deadline = time.monotonic() + 10.0
    while any(store.is_building(KIND, task.fingerprint) for task in tasks):
        assert time.monotonic() < deadline, "a dead process still holds its lease"
        time.sleep(0.02)


# ------------------------------------------------------------------------------------- of the local executor alone


def test_a_gpu_is_kept_for_its_affinity_until_another_needs_it(store: Store) -> None:
    executor = local_executor(slots=1, gpus=("0",))
    affinities = ("a", "a", "b", None, "b")
    tasks = [
        toy(store, "hold", number=number, affinity=name, accelerated=True) for number, name in enumerate(affinities)
    ]
    try:
        outcomes = [run_one(executor, task) for task in tasks]
        assert [record_of(store, task).result["count"] for task in tasks] == [1, 2, 1, 1, 1]
        assert has_ended(outcomes[0].worker)
        assert has_ended(outcomes[2].worker)
    finally:
        executor.close()


def test_a_task_gets_as_many_gpus_as_it_asks_for(store: Store) -> None:
    executor = local_executor(slots=1, gpus=("0", "1", "2"))
    kept = toy(store, "hold", number=0, accelerated=True, affinity="a")
    wide = toy(store, "report", number=1, accelerated=True, gpus=2)
    widest = toy(store, "report", number=2, accelerated=True, gpus=3)
    try:
        assert run_one(executor, kept).status == "done"
        executor.start(wide)
        assert not executor.has_room(widest)
        assert [outcome.status for outcome in gather(executor, 1)] == ["done"]
        assert executor.has_room(widest)  # the worker that keeps something makes room
        assert run_one(executor, widest).status == "done"
        assert record_of(store, wide).result["visible_gpus"] == "1,2"
        assert record_of(store, widest).result["visible_gpus"] == "0,1,2"
    finally:
        executor.close()


def test_a_worker_that_ends_while_idle_gives_its_gpu_back(store: Store) -> None:
    executor = local_executor(slots=1, gpus=("0",))
    tasks = [toy(store, "hold", number=number, accelerated=True, affinity="a") for number in range(2)]
    try:
        worker = run_one(executor, tasks[0]).worker
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 10.0
        while Path(f"/proc/{worker}").exists():  # all its threads are gone only when it was waited for
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert executor.has_room(tasks[1])
        assert run_one(executor, tasks[1]).status == "done"
    finally:
        executor.close()


def test_every_gpu_serves_one_accelerated_task(store: Store) -> None:
    executor = local_executor(slots=1, gpus=("1", "GPU-ab"))
    assert executor.capacity() == Capacity(slots=1, threads=1, gpus=2)
    tasks = [toy(store, "report", number=number, accelerated=True) for number in range(3)]
    try:
        for task in tasks[:2]:
            assert executor.has_room(task)
            executor.start(task)
        assert not executor.has_room(tasks[2])
        assert executor.has_room(toy(store, "write"))
        outcomes = gather(executor, 2)
        assert [outcome.status for outcome in outcomes] == ["done", "done"]
        results = [record_of(store, task).result for task in tasks[:2]]
        assert [(result["device"], result["visible_gpus"]) for result in results] == [("cuda", "1"), ("cuda", "GPU-ab")]
        assert run_one(executor, tasks[2]).status == "done"
    finally:
        executor.close()


JOB = """
import os, pickle, signal, sys, time
from multiprocessing import forkserver
from harness.execution.local import LocalExecutor
from tests.toys.executors import has_ended

if __name__ == "__main__":
    first, second, endless = pickle.loads(open(sys.argv[1], "rb").read())
    executor = LocalExecutor(slots=2, threads=1, preload=["tests.toys.stage"])
    executor.start(first)
    server = forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGTERM)  # as a batch system does to every process of a job
    time.sleep(0.2)
    executor.start(second)  # by another worker of the same server
    while len(executor._idle()) < 2:
        for outcome in executor.wait(1.0):
            print(outcome.status, flush=True)
    executor.start(endless)
    time.sleep(0.5)
    os.kill(server, signal.SIGKILL)
    [outcome] = executor.wait(60.0)
    print(outcome.status, has_ended(outcome.worker), flush=True)
    executor.close()
"""


def test_a_job_in_a_batch_system(store: Store, tmp_path: Path) -> None:
    """What it says of the driver is not said of the stages; its SIGTERM leaves the server alone, which workers need."""
    tasks = [
        toy(store, "report", number=0),
        toy(store, "report", number=1),
        toy(store, "write", number=2, spec={"seconds": 600.0}),
    ]
    (tmp_path / "tasks").write_bytes(pickle.dumps(tasks))
    (tmp_path / "job.py").write_text(JOB)
    root = str(Path(__file__).parents[2])
    said_of_the_driver = {"RANK": "0", "WORLD_SIZE": "2", "PMI_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    job = subprocess.run(
        [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "tasks")],
        cwd=root,
        env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin", **said_of_the_driver},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert job.stdout.splitlines() == ["done", "done", "failed True"], job.stderr
    assert [record_of(store, task).result["launched"] for task in tasks[:2]] == [[], []]

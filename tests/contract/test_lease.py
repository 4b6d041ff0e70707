"""What every lease must do: one holder at a time, whoever dies or stalls is replaced, who was replaced is told.

A new kind of lease is one more line in LEASES; it is made as `kind(path, grace=seconds, heartbeat=seconds)`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import LeaseLost
from harness.store.lease import is_held

LEASES = {"file": "harness.store.lease:Lease"}
LONG = 3600.0  # a grace that no test outlives
ROOT = Path(__file__).parents[2]

MakeLease = Callable[..., Any]
Spawn = Callable[..., subprocess.Popen[str]]


def make(name: str, path: Path, **seconds: float) -> Any:
    module, _, kind = LEASES[name].partition(":")
    return getattr(importlib.import_module(module), kind)(path, **seconds)


@pytest.fixture(params=LEASES)
def lease_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "kind" / "stage.lease"


@pytest.fixture
def new(lease_name: str, path: Path) -> Iterator[MakeLease]:
    """Make leases on one path; whatever is still held at the end is given back."""
    made: list[Any] = []

    def new(*, grace: float = LONG, heartbeat: float = 0.05) -> Any:
        made.append(make(lease_name, path, grace=grace, heartbeat=heartbeat))
        return made[-1]

    yield new
    for lease in made:
        lease.release()


@pytest.fixture
def spawn(lease_name: str, path: Path) -> Iterator[Spawn]:
    """Start processes that run `code` with `lease()` making leases on the path; the last are ended here."""
    processes: list[subprocess.Popen[str]] = []
    head = f"""
    import importlib, os, sys, time
    from pathlib import Path
    kind = getattr(importlib.import_module({LEASES[lease_name].partition(":")[0]!r}),
                   {LEASES[lease_name].partition(":")[2]!r})
    path = Path({str(path)!r})
    def lease(grace={LONG}, heartbeat=0.05):
        return kind(path, grace=grace, heartbeat=heartbeat)
    """

    def spawn(code: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield spawn
    for process in processes:
        process.kill()
        process.communicate()


HOLD = """
    mine = lease()
    print(mine.acquire(), flush=True)
    sys.stdin.readline()
    mine.release()
    print("released", flush=True)
"""


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_one_holder(new: MakeLease, path: Path) -> None:
    first, second = new(), new()
    assert not is_held(path, LONG)
    assert first.acquire()
    assert is_held(path, LONG)
    assert not second.acquire()
    assert not first.acquire()  # not even twice by the same
    first.require()
    with pytest.raises(LeaseLost):
        second.require()


def test_given_back_is_free(new: MakeLease, path: Path) -> None:
    first, second = new(), new()
    for lease in (first, second, first):
        assert lease.acquire()
        lease.release()
        assert not is_held(path, LONG)
        with pytest.raises(LeaseLost):
            lease.require()


def test_giving_back_what_one_does_not_hold_changes_nothing(new: MakeLease) -> None:
    first, second = new(), new()
    second.release()
    assert first.acquire()
    second.release()
    first.require()


def test_an_error_gives_it_back(new: MakeLease, path: Path) -> None:
    lease = new()
    assert lease.acquire()
    with pytest.raises(ZeroDivisionError), lease:
        raise ZeroDivisionError
    assert not is_held(path, LONG)


def test_another_process_holds_it(new: MakeLease, spawn: Spawn) -> None:
    holder = spawn(HOLD)
    assert line(holder) == "True"
    mine = new()
    assert not mine.acquire()
    tell(holder)
    assert line(holder) == "released"
    assert mine.acquire()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_holder_is_replaced_at_once(new: MakeLease, spawn: Spawn, end: signal.Signals) -> None:
    holder = spawn(HOLD)
    assert line(holder) == "True"
    mine = new(grace=LONG)
    assert not mine.acquire()
    holder.send_signal(end)
    holder.wait()
    assert mine.acquire()
    mine.require()


def test_a_stalled_holder_is_replaced_after_the_grace(new: MakeLease, spawn: Spawn) -> None:
    grace = 1.5
    holder = spawn(HOLD)
    assert line(holder) == "True"
    mine = new(grace=grace)
    holder.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    assert not mine.acquire()
    assert wait_until(mine.acquire)
    assert time.monotonic() - stopped > grace / 2  # its last heartbeat was shortly before
    mine.require()
    holder.send_signal(signal.SIGCONT)
    tell(holder)
    assert line(holder) == "released"  # what the late one gives back is no longer its own
    mine.require()


def test_a_heartbeat_keeps_it(new: MakeLease) -> None:
    holder, other = new(grace=1.0, heartbeat=0.05), new(grace=1.0)
    assert holder.acquire()
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        assert not other.acquire()
        time.sleep(0.02)
    holder.require()


def test_who_was_replaced_is_told_and_harms_nobody(new: MakeLease) -> None:
    first, second = new(grace=0.1, heartbeat=LONG), new(grace=0.1, heartbeat=0.02)
    assert first.acquire()
    assert wait_until(second.acquire)
    with pytest.raises(LeaseLost, match="another process took this one over"):
        first.require()
    first.release()
    second.require()
    assert not first.acquire()
    second.release()
    assert first.acquire()


RACE = """
    sys.stdin.readline()
    witness = path.with_name("inside")
    won = broken = 0
    deadline = time.monotonic() + 60
    while won < 25 and time.monotonic() < deadline:
        mine = lease()
        if not mine.acquire():
            time.sleep(0.001)
            continue
        try:
            os.close(os.open(witness, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            broken += 1
        mine.require()
        time.sleep(0.0005)
        witness.unlink(missing_ok=True)
        mine.release()
        won += 1
    print(won, broken, flush=True)
"""


def test_many_processes_one_holder_at_a_time(spawn: Spawn) -> None:
    processes = [spawn(RACE) for _ in range(6)]
    for process in processes:
        tell(process)
    assert [line(process) for process in processes] == ["25 0"] * 6


TRY = """
    print("ready", flush=True)
    sys.stdin.readline()
    mine = lease()
    print(mine.acquire(), flush=True)
    sys.stdin.readline()
"""


def test_one_of_many_replaces_a_dead_holder(spawn: Spawn) -> None:
    holder = spawn(HOLD)
    assert line(holder) == "True"
    waiting = [spawn(TRY) for _ in range(6)]
    assert {line(process) for process in waiting} == {"ready"}
    holder.kill()
    holder.wait()
    for process in waiting:
        tell(process)
    assert Counter(line(process) for process in waiting) == {"True": 1, "False": 5}


# ------------------------------------------------------------------------------- what the file lease writes down


def holder_file(path: Path, **changes: Any) -> None:
    lease = make("file", path, grace=LONG, heartbeat=LONG)
    assert lease.acquire()
    told = json.loads(path.read_text())
    lease.release()
    path.write_text(json.dumps(told | {"owner": "somebody else"} | changes))


def test_the_file_of_a_living_holder(path: Path) -> None:
    holder_file(path)
    assert is_held(path, LONG)
    assert not is_held(path, 0.0)


def test_a_reused_pid_is_not_its_holder(path: Path) -> None:
    holder_file(path, start="1")
    assert not is_held(path, LONG)


def test_pids_of_other_machines_and_containers_say_nothing(path: Path) -> None:
    holder_file(path, boot="another machine, or another container of this one", pid=2**22 + 1, start="1")
    assert is_held(path, LONG)
    an_hour_ago = time.time() - 2 * LONG
    os.utime(path, (an_hour_ago, an_hour_ago))
    assert not is_held(path, LONG)


def test_a_heartbeat_that_lies_ahead_holds_nothing(path: Path) -> None:
    """It would be waited for until then, in silence."""
    holder_file(path)
    tomorrow = time.time() + 24 * LONG
    os.utime(path, (tomorrow, tomorrow))
    assert not is_held(path, LONG)
    lease = make("file", path, grace=LONG, heartbeat=LONG)
    assert lease.acquire()
    lease.release()


def test_a_folder_in_its_place_is_free(path: Path) -> None:
    path.mkdir(parents=True)
    assert not is_held(path, LONG)
    lease = make("file", path, grace=LONG, heartbeat=LONG)
    assert lease.acquire()
    lease.release()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", "[" * 100_000])
def test_a_file_that_names_no_holder_is_free(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert not is_held(path, LONG)
    lease = make("file", path, grace=LONG, heartbeat=LONG)
    assert lease.acquire()
    lease.release()
    assert not path.exists()

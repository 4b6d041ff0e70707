"""Killing stages from outside, at seeded random moments of their work."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.pipeline.graph import Stage
from harness.pipeline.training_kinds import Training
from harness.store.record import RESUME
from harness.store.store import Store

LOOK_SECONDS = 0.001
SAVED_SECONDS = 20.0  # within which a training has saved its first step, however busy the machine
GONE_SECONDS = 2 * SAVED_SECONDS


def state_of(pid: int) -> str:
    """One letter, as in ps; "" if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def start_of(pid: int) -> str:
    """When a process began: with its id, which process it is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def builder_of(store: Store, stage: Stage) -> tuple[int, str] | None:
    """(process id, its start) of the process that holds a stage's lease."""
    try:
        lease = json.loads((store.root / stage.kind.name / f"{stage.fingerprint[:12]}.lease").read_text())
        return int(lease["pid"]), str(lease["start"])
    except (FileNotFoundError, ValueError):
        return None


@contextmanager
def frozen(store: Store, stage: Stage) -> Iterator[int | None]:
    """Stop the process that builds a stage, if it is still at it: gives its id, or None where it was too late.

    A stopped process changes nothing more, so what is seen of the store inside is how a kill inside leaves it.
    """
    found = builder_of(store, stage)
    if found is None or start_of(found[0]) != found[1]:
        yield None
        return
    pid = found[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        while state_of(pid) not in ("T", "Z", "X", ""):
            time.sleep(LOOK_SECONDS)
        at_it = builder_of(store, stage) == found and store.record(stage.kind.name, stage.fingerprint) is None
        yield pid if at_it else None
    finally:
        if start_of(pid) == found[1]:
            os.kill(pid, signal.SIGCONT)


def last_saved(store: Store, stage: Stage) -> int:
    """The last step that a training under way has saved; 0 before any."""
    saved = store.partial(stage.kind.name, stage.fingerprint).glob(f"{RESUME}/step-*[0-9]")
    return max((int(folder.name.removeprefix("step-")) for folder in saved), default=0)


def is_amid(store: Store, stage: Stage) -> bool:
    """Whether a stage under way has work to go on with; a training, a saved step and steps still to come."""
    return not isinstance(stage.kind, Training) or 0 < last_saved(store, stage) < stage.kind.steps(stage)


def await_work(store: Store, stage: Stage, random_source: random.Random, seconds: float) -> None:
    """Let a stage that has just begun work on for a random while; a training, once it has saved a step."""
    if stage.kind.trains:
        partial = store.partial(stage.kind.name, stage.fingerprint)
        deadline = time.monotonic() + SAVED_SECONDS
        while not last_saved(store, stage) and partial.exists() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
    time.sleep(random_source.uniform(0.0, seconds))


class Killer:
    """Kills the worker of one stage of each `wanted` kind, amid its work, while a run goes on in the main thread.

    Args:
        wanted: kinds still to be hit; those that were are taken out.
        seconds: how long each stage takes undisturbed, which bounds the random wait.
    """

    def __init__(
        self, store: Store, stages: Sequence[Stage], wanted: set[str], seconds: Mapping[str, float], seed: int
    ) -> None:
        self.kills: list[Stage] = []
        self._store = store
        self._stages = stages
        self._wanted = wanted
        self._seconds = seconds
        self._seed = seed
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="killer", daemon=True)
        self._attacks: list[threading.Thread] = []

    def _watch(self) -> None:
        tried: set[str] = set()
        while not self._over.is_set() and self._wanted:
            for stage in self._stages:
                name = stage.fingerprint
                if stage.kind.name not in self._wanted or name in tried:
                    continue
                if self._store.partial(stage.kind.name, name).exists():
                    tried.add(name)
                    source = random.Random(f"{self._seed} {name}")
                    attack = threading.Thread(target=self._attack, args=(stage, source), daemon=True)
                    self._attacks.append(attack)
                    attack.start()
            time.sleep(LOOK_SECONDS)

    def _attack(self, stage: Stage, source: random.Random) -> None:
        await_work(self._store, stage, source, self._seconds[stage.fingerprint])
        with self._lock, frozen(self._store, stage) as pid:
            if pid is not None and stage.kind.name in self._wanted and is_amid(self._store, stage):
                os.kill(pid, signal.SIGKILL)
                self._wanted.discard(stage.kind.name)
                self.kills.append(stage)

    def __enter__(self) -> Killer:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in (self._watcher, *self._attacks):
            thread.join(GONE_SECONDS)
            assert not thread.is_alive()

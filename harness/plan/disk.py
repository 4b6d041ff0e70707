"""What a plan's stages take on disk at the peak: what is there, what is added, what is there only while running.

Checkpoints follow from the model's shape, tokens from their number, tables from finished stages of the same plan where
there are any, else from stated assumptions. Everything is before `gc`, which drops only when it is called. Only the
store is meant: MLflow's database and reports come on top. Standard library only.
"""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis, Known
from harness.store.store import Snapshot, Store

FILES_BESIDE = 3_000  # record, run facts, log and some events
CURVES = 2_000  # of a training, beside that: a line every `runtime.log_every` steps, nothing against its weights


@dataclass(frozen=True, kw_only=True, slots=True)
class StageDisk:
    """One stage left to run.

    Attributes:
        size: bytes it adds for good; None where nobody has looked into its model yet.
        scratch: bytes there beyond that while it runs.
    """

    stage: Stage
    size: float | None
    scratch: float
    basis: Basis


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes of a plan's stages, before `gc`.

    Attributes:
        now: of each finished stage, by fingerprint: its files as they lie on disk, linked ones once.
        running: what the trainings that run at once hold beyond what they leave.
    """

    now: Mapping[str, int]
    stages: tuple[StageDisk, ...]
    running: float

    @property
    def finished(self) -> int:
        return sum(self.now.values())

    @property
    def added(self) -> float:
        return sum(stage.size or 0.0 for stage in self.stages)

    @property
    def needed(self) -> float:
        """What must be free to run the rest; what interrupted trainings already hold of it is not taken off."""
        return self.added + self.running

    @property
    def peak(self) -> float:
        return self.finished + self.needed

    @property
    def unknown(self) -> int:
        """Stages that are not counted, because nobody knows their model's weights yet."""
        return sum(stage.size is None for stage in self.stages)


def disk_of(
    to_run: Sequence[Stage], everything: Sequence[Stage], store: Store, trainings: int, known: Known | None = None
) -> Disk:
    """Bytes of a plan's stages.

    `running` takes the largest trainings, whether or not the plan's order lets them meet.

    Args:
        to_run: stages left; all others of `everything` count with what they have on disk.
        trainings: how many run at once.
        known: what the store knows, where somebody has looked already.
    """
    known = known or Known(Snapshot(store), everything)
    left = {stage.fingerprint for stage in to_run}
    stages = tuple(_disk(stage, known) for stage in to_run)
    return Disk(
        now=_bytes_on_disk([stage for stage in everything if stage.fingerprint not in left], known),
        stages=stages,
        running=sum(heapq.nlargest(trainings, (stage.scratch for stage in stages))),
    )


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written where a folder is, or will be."""
    nearest = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), Path())
    return shutil.disk_usage(nearest).free


# ---------------------------------------------------------------------------------------------------- what is there


def _bytes_on_disk(stages: Sequence[Stage], known: Known) -> dict[str, int]:
    """Bytes of each finished stage's files; a file that several stages link counts for the first."""
    seen: set[int] = set()
    found = {}
    for stage in stages:
        if known.record(stage) is not None:
            with suppress(FileNotFoundError):  # a run may be at it: the stage is being made again
                folder = known.snapshot.store.directory(stage.kind.name, stage.fingerprint)
                found[stage.fingerprint] = _folder_bytes(str(folder), seen)
    return found


def _folder_bytes(folder: str, seen: set[int]) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _folder_bytes(entry.path, seen)
                continue
            facts = entry.stat(follow_symlinks=False)
            if facts.st_nlink == 1:
                total += facts.st_size
            elif facts.st_ino not in seen:
                seen.add(facts.st_ino)
                total += facts.st_size
    return total


# --------------------------------------------------------------------------------------------------- what is to come


def _disk(stage: Stage, known: Known) -> StageDisk:
    size, basis = stage.kind.size(stage, known)
    if size is None:
        return StageDisk(stage=stage, size=None, scratch=0.0, basis=basis)
    scratch = stage.kind.scratch(stage, known, size)
    beside = FILES_BESIDE + (CURVES if stage.kind.trains else 0)
    return StageDisk(stage=stage, size=size + beside, scratch=scratch, basis=basis)

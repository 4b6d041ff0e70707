"""The store: `<root>/<kind>/<fingerprint[:12]>/`, one folder a finished stage, each with its record.

A stage is built in a `.partial` sibling under a lease and renamed whole. Reading never takes a lease.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import CorruptArtifact, LeaseLost, StoreError
from harness.events import Warned, read_events
from harness.store.identity import SHORT, file_digest
from harness.store.lease import GRACE_SECONDS, Lease, is_held, owner_of
from harness.store.record import (
    EVENTS,
    LOG,
    RECORD,
    RESUME,
    RUN,
    SCHEMA,
    FactsOfStage,
    Record,
    damaged,
    make_record,
    read_json,
    read_record,
    remove,
    why_unreadable,
    write_json,
    write_text,
)

STORE_FILE = "store.json"
RUN_FACTS: dict[str, Any] = {
    "label": str,
    "seconds": (int, float),
    "finished": (int, float),
    "attempts": int,
    "warnings": int,
}  # of run.json
OWNER = 8  # characters of a holder's name in the name of the folder it builds in


class Building:
    """A stage being built: write into `directory`, then `publish`."""

    def __init__(self, directory: Path, final: Path, lease: Lease) -> None:
        self.directory = directory
        self._final = final
        self._lease = lease

    def publish(
        self,
        *,
        kind: str,
        identity: Mapping[str, Any],
        result: Mapping[str, Any],
        environment: Mapping[str, Any],
        run: Mapping[str, Any],
    ) -> Record:
        """Write the record last, then move the folder to its place.

        Raises:
            LeaseLost: another process took the stage over meanwhile.
        """
        warnings = sum(isinstance(event, Warned) for event in read_events(self.directory / EVENTS))
        write_json(self.directory / RUN, {**run, "warnings": warnings})
        record = make_record(
            kind=kind, identity=identity, result=result, environment=environment, directory=self.directory
        )
        self._lease.require()
        shutil.rmtree(self.directory / RESUME, ignore_errors=True)  # not before: digests of large files take a while
        record.write(self.directory)
        remove(self._final)  # a record whose payload was dropped, or that was found corrupt: replaced
        self.directory.rename(self._final)
        return record


class Store:
    """All finished stages of a workdir.

    Raises:
        StoreError: the folder holds a store of another schema, or cannot be written.
        OSError: its path is none that can be read.
    """

    def __init__(self, root: Path, *, grace: float = GRACE_SECONDS) -> None:
        self.root = root
        self.grace = grace
        self._directories: dict[tuple[str, str], Path] = {}
        marker = root / STORE_FILE
        try:
            schema = read_json(marker)["schema"]
        except (FileNotFoundError, NotADirectoryError):  # not created yet
            return
        except (IsADirectoryError, ValueError, KeyError, TypeError):
            schema = "unreadable"
        if schema != SCHEMA:
            raise StoreError(
                f"this version reads stores of schema {SCHEMA}",
                f"{root} has schema {schema}",
                "use the version that wrote it, or another --workdir",
            )

    def create(self) -> None:
        """Make the folder and its marker, if they are not there yet."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK):
                raise PermissionError(13, "Permission denied")
            if not (self.root / STORE_FILE).exists():
                text = json.dumps({"schema": SCHEMA}, indent=1) + "\n"
                write_text(self.root / STORE_FILE, text)  # two may begin at once
        except OSError as error:
            raise StoreError(f"cannot write {self.root}: {error.strerror}", "", "choose another --workdir") from None

    def directory(self, kind: str, fingerprint: str) -> Path:
        """Where a finished stage is."""
        found = self._directories.get((kind, fingerprint))
        if found is None:  # a report asks for each of 30,000 several times
            found = self._directories[kind, fingerprint] = Path(f"{self.root}/{kind}/{fingerprint[:SHORT]}")
        return found

    def record(self, kind: str, fingerprint: str) -> Record | None:
        """The record of a finished stage, else None.

        Raises:
            StoreError: two fingerprints share their first characters, or the record is unreadable.
        """
        record = read_record(self.directory(kind, fingerprint))
        if record is not None and record.fingerprint != fingerprint:
            raise StoreError(
                "a folder holds one stage",
                f"{kind}/{fingerprint[:SHORT]} belongs to another fingerprint",
                "move that folder away",
            )
        return record

    def records(self, kind: str | None = None, *, besides: Collection[Path] = ()) -> Iterator[Record]:
        """Every record that can be read, by kind and folder name; `survey` names the others.

        Args:
            besides: folders of stages that are known already.
        """
        return (found for found in self.survey(kind, besides=besides) if isinstance(found, Record))

    def survey(self, kind: str | None = None, *, besides: Collection[Path] = ()) -> Iterator[Record | StoreError]:
        """Every record, or what is wrong with it, by kind and folder name."""
        for folder in self._folders(kind):
            if folder in besides:
                continue
            try:
                record = read_record(folder)
            except StoreError as error:
                yield error
            else:
                if record is not None:
                    yield record

    def _folders(self, kind: str | None) -> Iterator[Path]:
        """Folders of finished stages. `kind` is only compared, since it may be no name that a file system takes."""
        for of_kind in sorted(path for path in self.root.glob("*") if path.is_dir() and kind in (None, path.name)):
            for folder in sorted(path for path in of_kind.iterdir() if path.is_dir()):
                if not folder.name.endswith(".partial") and os.path.lexists(folder / RECORD):
                    yield folder

    def find(self, name: str) -> Record:
        """The record whose fingerprint begins with `name`, which may be `kind/` prefixed.

        Raises:
            StoreError: none or several match, or the one in its folder cannot be read.
        """
        matches = self.matching(name)
        if len(matches) == 1 and name.rpartition("/")[2]:
            return matches[0]
        found = "no finished stage matches" if not matches else f"{len(matches)} finished stages match"
        raise StoreError(f"{found} {name[:80]!r}", "", "see `harness ls` for kinds and fingerprints")

    def matching(self, name: str) -> list[Record]:
        """The records whose fingerprint begins with `name`, which may be `kind/` prefixed.

        Raises:
            StoreError: one of them cannot be read.
        """
        kind, _, start = name.rpartition("/")
        folders = [folder for folder in self._folders(kind or None) if folder.name.startswith(start[:SHORT])]
        records = [record for folder in folders if (record := read_record(folder)) is not None]
        return [record for record in records if record.fingerprint.startswith(start)]

    def has_payload(self, record: Record) -> bool:
        """Whether every file of the record is there at its size (bytes are checked by `verify`)."""
        directory = self.directory(record.kind, record.fingerprint)
        for path, (_, size) in record.files.items():
            try:
                if (directory / path).stat().st_size != size:
                    return False
            except OSError:
                return False
        return True

    def damage(self, record: Record, *, most: int | None = None) -> str:
        """Which payload file is not as its record has it, in words; "" where all that were not dropped are.

        Args:
            most: only so many files are looked at, the first by name.
        """
        directory = self.directory(record.kind, record.fingerprint)
        for path, (digest, _) in sorted(record.files.items())[:most]:
            file = directory / path
            if os.path.lexists(file) and (not file.is_file() or file_digest(file) != digest):
                return f"{file} is not as its record has it"
        return ""

    def verify(self, record: Record) -> None:
        """Raise CorruptArtifact unless every payload file has the digest its record names."""
        directory = self.directory(record.kind, record.fingerprint)
        for path, (digest, _) in record.files.items():
            if not (directory / path).is_file() or file_digest(directory / path) != digest:
                raise CorruptArtifact(
                    "an artifact must match its record",
                    f"{record.kind}/{record.fingerprint[:SHORT]}/{path} does not",
                    "it is computed again",
                )

    def partial(self, kind: str, fingerprint: str) -> Path:
        """Where an unfinished stage is being built, or was when its attempt ended.

        While somebody builds it the folder has the holder's name: whoever takes a stage over takes the folder away with
        it, and a holder who lost its lease without noticing finds nothing to write to.
        """
        owned = self._owned(kind, fingerprint, owner_of(self._lease_path(kind, fingerprint)))
        return owned if owned.is_dir() else self._unowned(kind, fingerprint)

    def _unowned(self, kind: str, fingerprint: str) -> Path:
        return self.root / kind / f"{fingerprint[:SHORT]}.partial"

    def _owned(self, kind: str, fingerprint: str, owner: str) -> Path:
        return self.root / kind / f"{fingerprint[:SHORT]}.{owner[:OWNER]}.partial"

    def is_building(self, kind: str, fingerprint: str) -> bool:
        """Whether somebody alive is building this stage."""
        return is_held(self._lease_path(kind, fingerprint), self.grace)

    @contextmanager
    def build(self, kind: str, fingerprint: str, *, resumable: bool) -> Iterator[Building | None]:
        """Build a stage under its lease; None if somebody else is building it.

        Args:
            resumable: keep what an interrupted attempt left, for the stage to go on from; else start empty.
        """
        lease = Lease(self._lease_path(kind, fingerprint), grace=self.grace)
        if not lease.acquire():
            yield None
            return
        with lease:
            mine, left = self._owned(kind, fingerprint, lease.owner), self._unowned(kind, fingerprint)
            earlier = sorted(left.parent.glob(f"{fingerprint[:SHORT]}*.partial"), key=_last_changed)
            _take(earlier, mine, resumable=resumable)
            try:
                yield Building(mine, self.directory(kind, fingerprint), lease)
            except Exception as error:
                if lease.is_ours():
                    raise
                shutil.rmtree(mine, ignore_errors=True)  # what we still wrote, not knowing
                raise LeaseLost(
                    "a stage has one holder", "another process took this one over", "wait for it"
                ) from error
            finally:
                if mine.is_dir() and lease.is_ours():
                    mine.rename(left)

    def discard(self, record: Record) -> None:
        """Forget a stage altogether, so that it is computed again."""
        remove(self.directory(record.kind, record.fingerprint))

    def drop_payload(self, record: Record, *, below: str = "") -> int:
        """Delete payload files (only those under `below`, if given); the record stays. Returns bytes freed."""
        directory = self.directory(record.kind, record.fingerprint)
        freed = 0
        for path, (_, size) in record.files.items():
            if path.startswith(below) and (directory / path).exists():
                remove(directory / path)
                freed += size
        return freed

    def run_facts(self, record: Record) -> dict[str, Any]:
        """`run.json` of a finished stage: command, times, attempts. Not identity, not deterministic.

        Raises:
            StoreError: it is missing or damaged.
        """
        directory = self.directory(record.kind, record.fingerprint)
        try:
            data = read_json(f"{directory}/{RUN}")
        except (OSError, ValueError) as error:
            raise damaged(directory, RUN, why_unreadable(error)) from None
        if not isinstance(data, dict):
            raise damaged(directory, RUN, "it is no mapping")
        for name, kind in RUN_FACTS.items():
            if name in data and not isinstance(data[name], kind):
                raise damaged(directory, RUN, f"{name!r} is {data[name]!r}")
        return FactsOfStage(data, directory, RUN)

    def _lease_path(self, kind: str, fingerprint: str) -> Path:
        return self.root / kind / f"{fingerprint[:SHORT]}.lease"


def _last_changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _take(earlier: Sequence[Path], mine: Path, *, resumable: bool) -> None:
    """Go on in the last of what earlier attempts left, or begin an empty folder.

    Files that are appended to are copied: an earlier holder that still lives has them open.
    """
    *others, found = earlier or [mine]
    for folder in others if resumable else earlier:
        shutil.rmtree(folder, ignore_errors=True)
    if resumable and earlier:
        found.rename(mine)
        for path in (mine / EVENTS, mine / LOG):
            if path.exists():
                copy = path.with_suffix(".copy")
                shutil.copyfile(path, copy)
                copy.replace(path)
    mine.mkdir(parents=True, exist_ok=True)


class Snapshot:
    """A store's records as they are now: each read once, and folders listed once a kind.

    Asking for a hundred thousand stages that are not there yet then costs no look at the disk.

    Args:
        known: records that were read already.
    """

    def __init__(self, store: Store, known: Iterable[Record] = ()) -> None:
        self.store = store
        self._folders: dict[str, frozenset[str]] = {}
        self._records: dict[str, Record | None] = {record.fingerprint: record for record in known}
        self._run_facts: dict[str, dict[str, Any]] = {}

    def later(self) -> Snapshot:
        """The store as it is now, of which nothing is read again that was there already."""
        found = Snapshot(self.store, [record for record in self._records.values() if record is not None])
        found._run_facts = self._run_facts
        return found

    def run_facts(self, record: Record) -> dict[str, Any]:
        """As `Store.run_facts`."""
        if record.fingerprint not in self._run_facts:
            self._run_facts[record.fingerprint] = self.store.run_facts(record)
        return self._run_facts[record.fingerprint]

    def record(self, kind: str, fingerprint: str) -> Record | None:
        """As `Store.record`."""
        if fingerprint not in self._records:
            if kind not in self._folders:
                folder = self.store.root / kind
                self._folders[kind] = frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()
            there = fingerprint[:SHORT] in self._folders[kind]
            self._records[fingerprint] = self.store.record(kind, fingerprint) if there else None
        return self._records[fingerprint]

"""The record of a finished stage: what was asked, what came out, in which environment. Written last."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.store.identity import file_digest, fingerprint

SCHEMA = 1
RECORD = "record.json"
RUN = "run.json"
EVENTS = "events.jsonl"
LOG = "log.txt"
TASK = "task.json"  # what an unfinished stage was asked; of a finished one it stands in its run.json
RESUME = "resume"  # scratch of an unfinished stage; never part of a finished one
NEW = ".new"  # of a file not yet whole
_TEMPORARY = re.compile(rf"\.(?P<pid>[1-9]\d*)(-(?P<machine>[0-9a-f]{{8}}))?{re.escape(NEW)}")
NOT_PAYLOAD = frozenset({RECORD, RUN, EVENTS, LOG, TASK, RECORD + NEW, RUN + NEW, TASK + NEW})


@dataclass(frozen=True, kw_only=True)
class Record:
    """A stage's record.

    Attributes:
        identity: kind, code version, spec and the inputs' fingerprints; `fingerprint` is its hash.
        result: small, deterministic facts (counts, accuracies): no times.
        files: payload path -> [sha256, bytes].
        output_digest: hash over `files`: makes "same identity, other bits" visible.
        environment: what may move the last bits: versions, device, threads, digest of the stage's sources.
    """

    kind: str
    fingerprint: str
    identity: Mapping[str, Any]
    result: Mapping[str, Any]
    files: Mapping[str, list[Any]]
    output_digest: str
    environment: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def write(self, directory: Path) -> None:
        write_json(directory / RECORD, asdict(self))


def payload_files(directory: Path) -> dict[str, list[Any]]:
    """{relative path: [sha256, bytes]} of everything a stage wrote, sorted by path."""
    found = {}
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if path.is_file() and str(relative) not in NOT_PAYLOAD and relative.parts[0] != RESUME:
            found[relative.as_posix()] = [file_digest(path), path.stat().st_size]
    return found


def make_record(
    *,
    kind: str,
    identity: Mapping[str, Any],
    result: Mapping[str, Any],
    environment: Mapping[str, Any],
    directory: Path,
) -> Record:
    """The record of what `directory` holds now."""
    files = payload_files(directory)
    return Record(
        kind=kind,
        fingerprint=fingerprint(identity),
        identity=identity,
        result=result,
        files=files,
        output_digest=fingerprint({path: digest for path, (digest, _) in files.items()}),
        environment=environment,
    )


def read_record(directory: Path) -> Record | None:
    """The record in `directory`, or None where there is none.

    Raises:
        StoreError: it was written under another schema, or is no record.
    """
    try:
        data = json.loads((directory / RECORD).read_bytes())
        schema = data["schema"]
        record = Record(**data) if schema == SCHEMA else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            "a record must be whole",
            f"{directory.parent.name}/{directory.name}/{RECORD} is not",
            "delete that folder and run again",
        ) from None
    if record is None:
        raise StoreError(
            f"this version reads records of schema {SCHEMA}",
            f"{directory.parent.name}/{directory.name} has schema {schema}",
            "use the version that wrote it, or a new workdir",
        )
    return record


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True) + "\n", path.with_name(path.name + NEW))


def write_text(path: Path, text: str, temporary: Path | None = None) -> None:
    """Write a file whole or not at all, by way of `temporary` (default: see `replacing`)."""
    with replacing(path, temporary) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """A temporary file that replaces `path` once the block has written it; a block that fails leaves nothing behind.

    The default lies beside `path` and belongs to this process alone. What ended processes of this machine left of
    theirs is removed first.
    """
    if temporary is None:
        _remove_leftovers(path)
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{_machine()}{NEW}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _machine() -> str:
    """Which machine a process number counts on: a folder may be shared by several."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` whose processes were killed before they could."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*{NEW}"):
        named = _TEMPORARY.fullmatch(left.name.removeprefix(path.name))
        if named and named["machine"] in (None, _machine()) and not _lives(int(named["pid"])):
            left.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True

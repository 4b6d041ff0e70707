"""The record of a finished stage: what was asked, what came out, in which environment. Written last."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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
    """Write a file whole or not at all, by way of `temporary` (default: one of this process alone, beside it)."""
    temporary = temporary or path.with_name(f"{path.name}.{os.getpid()}{NEW}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)

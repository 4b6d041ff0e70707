"""The record of a finished stage: what was asked, what came out, in which environment. Written last."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from harness.errors import StoreError
from harness.store.identity import file_digest, fingerprint

SCHEMA = 1
DIGEST = "digest"  # of everything else in a record; records written before it was introduced have none
CHANGED = "it was changed after it was written"
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
        data = json.loads(json.dumps(asdict(self)))  # as it is read back, which the digest is of
        write_json(directory / RECORD, {**data, DIGEST: _digest(data)})


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
        output_digest=_output_digest(files),
        environment=environment,
    )


def read_record(directory: Path) -> Record | None:
    """The record in `directory`, or None where there is none.

    Raises:
        StoreError: it was written under another schema, is no record, or was changed after it was written.
    """
    try:
        data = read_json(f"{directory}/{RECORD}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise damaged(directory, RECORD, why_unreadable(error)) from None
    if not isinstance(data, dict) or "schema" not in data:
        raise damaged(directory, RECORD, "it is no record")
    if data["schema"] != SCHEMA:
        raise StoreError(
            f"this version reads records of schema {SCHEMA}",
            f"{directory.parent.name}/{directory.name} has schema {data['schema']!r}",
            "use the version that wrote it, or a new workdir",
        )
    digest = data.pop(DIGEST, None)
    try:
        if not isinstance(data["result"], dict):
            raise TypeError
        record = Record(**{**data, "result": FactsOfStage(data["result"], directory)})
        fault = _fault(record) if digest is None else "" if digest == _digest(data) else CHANGED
    except (KeyError, TypeError, ValueError, AttributeError, StoreError):
        raise damaged(directory, RECORD, "it is no record") from None
    if fault:
        raise damaged(directory, RECORD, fault)
    return record


def _fault(record: Record) -> str:
    """What keeps a record without a digest from being what `make_record` makes, "" if nothing does.

    Raises:
        TypeError, ValueError, AttributeError, StoreError: a field is of another type.
    """
    if record.fingerprint != fingerprint(record.identity) or record.kind != record.identity.get("kind"):
        return "its identity is not that of its fingerprint"
    if not isinstance(record.environment, dict):
        return "its environment is no mapping"
    for path, (digest, size) in record.files.items():
        if not isinstance(digest, str) or type(size) is not int or size < 0:
            return f"of file {path!r} it has no digest and size"
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            return f"file {path!r} is not in its folder"
    if record.output_digest != _output_digest(record.files):
        return "its output digest is not that of its files"
    return ""


def _output_digest(files: Mapping[str, list[Any]]) -> str:
    return fingerprint({path: digest for path, (digest, _) in files.items()})


def _digest(data: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a record's content, read from JSON."""
    return hashlib.sha256(_SORTED.encode(data).encode("ascii")).hexdigest()


_SORTED = json.JSONEncoder(sort_keys=True)


def damaged(directory: Path, file: str, why: str) -> StoreError:
    """What to say of a finished stage's file that is not as a stage leaves it."""
    return StoreError(
        f"{directory / file} is damaged: {why}",
        "",
        f"delete {directory} and run its recipe again",
    )


class FactsOfStage(dict[str, Any]):
    """What a stage wrote down. A fact that is asked for and missing means that its file is damaged."""

    def __init__(self, facts: Any = (), directory: Path = Path(), file: str = RECORD) -> None:
        super().__init__(facts)
        self._directory, self._file = directory, file
        for name, value in self.items():
            if isinstance(value, dict):
                self[name] = FactsOfStage(value, directory, file)

    def __missing__(self, name: str) -> Any:
        raise damaged(self._directory, self._file, f"it lacks {name!r}")


def read_json(path: Path | str) -> Any:
    """The JSON of one of the store's own files.

    Raises:
        OSError: it is not there, is no ordinary file, or cannot be read.
        ValueError: it is no JSON.
    """
    # A report reads tens of thousands, in a quarter less time without the layers of `open`. O_NONBLOCK: where a pipe
    # stands in a file's place, no writer is waited for.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is no ordinary file")
        content = b""
        while len(content) < facts.st_size and (more := os.read(file, facts.st_size - len(content))):
            content += more
    finally:
        os.close(file)
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def why_unreadable(error: Exception) -> str:
    """What `read_json` found wrong, in words."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def remove(path: Path) -> None:
    """Delete whatever is at `path`, if anything is; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    ending = f"-{_machine()}{NEW}"
    for left in path.parent.glob(f"{glob.escape(path.name)}.*{ending}"):
        pid = left.name.removeprefix(f"{path.name}.").removesuffix(ending)
        if not Path("/proc", pid).exists():
            left.unlink(missing_ok=True)

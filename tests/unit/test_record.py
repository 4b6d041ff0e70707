"""Records: written whole, read back equal, refused with a remedy where they are of another kind."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StoreError
from harness.store.identity import fingerprint
from harness.store.record import (
    EVENTS,
    LOG,
    RECORD,
    RESUME,
    RUN,
    SCHEMA,
    Record,
    make_record,
    payload_files,
    read_record,
    replacing,
    write_json,
    write_text,
)

IDENTITY = {"kind": "encode", "code_version": 1, "spec": {"limit": None}, "inputs": {}}


def record_of(directory: Path, **changes: Any) -> Record:
    facts: dict[str, Any] = {
        "kind": "encode",
        "identity": IDENTITY,
        "result": {"groups": 3},
        "environment": {"threads": 2},
    }
    return make_record(**(facts | changes), directory=directory)


def test_a_record_comes_back_equal(tmp_path: Path) -> None:
    (tmp_path / "tokens.bin").write_bytes(b"abc")
    record = record_of(tmp_path)
    record.write(tmp_path)
    again = read_record(tmp_path)
    assert again == record
    assert again.fingerprint == fingerprint(IDENTITY)
    assert again.schema == SCHEMA


def test_payload_is_everything_but_the_bookkeeping(tmp_path: Path) -> None:
    for name in (RECORD, RUN, EVENTS, LOG, f"{RECORD}.new", f"{RUN}.new"):
        (tmp_path / name).write_text("bookkeeping")
    (tmp_path / RESUME / "step-3").mkdir(parents=True)
    (tmp_path / RESUME / "step-3" / "state.json").write_text("scratch")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"abc")
    (tmp_path / "model" / RECORD).write_bytes(b"")  # only the stage's own record is bookkeeping
    (tmp_path / "a").write_bytes(b"12345")
    files = payload_files(tmp_path)
    assert list(files) == ["a", "model/record.json", "model/weights"]
    assert files["model/weights"] == [hashlib.sha256(b"abc").hexdigest(), 3]
    assert files["a"][1] == 5


def test_the_output_digest_sees_bytes_and_names_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    first = record_of(tmp_path)
    assert record_of(tmp_path, result={"groups": 4}, environment={}).output_digest == first.output_digest
    (tmp_path / "a").write_bytes(b"2")
    second = record_of(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    third = record_of(tmp_path)
    assert len({first.output_digest, second.output_digest, third.output_digest}) == 3
    assert first.fingerprint == second.fingerprint == third.fingerprint


def test_where_there_is_no_record(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    assert read_record(tmp_path / "missing") is None
    (tmp_path / "file").touch()
    assert read_record(tmp_path / "file") is None


def test_another_schema_is_refused_with_a_remedy(tmp_path: Path) -> None:
    record_of(tmp_path).write(tmp_path)
    data = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps({**data, "schema": SCHEMA + 1, "new_field": 1}))
    with pytest.raises(StoreError, match=f"schema {SCHEMA + 1}; use the version that wrote it"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"3", b"{}", b"\xff\xfe", b'{"schema": 1}', b'{"schema": 1, "kind": "x", "more": 2}'],
)
def test_what_is_no_record_is_refused_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "encode" / "abc"
    folder.mkdir(parents=True)
    (folder / RECORD).write_bytes(content)
    with pytest.raises(StoreError, match=r"encode/abc/record\.json is damaged: .*; delete .*/encode/abc and run"):
        read_record(folder)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"b": 1, "a": [2]})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_json(path, {"a": 1, "b": object()})
    assert path.read_bytes() == before
    os.link(path, tmp_path / "as a reader sees it who opened it before")
    write_json(path, {"c": 3})
    assert (tmp_path / "as a reader sees it who opened it before").read_bytes() == before
    (tmp_path / "as a reader sees it who opened it before").unlink()
    assert json.loads(path.read_bytes()) == {"c": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_the_same_record_is_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    record_of(tmp_path).write(tmp_path)
    first = (tmp_path / RECORD).read_bytes()
    record_of(tmp_path, identity=dict(reversed(IDENTITY.items()))).write(tmp_path)
    assert (tmp_path / RECORD).read_bytes() == first


# ------------------------------------------------------------------------------------------------- written whole


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report [1].html"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "x" * 100_000 + "\ud800")
    with suppress(KeyboardInterrupt), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"


def test_what_killed_processes_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "report [1].html"
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from harness.store.record import replacing\n"
        "with replacing(Path(sys.argv[1])) as unfinished:\n"
        "    unfinished.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (left,) = tmp_path.iterdir()
    ended = left.name.removeprefix(path.name).split("-")[0].strip(".")
    living = left.name.replace(f".{ended}-", f".{os.getppid()}-")
    kept = [living, f"{path.name}.{ended}-00000000.new", "other.html.1.new", "x.new"]
    for name in kept:
        (tmp_path / name).write_text("of a living process, another machine, another file")
    write_text(path, "whole")
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([path.name, *kept])
    assert path.read_text() == "whole"


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None], *, digest: bool = True) -> Path:
    """A record changed by hand, its digest kept, or left out as in records of earlier versions."""
    record_of(folder).write(folder)
    data = json.loads((folder / RECORD).read_text())
    change(data)
    if not digest:
        del data["digest"]
    (folder / RECORD).write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("field", ["result", "environment", "output_digest", "files"])
def test_a_record_that_was_changed_is_noticed(tmp_path: Path, field: str) -> None:
    changed = {"result": {"groups": 4}, "environment": {}, "output_digest": "0" * 64, "files": {"a": ["0" * 64, 1]}}
    with pytest.raises(StoreError, match=rf"{tmp_path.name}/record\.json is damaged: it was changed after"):
        read_record(rewritten(tmp_path, lambda data: data.update({field: changed[field]})))


def test_a_record_of_before_there_were_digests_is_valid(tmp_path: Path) -> None:
    assert read_record(rewritten(tmp_path, lambda data: None, digest=False)) == record_of(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"files": []}, {"files": {"a": 3}}, {"files": {"../a": ["0" * 64, 1]}}, {"identity": []}, {"result": [1]}),
        *({"environment": None}, {"fingerprint": 3}, {"kind": "score"}, {"output_digest": ""}),
    ],
)
def test_without_a_digest_fields_are_looked_at(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=rf"delete .*{tmp_path.name} and run its recipe again"):
        read_record(rewritten(tmp_path, lambda data: data.update(wrong), digest=False))


@pytest.mark.parametrize("place", ["a folder", "a link to itself", "a pipe", "nested"])
def test_what_stands_in_a_records_place_is_told(tmp_path: Path, place: str) -> None:
    path = tmp_path / RECORD
    {
        "a folder": path.mkdir,
        "a link to itself": lambda: path.symlink_to(path),
        "a pipe": lambda: os.mkfifo(path),
        "nested": lambda: path.write_text('{"schema": 1, "result": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    }[place]()
    with pytest.raises(StoreError, match=rf"delete .*{tmp_path.name} and run its recipe again"):
        read_record(tmp_path)


def test_a_fact_that_is_missing_is_told_where_it_is_read(tmp_path: Path) -> None:
    record_of(tmp_path, result={"sides": {"chosen": 1}}).write(tmp_path)
    record = read_record(tmp_path)
    assert record is not None
    assert record.result["sides"]["chosen"] == 1
    for ask in (lambda: record.result["gap"], lambda: record.result["sides"]["rejected"]):
        with pytest.raises(StoreError, match=rf"{tmp_path.name}/record\.json is damaged: it lacks"):
            ask()

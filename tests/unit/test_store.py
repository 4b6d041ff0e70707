"""The store: no record is no result, what is damaged is seen, and every refusal says what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CorruptArtifact, LeaseLost, StoreError
from harness.events import EventLog, Metrics, Started, read_events
from harness.store.identity import SHORT, fingerprint
from harness.store.in_use import in_use, used_by_others
from harness.store.lease import Lease
from harness.store.record import EVENTS, RECORD, RESUME, RUN, SCHEMA, Record
from harness.store.store import Building, Snapshot, Store


def identity_of(name: str, kind: str = "encode") -> dict[str, Any]:
    return {"kind": kind, "code_version": 1, "spec": {"name": name}, "inputs": {}}


def publish(building: Building, identity: dict[str, Any], **changes: Any) -> Record:
    facts: dict[str, Any] = {"result": {}, "environment": {}, "run": {"seconds": 1.5}}
    return building.publish(kind=identity["kind"], identity=identity, **(facts | changes))


def put(store: Store, name: str, *, kind: str = "encode", content: bytes = b"payload") -> Record:
    identity = identity_of(name, kind)
    with store.build(kind, fingerprint(identity), resumable=False) as building:
        assert building is not None
        (building.directory / "model").mkdir()
        (building.directory / "model" / "weights").write_bytes(content)
        (building.directory / "facts.json").write_bytes(b"{}")
        return publish(building, identity)


def test_what_is_published_is_found(store: Store) -> None:
    record = put(store, "a")
    assert store.record("encode", record.fingerprint) == record
    assert store.directory("encode", record.fingerprint) == store.root / "encode" / record.fingerprint[:SHORT]
    assert list(store.records()) == [record]
    assert store.has_payload(record)
    store.verify(record)
    assert store.run_facts(record) == {"seconds": 1.5, "warnings": 0}
    assert not store.partial("encode", record.fingerprint).exists()
    assert not store.is_building("encode", record.fingerprint)
    assert Store(store.root).record("encode", record.fingerprint) == record


class Crash(BaseException):
    """Ends a build as a killed process would: nothing of ours may catch it."""


def test_a_crash_before_the_record_leaves_nothing_done(store: Store) -> None:
    identity = identity_of("a")
    key = fingerprint(identity)

    def build(steps: int) -> None:
        with store.build("encode", key, resumable=True) as building:
            assert building is not None
            if steps > 0:
                (building.directory / "payload").write_bytes(b"whole")
            if steps > 1:
                (building.directory / RUN).write_text("{}")
            raise Crash

    for steps in (0, 1, 2):
        with pytest.raises(Crash):
            build(steps)
        assert store.record("encode", key) is None
        assert list(store.records()) == []
        with pytest.raises(StoreError):
            store.find(key)


def test_even_a_whole_partial_folder_is_no_result(store: Store) -> None:
    record = put(store, "a")
    folder = store.directory("encode", record.fingerprint)
    folder.rename(store.partial("encode", record.fingerprint))  # as if killed just before the last rename
    assert list(store.records()) == []
    assert store.record("encode", record.fingerprint) is None


def test_an_interrupted_attempt_is_kept_only_for_who_can_go_on(store: Store) -> None:
    identity = identity_of("a")
    key = fingerprint(identity)
    with store.build("encode", key, resumable=True) as building:
        assert building is not None
        (building.directory / RESUME).mkdir()
        (building.directory / RESUME / "step-5").write_text("state")
        (building.directory / "half").write_text("half a payload")
    with store.build("encode", key, resumable=True) as building:
        assert building is not None
        assert (building.directory / RESUME / "step-5").read_text() == "state"
    with store.build("encode", key, resumable=False) as building:
        assert building is not None
        assert list(building.directory.iterdir()) == []
        (building.directory / RESUME).mkdir()
        (building.directory / RESUME / "step-9").write_text("state")
        (building.directory / "payload").write_text("whole")
        record = publish(building, identity)
    assert list(record.files) == ["payload"]
    assert not (store.directory("encode", key) / RESUME).exists()


def test_a_stage_has_one_builder(store: Store) -> None:
    key = fingerprint(identity_of("a"))
    with store.build("encode", key, resumable=False) as building:
        assert building is not None
        (building.directory / "mine").touch()
        assert store.is_building("encode", key)
        with Store(store.root).build("encode", key, resumable=False) as other:
            assert other is None
        assert (building.directory / "mine").exists()
    assert not store.is_building("encode", key)


def test_who_lost_the_lease_publishes_nothing(store: Store) -> None:
    identity = identity_of("a")
    key = fingerprint(identity)
    with store.build("encode", key, resumable=False) as building:
        assert building is not None
        (building.directory / "payload").write_bytes(b"late")
        [lease] = store.root.glob("encode/*.lease")
        os.utime(lease, (0, 0))
        usurper = Lease(lease, grace=0.0)
        assert usurper.acquire()
        with pytest.raises(LeaseLost):
            publish(building, identity)
        assert store.record("encode", key) is None
    usurper.release()


def usurped(store: Store, key: str) -> None:
    """As if the holder had stood still for longer than the grace period."""
    [lease] = store.root.glob("encode/*.lease")
    os.utime(lease, (0, 0))


def test_who_lost_the_lease_disturbs_nothing(store: Store) -> None:
    """It goes on where it was, knowing nothing: the new holder has the folder, and what was saved in it."""
    identity = identity_of("a")
    key = fingerprint(identity)
    patient = Store(store.root, grace=0.5)

    def take_over(old: Building, log: EventLog) -> None:
        with patient.build("encode", key, resumable=True) as new:
            assert new is not None
            assert store.partial("encode", key) == new.directory
            assert (new.directory / RESUME / "step-5").read_text() == "state"
            log.emit(Metrics(step=6, values={"loss": 1.0}))  # into a file the old one still has open
            log.close()
            (old.directory / RESUME).mkdir(parents=True)  # it makes its folder again
            (old.directory / RESUME / "step-7").write_text("other")
            assert [path.name for path in (new.directory / RESUME).iterdir()] == ["step-5"]
            assert [event.kind for event in read_events(new.directory / EVENTS)] == ["started"]
            (new.directory / "payload").write_bytes(b"whole")
            publish(new, identity)

    def stand_still() -> None:
        with patient.build("encode", key, resumable=True) as old:
            assert old is not None
            assert store.partial("encode", key) == old.directory
            log = EventLog(old.directory / EVENTS)
            log.emit(Started())
            (old.directory / RESUME).mkdir()
            (old.directory / RESUME / "step-5").write_text("state")
            usurped(store, key)
            take_over(old, log)
            (old.directory / "payload").write_bytes(b"late")
            publish(old, identity)

    with pytest.raises(LeaseLost):
        stand_still()
    assert (store.directory("encode", key) / "payload").read_bytes() == b"whole"
    assert not list(store.root.glob("*/*.partial"))


def test_what_a_killed_holder_left_is_gone_on_from(store: Store) -> None:
    key = fingerprint(identity_of("a"))
    with store.build("encode", key, resumable=True) as building:
        assert building is not None
        (building.directory / RESUME).mkdir()
        (building.directory / RESUME / "step-5").write_text("state")
        killed = building.directory.with_name(f"{key[:12]}.{'0' * 8}.partial")
        building.directory.rename(killed)  # with a name no lease tells any more
    with store.build("encode", key, resumable=True) as building:
        assert building is not None
        assert (building.directory / RESUME / "step-5").read_text() == "state"
    assert [path.name for path in store.root.glob("*/*.partial")] == [f"{key[:12]}.partial"]


def test_publishing_again_replaces(store: Store) -> None:
    first = put(store, "a")
    store.drop_payload(first)
    second = put(store, "a", content=b"other")
    assert second.fingerprint == first.fingerprint
    assert second.output_digest != first.output_digest
    assert store.record("encode", first.fingerprint) == second
    store.verify(second)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "longer", "missing", "a folder", "empty"])
def test_damaged_payload_is_seen(store: Store, damage: str) -> None:
    record = put(store, "a")
    path = store.directory("encode", record.fingerprint) / "model" / "weights"
    if damage == "flipped":
        path.write_bytes(b"pAyload")
    elif damage == "truncated":
        path.write_bytes(b"pay")
    elif damage == "longer":
        path.write_bytes(b"payload+")
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        if damage == "a folder":
            path.mkdir()
    with pytest.raises(CorruptArtifact, match=f"encode/{record.fingerprint[:SHORT]}/model/weights does not"):
        store.verify(record)
    assert store.has_payload(record) == (damage == "flipped")  # size alone does not see flipped bits; `verify` does
    assert store.record("encode", record.fingerprint) == record


def test_only_so_many_files_are_looked_at(store: Store) -> None:
    record = put(store, "a")
    assert len(record.files) == 2
    directory = store.directory("encode", record.fingerprint)
    first, last = (directory / name for name in sorted(record.files))
    last.write_bytes(b"pAyload")
    assert store.damage(record, most=1) == ""
    assert str(last) in store.damage(record)
    first.write_bytes(b"other")
    assert str(first) in store.damage(record, most=1)


def test_dropping_payload_keeps_the_record(store: Store) -> None:
    record = put(store, "a")
    assert store.drop_payload(record, below="model") == 7
    assert not store.has_payload(record)
    assert (store.directory("encode", record.fingerprint) / "facts.json").exists()
    assert store.drop_payload(record) == 2
    assert store.drop_payload(record) == 0
    assert store.record("encode", record.fingerprint) == record
    assert store.run_facts(record) == {"seconds": 1.5, "warnings": 0}


def test_discarding_forgets(store: Store) -> None:
    record = put(store, "a")
    other = put(store, "b")
    store.discard(record)
    assert store.record("encode", record.fingerprint) is None
    assert list(store.records()) == [other]


def test_records_by_kind(store: Store) -> None:
    made = {(kind, name): put(store, name, kind=kind) for kind in ("score", "encode") for name in "abc"}
    everything = list(store.records())
    assert sorted(record.fingerprint for record in everything) == sorted(one.fingerprint for one in made.values())
    assert [record.kind for record in everything] == ["encode"] * 3 + ["score"] * 3
    assert [record.fingerprint for record in everything[:3]] == sorted(record.fingerprint for record in everything[:3])
    assert list(store.records("score")) == everything[3:]
    assert list(store.records("nothing")) == []
    assert list(Store(store.root / "nowhere").records()) == []


def test_find_by_prefix(store: Store) -> None:
    records = [put(store, f"stage {number}") for number in range(40)]
    unique = records[7].fingerprint
    assert store.find(unique) == records[7]
    assert store.find(unique[:SHORT]) == records[7]
    assert store.find(f"encode/{unique[:SHORT]}") == records[7]
    with pytest.raises(StoreError, match="no finished stage matches"):
        store.find(f"score/{unique[:SHORT]}")
    with pytest.raises(StoreError, match="no finished stage matches"):
        store.find("xyz")
    starts = [record.fingerprint[0] for record in records]
    twice = next(start for start in starts if starts.count(start) > 1)
    with pytest.raises(StoreError, match=f"{starts.count(twice)} finished stages match"):
        store.find(twice)
    for name in ("", "encode/"):
        with pytest.raises(StoreError, match="40 finished stages match"):
            store.find(name)


def test_a_folder_of_another_fingerprint_is_refused(store: Store) -> None:
    record = put(store, "a")
    lookalike = record.fingerprint[:SHORT] + "0" * (64 - SHORT)
    assert lookalike != record.fingerprint
    with pytest.raises(StoreError, match="belongs to another fingerprint"):
        store.record("encode", lookalike)


@pytest.mark.parametrize(
    "content", [json.dumps({"schema": SCHEMA + 1}), "{}", "[]", "", "null", '{"schema": "1"}', "\x00"]
)
def test_a_store_of_another_schema_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError, match=r"use the version that wrote it, or another --workdir"):
        Store(tmp_path)


def test_creating_twice_is_creating_once(tmp_path: Path) -> None:
    Store(tmp_path / "a" / "store").create()
    marker = tmp_path / "a" / "store" / "store.json"
    before = marker.stat().st_mtime_ns
    Store(tmp_path / "a" / "store").create()
    assert marker.stat().st_mtime_ns == before
    assert json.loads(marker.read_text()) == {"schema": SCHEMA}


def test_looking_at_a_store_writes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.record("encode", "0" * 64) is None
    assert list(store.records()) == []
    assert not store.is_building("encode", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_workdir_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "store", Path("/proc/store")):
        with pytest.raises(StoreError, match=r"cannot write .*; choose another --workdir"):
            Store(root).create()


def test_a_snapshot_says_what_the_store_says(store: Store) -> None:
    records = [put(store, name) for name in "abc"]
    dropped = put(store, "dropped")
    store.drop_payload(dropped)
    (store.root / "encode" / "stray").mkdir()
    snapshot = Snapshot(store)
    for record in [*records, dropped]:
        assert snapshot.record("encode", record.fingerprint) == record
    assert snapshot.record("encode", "0" * 64) is None
    assert snapshot.record("score", records[0].fingerprint[::-1]) is None
    later = put(store, "later")
    assert snapshot.record("encode", later.fingerprint) is None  # as things were
    assert Snapshot(store).record("encode", later.fingerprint) == later
    lookalike = records[0].fingerprint[:SHORT] + "0" * (64 - SHORT)
    with pytest.raises(StoreError, match="belongs to another fingerprint"):
        Snapshot(store).record("encode", lookalike)


def test_a_damaged_record_is_told_not_taken_for_missing(store: Store) -> None:
    record = put(store, "a")
    (store.directory("encode", record.fingerprint) / RECORD).write_text("{")
    for ask in (store.record, Snapshot(store).record):
        with pytest.raises(StoreError, match=r"delete .* and run its recipe again"):
            ask("encode", record.fingerprint)
    shutil.rmtree(store.directory("encode", record.fingerprint))
    assert store.record("encode", record.fingerprint) is None


def test_one_damaged_record_hides_no_other(store: Store) -> None:
    whole, damaged = put(store, "a"), put(store, "b")
    folder = store.directory("encode", damaged.fingerprint)
    (folder / RECORD).unlink()
    (folder / RECORD).mkdir()
    assert list(store.records()) == [whole]
    [error] = [found for found in store.survey() if isinstance(found, StoreError)]
    assert str(folder) in error.one_line()
    assert store.find(whole.fingerprint) == whole
    with pytest.raises(StoreError, match=str(folder)):
        store.find(f"encode/{damaged.fingerprint[:SHORT]}")


@pytest.mark.parametrize("content", [None, "", '{"label": "a', "[]", '{"seconds": "long"}', "[" * 100_000])
def test_damaged_facts_of_a_run_are_told(store: Store, content: str | None) -> None:
    record = put(store, "a")
    path = store.directory("encode", record.fingerprint) / RUN
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(StoreError, match=rf"{path} is damaged: .*; delete {path.parent} and run its recipe again"):
        store.run_facts(record)


def test_a_fact_that_a_run_lacks_is_told(store: Store) -> None:
    with pytest.raises(StoreError, match=r"run\.json is damaged: it lacks 'label'"):
        store.run_facts(put(store, "a"))["label"]


def test_what_stands_in_a_stages_place_is_replaced(store: Store) -> None:
    record = put(store, "a")
    folder = store.directory("encode", record.fingerprint)
    shutil.rmtree(folder)
    folder.write_text("a file")
    put(store, "a")
    store.verify(record)
    shutil.rmtree(folder)
    folder.symlink_to(folder)
    with store.build("encode", record.fingerprint, resumable=False) as building:
        assert building is not None
        publish(building, record.identity)
    assert folder.is_dir()


def test_what_a_command_at_work_reads_is_known_to_others(store: Store) -> None:
    with in_use(store.root, ["a", "b"]), in_use(store.root, ["c"]):
        with used_by_others(store.root) as used:
            assert used == {"a", "b", "c"}
        assert list(store.records()) == []
    with used_by_others(store.root) as used:
        assert not used
    assert not list((store.root / "in_use").iterdir())


def test_a_killed_command_reads_nothing_any_more(store: Store) -> None:
    code = f"""
import os
from pathlib import Path
from harness.store.in_use import in_use
with in_use(Path({str(store.root)!r}), ["a"]):
    os._exit(1)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert list((store.root / "in_use").iterdir())
    with used_by_others(store.root) as used:
        assert not used
    assert not list((store.root / "in_use").iterdir())

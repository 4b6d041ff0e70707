"""Events: what is written is what is read, and a crash costs at most the line it cut."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.events import (
    EVENT_KINDS,
    Event,
    EventFollower,
    EventLog,
    Failed,
    Finished,
    Metrics,
    Progress,
    Started,
    Warned,
    read_events,
)

EVERYTHING: list[Event] = [
    Started(time=1.0, attempt=2),
    Progress(time=2.0, done=3, total=9, unit="pairs"),
    Metrics(time=3.0, step=7, values={"loss": 0.5, "tokens_per_second": 9e3}),
    Warned(time=4.0, message="zwölf of 13\nwere left out"),
    Failed(time=5.0, reason="no space"),
    Finished(time=6.0),
]


def log_of(path: Path, events: list[Event]) -> None:
    log = EventLog(path)
    for event in events:
        log.emit(event)
    log.close()


def test_every_kind_comes_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log_of(path, EVERYTHING)
    assert list(read_events(path)) == EVERYTHING
    assert {type(event) for event in EVERYTHING} == set(EVENT_KINDS.values())
    assert len(path.read_text().splitlines()) == len(EVERYTHING)


def test_not_a_number_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log_of(path, [Metrics(step=1, values={"loss": math.nan, "norm": math.inf})])
    [event] = read_events(path)
    assert isinstance(event, Metrics)
    assert math.isnan(event.values["loss"])
    assert event.values["norm"] == math.inf


def test_readers_see_events_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit(EVERYTHING[0])
    assert list(read_events(path)) == EVERYTHING[:1]
    log.emit(EVERYTHING[1])
    assert list(read_events(path)) == EVERYTHING[:2]
    log.close()


def test_a_missing_file_has_no_events(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / "nothing.jsonl")) == []


@pytest.mark.parametrize("kept", range(1, 40))
def test_a_line_cut_by_a_crash_is_left_out_and_not_written_on(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "events.jsonl"
    log_of(path, EVERYTHING[:2])
    line = json.dumps(EVERYTHING[2].as_json())[:kept]
    with path.open("a") as file:
        file.write(line)
    assert list(read_events(path)) == EVERYTHING[:2]
    log_of(path, EVERYTHING[3:])
    assert list(read_events(path)) == EVERYTHING[:2] + EVERYTHING[3:]


def test_a_file_that_is_one_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "sta')
    log_of(path, EVERYTHING[:1])
    assert list(read_events(path)) == EVERYTHING[:1]


def test_steps_to_be_repeated_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit(EVERYTHING[0])
    for step in range(1, 7):
        log.emit(Metrics(time=1.0, step=step, values={"loss": step / 8}))
    log.emit(EVERYTHING[3])
    log.forget_steps_after(4)
    log.emit(Metrics(time=2.0, step=5, values={"loss": 0.0}))
    log.close()
    events = list(read_events(path))
    assert [event.step for event in events if isinstance(event, Metrics)] == [1, 2, 3, 4, 5]
    assert events[0] == EVERYTHING[0]
    assert EVERYTHING[3] in events
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def step(number: int) -> Metrics:
    return Metrics(time=1.0, step=number, values={"loss": 1.0 / number})


def test_a_follower_gives_each_event_once(tmp_path: Path) -> None:
    path, follower = tmp_path / "events.jsonl", EventFollower()
    assert follower.new(path) == []
    log = EventLog(path)
    for number in (1, 2):
        log.emit(step(number))
        assert follower.new(path) == [step(number)]
        assert follower.new(path) == []
    log.close()
    with path.open("a") as file:
        file.write('{"event": "prog')
    assert follower.new(path) == []
    log_of(path, [step(3), step(4)])  # the next attempt cuts the line off and writes on
    assert follower.new(path) == [step(3), step(4)]
    follower.close()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_follower_begins_anew_in_a_replaced_file(tmp_path: Path, times: int) -> None:
    """Between two looks a resumed training replaced the file, and wrote past the place where the reader was.

    Replaced more often, the file may have the inode number again that the reader saw first.
    """
    path, follower = tmp_path / "events.jsonl", EventFollower()
    log = EventLog(path)
    log.emit(step(1))
    log.emit(Progress(time=1.0, done=1, total=9, unit="steps"))
    assert len(follower.new(path)) == 2
    for _ in range(times):
        log.forget_steps_after(0)
    for number in range(1, 6):
        log.emit(step(number))
    log.close()
    assert follower.new(path) == [Progress(time=1.0, done=1, total=9, unit="steps"), *map(step, range(1, 6))]
    follower.close()


@pytest.mark.parametrize(
    "line",
    [
        *("{", "[]", "3", "{}", '{"event": "frob"}', '{"event": "metrics", "step": 1}', "\xff", "[" * 100_000),
        '{"event": "metrics", "step": 1, "values": {"loss": "x"}}',
        '{"event": "started", "time": "now"}',
    ],
)
def test_a_line_that_is_no_event_is_told_with_the_remedy(tmp_path: Path, line: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line.encode("latin1") + b"\n")
    for read in (lambda: list(read_events(path)), lambda: EventFollower().new(path)):
        with pytest.raises(StoreError, match=r"events\.jsonl: .* is not; delete .* and run again"):
            read()


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    for read in (lambda: list(read_events(tmp_path)), lambda: EventFollower().new(tmp_path)):
        with pytest.raises(StoreError, match="Is a directory"):
            read()

"""The live view only shows: a file it follows may be replaced or damaged, and whatever fails in it ends no run."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import live
from harness.cli.live import LiveView
from harness.events import EventLog, Metrics, Progress, Started
from harness.execution.executor import Outcome, StageTask
from harness.plan.cost import Estimate
from harness.store.record import EVENTS
from harness.store.store import Store

KEY = "ab" * 32


@pytest.fixture
def task(store: Store) -> StageTask:
    return StageTask(
        kind="base", module="", fingerprint=KEY, identity={}, inputs={}, store=str(store.root), label="base of tests"
    )


@pytest.fixture
def view(store: Store, monkeypatch: pytest.MonkeyPatch) -> LiveView:
    monkeypatch.setattr(live, "PLAIN_LINE_SECONDS", 0.0)
    return LiveView(store, Estimate(costs=(), seconds=0.0, speed_basis="assumed"))


@pytest.fixture
def events(store: Store) -> Path:
    folder = store.partial("base", KEY)
    folder.mkdir(parents=True)
    return folder / EVENTS


def progress(done: int) -> Progress:
    return Progress(done=done, total=9, unit="steps")


def test_a_resumed_training_is_shown_on(
    view: LiveView, task: StageTask, events: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = EventLog(events)
    log.emit(Started())
    log.emit(progress(7))
    with view:
        view.started(task)
        view.tick()
        assert "base of tests: 7/9 steps" in capsys.readouterr().err
        log.forget_steps_after(3)
        log.emit(Started(attempt=2))
        for number in range(4, 9):
            log.emit(Metrics(step=number, values={"loss": 0.25}))
        log.emit(progress(8))
        view.tick()
        assert capsys.readouterr().err == "  base of tests: 8/9 steps  loss 0.250\n"
    log.close()


def test_work_of_unknown_length_is_shown_without_a_share(
    view: LiveView, task: StageTask, events: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = EventLog(events)
    log.emit(Started())
    log.emit(Progress(done=20_000, total=0, unit="documents"))
    with view:
        view.started(task)
        view.tick()
        assert "base of tests: 20,000 documents\n" in capsys.readouterr().err
        (running,) = view._running.values()
        assert running.share == 0.0
    log.close()


def test_damaged_events_are_said_once_and_the_run_goes_on(
    view: LiveView, task: StageTask, events: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events.write_text("no event\n")
    with view:
        view.started(task)
        for _ in range(3):
            view.tick()
        view.finished(Outcome(task=task, status="done"))
    told = capsys.readouterr().err
    assert told.count("progress is not shown") == 1
    assert str(events.parent) in told
    assert "[1/0] base of tests" in told


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("a fault of ours")])
def test_a_view_that_fails_ends_no_run(
    view: LiveView, task: StageTask, events: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def fail(text: str, **style: object) -> None:
        said.append(text)
        raise error

    monkeypatch.setattr(view._console, "print", fail)
    with view:
        view.started(task)
        view.tick()
        view.finished(Outcome(task=task, status="done"))
    assert said[0].startswith("running")
    assert said[1:] == [f"the run continues but is no longer shown: {type(error).__name__}: {error}"]


def test_waiting_for_another_command_is_said_once(
    view: LiveView, task: StageTask, capsys: pytest.CaptureFixture[str]
) -> None:
    with view:
        for _ in range(2):
            view.started(task)
            view.finished(Outcome(task=task, status="busy"))
    assert capsys.readouterr().err.count("waiting for base of tests, which another command is computing") == 1


def test_a_narrow_terminal_shows_fewer_metrics_on_the_same_line(view: LiveView, task: StageTask, events: Path) -> None:
    log = EventLog(events)
    log.emit(progress(7))
    values = {"loss": 0.25, "loss_rm": 0.5, "loss_lm": 0.75, "accuracy": 0.5, "tokens_per_second": 1e4}
    log.emit(Metrics(step=7, values=values))
    log.close()
    with view:
        view.started(task)
        view.tick()
        for width, shown in ((200, "tokens/s"), (80, "loss_rm 0.500"), (40, "base of tests")):
            view._console = Console(file=(file := io.StringIO()), width=width)
            view._console.print(view._picture())
            lines = file.getvalue().splitlines()
            assert len(lines) == 2
            assert shown in lines[1]
            assert ("accuracy" in lines[1]) == (width == 200)


def test_what_was_done_before_counts_and_an_assumed_speed_gives_no_estimate(
    store: Store, task: StageTask, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate = Estimate(costs=(), seconds=7.0, speed_basis="assumed")
    with LiveView(store, estimate, before=39) as view:
        view.started(task)
        view.finished(Outcome(task=task, status="done"))
        assert "left" not in str(view._picture().renderables[0])
    assert capsys.readouterr().err.splitlines() == ["running 0 stages", "[40/39] base of tests (0.0 s)"]

"""Texts that models write survive an interruption: finished lists are not asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.engines.base import Completion, Request, Sampling
from harness.engines.kept import AT_ONCE, Kept
from harness.engines.transformers_engine import TransformersGenerator
from harness.engines.vllm_engine import VllmGenerator
from harness.events import EventLog, Progress, read_events
from harness.stages import candidates_part, problems
from harness.stages.context import Given, StageContext
from harness.store.artifacts import Candidates
from tests.toys.small_models import save_small_model


class Counting:
    """An engine that notes what it is asked, and is interrupted before the list that begins with request `fails`."""

    at_once = 3

    def __init__(self, fails: int = -1) -> None:
        self.fails = fails
        self.asked: list[list[str]] = []

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        if requests[0].seed == self.fails:
            raise KeyboardInterrupt
        self.asked.append([request.id for request in requests])
        return [
            Completion(
                id=request.id,
                text=f"{request.prompt} \u00e4\n\x00 of {request.seed}",
                finish_reason="length" if request.seed % 2 else "stop",
                logprob=-0.1 * request.seed if request.logprob else None,
                metadata={"tokens": request.seed, "seen": True},
            )
            for request in requests
        ]


def requests(count: int, **more: Any) -> list[Request]:
    return [Request(id=f"text/{number}", prompt=f"say {number}", seed=number, **more) for number in range(count)]


def write(engine: Counting, folder: Path, wanted: Sequence[Request]) -> tuple[list[Completion], list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    kept = Kept(generator=engine, folder=folder, progress=lambda done, total: told.append((done, total)))
    return kept.generate(wanted), told


@pytest.mark.parametrize("fails", [0, 3, 6, 9])
def test_an_attempt_goes_on_where_another_was_interrupted(tmp_path: Path, fails: int) -> None:
    wanted = requests(10, logprob=True)
    whole, _ = write(Counting(), tmp_path / "whole", wanted)
    assert whole == Counting().generate(wanted)
    first, second = Counting(fails), Counting()
    with pytest.raises(KeyboardInterrupt):
        write(first, tmp_path / "kept", wanted)
    texts, told = write(second, tmp_path / "kept", wanted)
    assert texts == whole
    assert [name for asked in first.asked + second.asked for name in asked] == [request.id for request in wanted]
    assert told == [(3, 10), (6, 10), (9, 10), (10, 10)]


def test_what_was_asked_otherwise_is_asked_again(tmp_path: Path) -> None:
    before = requests(3)
    write(Counting(), tmp_path / "kept", before)
    for other in (requests(3, logprob=True), requests(3, sampling=Sampling(temperature=0.5)), before[::-1]):
        engine = Counting()
        assert write(engine, tmp_path / "kept", other)[0] == Counting().generate(other)
        assert engine.asked == [[request.id for request in other]]
    engine = Counting()
    write(engine, tmp_path / "kept", before)
    assert engine.asked == []


def test_a_list_that_a_machine_did_not_finish_writing_is_asked_for_again(tmp_path: Path) -> None:
    wanted = requests(6)
    whole, _ = write(Counting(), tmp_path / "kept", wanted)
    hurt = sorted((tmp_path / "kept").iterdir())
    hurt[0].write_bytes(b"")
    hurt[1].write_bytes(hurt[1].read_bytes()[:-9])
    engine = Counting()
    assert write(engine, tmp_path / "kept", wanted)[0] == whole
    assert len(engine.asked) == 2


def test_lists_are_of_the_length_that_an_engine_wants(tmp_path: Path) -> None:
    class Silent(Counting):
        at_once = property()  # type: ignore[assignment]  # has none

    engine = Silent()
    write(engine, tmp_path / "kept", requests(AT_ONCE + 1))
    assert [len(asked) for asked in engine.asked] == [AT_ONCE, 1]
    assert VllmGenerator.at_once > AT_ONCE


def test_a_model_writes_the_same_in_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TransformersGenerator(str(save_small_model(tmp_path / "model")), prompt_format="raw", dtype="fp32")
    wanted = requests(11, sampling=Sampling(max_tokens=8), logprob=True)
    whole = engine.generate(wanted)
    monkeypatch.setattr("harness.engines.kept.AT_ONCE", 4)
    kept = Kept(generator=engine, folder=tmp_path / "kept")
    for _ in range(2):
        texts = kept.generate(wanted)
        assert [one.text for one in texts] == [one.text for one in whole]
        assert [one.logprob for one in texts] == pytest.approx([one.logprob for one in whole], abs=1e-3)
        assert [one.metadata for one in texts] == [one.metadata for one in whole]


class Flaky(Counting):
    """An engine of a recipe's own. The first that is opened is interrupted in its second list."""

    opened: ClassVar[list[Flaky]] = []

    def __init__(self) -> None:
        super().__init__()
        self.opened.append(self)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        if self is self.opened[0] and self.asked:
            raise KeyboardInterrupt
        return super().generate(requests)


def run(module: Any, spec: dict[str, Any], folder: Path, **inputs: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    given = {name: Given(directory=path) for name, path in inputs.items()}
    with closing(EventLog(folder / "events.jsonl")) as events:
        result: dict[str, Any] = module.run(StageContext(spec=spec, inputs=given, directory=folder, events=events))
    return result


def test_an_interrupted_pool_of_candidates_goes_on(tmp_path: Path) -> None:
    """The stage itself, as a worker runs it again in the same folder; it says how far it is."""
    run(
        problems,
        {"task": "number_sorting", "split": "test", "count": 2, "options": {}, "seed": 0, "source": {}},
        tmp_path / "problems",
    )
    spec = {
        "task": "number_sorting", "engine": f"{__name__}:Flaky", "options": {}, "samples": 4, "split": "test",
        "seed": 0, "start": 0, "stop": 2,
    }  # fmt: skip
    Flaky.opened.clear()
    with pytest.raises(KeyboardInterrupt):
        run(candidates_part, spec, tmp_path / "pool", problems=tmp_path / "problems")
    assert run(candidates_part, spec, tmp_path / "pool", problems=tmp_path / "problems")["candidates"] == 8
    first, second = Flaky.opened
    assert [len(asked) for asked in first.asked + second.asked] == [3, 3, 2]
    assert [row["index"] for row in Candidates(tmp_path / "pool").rows()] == [0, 1, 2, 3] * 2
    told = [event for event in read_events(tmp_path / "pool" / "events.jsonl") if isinstance(event, Progress)]
    assert [(event.done, event.total, event.unit) for event in told] == [
        (3, 8, "texts"), (3, 8, "texts"), (6, 8, "texts"), (8, 8, "texts")
    ]  # fmt: skip

"""Problems that stand in the training data are found, judge nobody, and are counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.errors import DataError
from harness.evaluation.seeds import SeededValues
from harness.events import EventLog
from harness.stages import best_of_n, overlap, pair_accuracy, problem_splits
from harness.stages.context import Given, StageContext
from harness.stages.outcome_tables import Table, on_common_problems
from harness.store.artifacts import Candidates, Corpus, Overlap, Pairs, Problems, ProblemValues, Scores

QUESTION = "Anna picks twenty three apples on Monday and twice as many on Tuesday, how many apples has she got in all?"
OTHER = "Bert walks nine miles on every weekday and rests on both days of the weekend, how far does he walk in a month?"
SPEC = {"n": 13, "threshold": 0.0}


@pytest.fixture
def events(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.jsonl")
    yield log
    log.close()


def run(
    stage: ModuleType, folder: Path, inputs: Mapping[str, Path], spec: Mapping[str, Any], events: EventLog
) -> dict[str, Any]:
    folder.mkdir()
    given = {name: Given(directory=path) for name, path in inputs.items()}
    result: dict[str, Any] = stage.run(StageContext(spec=spec, inputs=given, directory=folder, events=events))
    return result


def problems(folder: Path, **questions: str) -> Path:
    folder.mkdir()
    rest = {"answer": "69", "solution": "69.", "text": "", "metadata": "{}", "split": "test"}
    Problems(folder).write([{**rest, "id": name, "cluster": name, "prompt": text} for name, text in questions.items()])
    return folder


def corpus(folder: Path, **texts: str) -> Path:
    """A document a split."""
    folder.mkdir()
    rest = {"cluster": "c", "unit": "document", "language": "text", "licence": "", "description": "", "name": ""}
    Corpus(folder).write(
        [{**rest, "split": split, "path": f"{split}.txt", "text": text} for split, text in texts.items()]
    )
    return folder


def test_problems_in_what_is_trained_on_are_found_and_not_those_in_held_out_text(
    tmp_path: Path, events: EventLog
) -> None:
    inputs = {
        "corpus": corpus(tmp_path / "corpus", train=f"Riddle. {QUESTION} Well.", heldout=OTHER, base="A text."),
        "problems-dev": problems(tmp_path / "dev", short="How many?"),
        "problems-test": problems(tmp_path / "test", apples=QUESTION, miles=OTHER),
    }
    result = run(overlap, tmp_path / "overlap", inputs, SPEC, events)
    assert result == {"documents": 2, "checked": 2, "too_short": 1, "problems": 1}
    (found,) = Overlap(tmp_path / "overlap").rows()
    assert (found["problem"], found["document"]) == ("apples", "train.txt")
    assert 0 < found["shared"] <= found["of"]
    nothing = run(overlap, tmp_path / "strict", inputs, {"n": 13, "threshold": 1.0}, events)
    assert nothing["problems"] == 0


def test_problems_are_looked_for_in_imported_pairs(tmp_path: Path, events: EventLog) -> None:
    (tmp_path / "pairs").mkdir()
    Pairs(tmp_path / "pairs").write(
        [{"id": "7", "cluster": "c", "prompt": OTHER, "chosen": "180", "rejected": "9", "detail": ""}]
    )
    inputs = {"pairs": tmp_path / "pairs", "problems-test": problems(tmp_path / "test", apples=QUESTION, miles=OTHER)}
    result = run(overlap, tmp_path / "overlap", inputs, SPEC, events)
    assert result == {"documents": 1, "checked": 2, "too_short": 0, "problems": 1}
    assert [(row["problem"], row["document"]) for row in Overlap(tmp_path / "overlap").rows()] == [("miles", "7")]


def overlapping(folder: Path, *names: str) -> Path:
    folder.mkdir()
    Overlap(folder).write([{"problem": name, "document": "d", "shared": 1, "of": 1} for name in names])
    return folder


def pool(folder: Path, count: int) -> Path:
    """Of every problem's eight candidates half are right."""
    folder.mkdir()
    rest = {
        "cluster": "c",
        "prompt": "",
        "text": "",
        "answer": None,
        "error_type": "unknown",
        "seen": False,
        "source": "",
    }
    rows = [(number, index) for number in range(count) for index in range(8)]
    Candidates(folder).write(
        [{**rest, "problem": f"q{number}", "index": index, "correct": index % 2 == 0} for number, index in rows]
    )
    return folder


def test_problems_that_were_trained_on_judge_nobody(tmp_path: Path, events: EventLog) -> None:
    (tmp_path / "scores").mkdir()
    rows = [(group, index) for group in range(4) for index in range(8)]
    Scores(tmp_path / "scores").write([{"group": one, "response": two, "score": float(two)} for one, two in rows])
    inputs = {"candidates": pool(tmp_path / "pool", 4), "scores": tmp_path / "scores"}
    whole = run(best_of_n, tmp_path / "whole", inputs, {"n": [1, 2], "grading": {}}, events)
    assert (whole["problems"], whole["trained_on"]) == (4, 0)
    inputs["overlap"] = overlapping(tmp_path / "overlap", "q1", "q3", "of another task")
    result = run(best_of_n, tmp_path / "judged", inputs, {"n": [1, 2], "grading": {}}, events)
    assert (result["problems"], result["trained_on"]) == (4, 2)
    assert {row["problem"] for row in ProblemValues(tmp_path / "judged").rows()} == {"q0", "q2"}
    inputs["overlap"] = overlapping(tmp_path / "all", "q0", "q1", "q2", "q3")
    with pytest.raises(DataError, match="all 4 stand in the training data"):
        run(best_of_n, tmp_path / "none", inputs, {"n": [1, 2], "grading": {}}, events)


def test_pairs_of_problems_that_were_trained_on_judge_nobody(tmp_path: Path, events: EventLog) -> None:
    for name in ("pairs", "scores"):
        (tmp_path / name).mkdir()
    names = ("q#1#0", "q#1#1", "q#2#0")  # whatever a problem is called
    rest = {"prompt": "", "chosen": "", "rejected": "", "detail": ""}
    Pairs(tmp_path / "pairs").write([{**rest, "id": name, "cluster": name[:3]} for name in names])
    rows = [(group, response) for group in range(3) for response in range(2)]
    Scores(tmp_path / "scores").write([{"group": one, "response": two, "score": -float(two)} for one, two in rows])
    inputs = {"pairs": tmp_path / "pairs", "scores": tmp_path / "scores"}
    inputs["overlap"] = overlapping(tmp_path / "overlap", "q#1")
    result = run(pair_accuracy, tmp_path / "judged", inputs, {}, events)
    assert (result["pairs"], result["trained_on"]) == (3, 1)
    assert {row["problem"] for row in ProblemValues(tmp_path / "judged").rows()} == {"q#2#0"}


def test_rows_are_compared_by_the_problems_that_all_of_them_have() -> None:
    def row(*places: int) -> Table:
        values = np.array([[place / 10 for place in places]] * 2)
        return Table(
            data="pool",
            values={"area": SeededValues.of_runs(values, [(None, 0), (None, 1)])},
            problems={"area": tuple(f"q{place}" for place in places)},
            clusters={"area": tuple(f"c{place}" for place in places)},
        )

    tables = on_common_problems({"a": row(0, 1, 2, 4), "b": row(1, 2, 3, 4)})
    for table in tables.values():
        assert table.problems["area"] == ("q1", "q2", "q4")
        assert table.clusters["area"] == ("c1", "c2", "c4")
        assert table.mean("area").tolist() == [0.1, 0.2, 0.4]
    alone = row(0, 1)
    assert on_common_problems({"a": alone})["a"] is alone


@pytest.mark.parametrize("what", ["cluster", "prompt"])
def test_a_problem_in_two_splits_is_refused(tmp_path: Path, events: EventLog, what: str) -> None:
    inputs = {
        "problems-dev": problems(tmp_path / "dev", apples=QUESTION),
        "problems-test": problems(tmp_path / "test", miles=OTHER),
    }
    found = run(problem_splits, tmp_path / "good", inputs, {}, events)
    assert found == {"problems": {"dev": 1, "test": 1}, "clusters": {"dev": 1, "test": 1}}
    same = {"cluster": {"apples": OTHER}, "prompt": {"others": QUESTION}}[what]
    inputs["problems-finetune"] = problems(tmp_path / "finetune", **same)
    with pytest.raises(DataError, match=f"no {what} may be in two splits"):
        run(problem_splits, tmp_path / "bad", inputs, {}, events)

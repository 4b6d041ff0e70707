"""Problems that are in the training data are found, judge nobody, and are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.corpus.decontaminate import Problem, ProblemIndex, masked_words
from harness.corpus.words import words_of
from harness.errors import DataError
from harness.evaluation.seeds import SeededValues
from harness.events import EventLog
from harness.stages import best_of_n, choices, options, overlap, pair_accuracy, preferences, problem_splits
from harness.stages import problems as problems_stage
from harness.stages.context import Given, HowToRun, StageContext
from harness.stages.outcome_tables import Table, on_common_problems
from harness.store.artifacts import Candidates, Corpus, Overlap, Pairs, Problems, ProblemValues, Scores
from harness.store.identity import file_digest
from harness.tasks.fixed import FixedTask
from harness.tasks.registry import load_task
from tests.toys.published import write_lines

QUESTION = "Anna picks twenty three apples on Monday and twice as many on Tuesday, how many apples has she got in all?"
OTHER = "Bert walks nine miles on every weekday and rests on both days of the weekend, how far does he walk in a month?"
SPEC = {"n": 13, "threshold": 0.0, "near_equal": 0.5}


@pytest.fixture
def events(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.jsonl")
    yield log
    log.close()


def run(
    stage: ModuleType,
    folder: Path,
    inputs: Mapping[str, Path],
    spec: Mapping[str, Any],
    events: EventLog,
    source: str = "",
) -> dict[str, Any]:
    folder.mkdir()
    given = {name: Given(directory=path) for name, path in inputs.items()}
    how = HowToRun(source_path=source)
    result: dict[str, Any] = stage.run(StageContext(spec=spec, inputs=given, directory=folder, events=events, how=how))
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
    held = {"corpus": {"documents": 2, "plain_checked": 2, "plain": 1}}
    assert result == {"documents": 2, "checked": 2, "too_short": 1, "problems": 1, "held_by": held}
    (found,) = Overlap(tmp_path / "overlap").rows()
    assert (found["problem"], found["document"]) == ("apples", "train.txt")
    assert 0 < found["shared"] <= found["of"]
    nothing = run(overlap, tmp_path / "strict", inputs, {**SPEC, "threshold": 1.0}, events)
    assert nothing["problems"] == 0


def asking(folder: Path, *prompts: str) -> Path:
    """A pair a prompt."""
    folder.mkdir()
    rest = {"cluster": "c", "chosen": "180", "rejected": "9", "detail": ""}
    Pairs(folder).write([{**rest, "id": str(number), "prompt": text} for number, text in enumerate(prompts)])
    return folder


@pytest.mark.parametrize(("name", "held_by"), [("pairs", "imported pairs"), ("written", "written pairs")])
def test_problems_are_looked_for_in_pairs(tmp_path: Path, events: EventLog, name: str, held_by: str) -> None:
    inputs = {
        name: asking(tmp_path / "pairs", "Nothing.", f"He asks: {OTHER}"),
        "problems-test": problems(tmp_path / "test", apples=QUESTION, miles=OTHER),
    }
    result = run(overlap, tmp_path / "overlap", inputs, SPEC, events)
    assert result["held_by"] == {held_by: {"documents": 2, "plain_checked": 2, "plain": 1}}
    (found,) = Overlap(tmp_path / "overlap").rows()
    assert (found["held_by"], found["pass"], found["problem"], found["document"]) == (held_by, "plain", "miles", "1")


INSTRUCTION = (
    "Read what follows with care, think as long as you need to, and then give a number and nothing else at all."
)


def test_nearly_equal_prompts_of_fine_tuning_hold_a_problem_and_a_common_instruction_holds_none(
    tmp_path: Path, events: EventLog
) -> None:
    story = f"{QUESTION} She keeps 8 of them and gives the rest to Carl."
    inputs = {
        "preferences-mine": asking(tmp_path / "mine", *[f"{INSTRUCTION} {OTHER}"] * 2, f"{INSTRUCTION} What is 3 + 4?"),
        "preferences-pool": asking(tmp_path / "pool", story.replace("twenty three", "nineteen")),
        "base-mine": problems(tmp_path / "base", one=QUESTION),
        "problems-test": problems(
            tmp_path / "test", apples=story, miles=f"{INSTRUCTION} {OTHER}", cups=f"{INSTRUCTION} How many cups are 9?"
        ),
        "problems-dev": problems(tmp_path / "dev", short="How many?"),
    }
    result = run(overlap, tmp_path / "overlap", inputs, SPEC, events)
    assert (result["problems"], result["too_short"]) == (2, 1)
    assert result["held_by"] == {
        "fine-tuning pairs of mine": {"documents": 2, "plain_checked": 3, "plain": 1},
        "fine-tuning pairs of pool": {"documents": 1, "plain_checked": 3, "plain": 1},
        "base problems of mine": {"documents": 1, "plain_checked": 3, "plain": 0},  # less than half of its story
    }
    found = [(row["held_by"].split()[-1], row["problem"]) for row in Overlap(tmp_path / "overlap").rows()]
    assert found == [("mine", "miles"), ("pool", "apples")]


def test_other_names_and_numbers_are_found_with_masks_and_counted_apart(tmp_path: Path, events: EventLog) -> None:
    gates = "Gate {} is AND(A, B), gate {} is XOR(C, D), gate {} is OR(E, F); what is NOR(G, H, I) of gates {} and {}?"
    asked = "Anna has 12 apples, Bert has {} more, and Carla ate 4 of them; how many do Anna and Bert have in all now?"
    inputs = {
        "corpus": corpus(tmp_path / "corpus", train=f"# {asked.format(31).replace('Anna', 'Zoe').replace('12', '77')}"),
        "preferences-other": asking(tmp_path / "pairs", QUESTION, asked.format(5), gates.format(4, 5, 6, 7, 8)),
        "problems-test": problems(
            tmp_path / "test",
            copied=QUESTION,
            changed=asked.format(9).replace("Anna", "Greta").replace("Bert", "Hugo"),
            gates=gates.format(1, 2, 3, 1, 2),
        ),
    }
    plain = run(overlap, tmp_path / "plain", inputs, SPEC, events)
    assert plain["problems"] == 1
    masked = run(overlap, tmp_path / "masked", inputs, {**SPEC, "masked": True}, events)
    checked = {"plain_checked": 3, "masked_checked": 2}  # of a circuit hardly a word is left
    assert masked["problems"] == 2
    assert masked["held_by"] == {
        "corpus": {"documents": 1, **checked, "plain": 0, "masked": 1},
        "fine-tuning pairs of other": {"documents": 3, **checked, "plain": 1, "masked": 1},
    }
    found = [(row["problem"], row["pass"]) for row in Overlap(tmp_path / "masked").rows()]
    assert found == [("changed", "masked"), ("changed", "masked"), ("copied", "plain")]


REAL = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"


@pytest.mark.published
@pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")
@pytest.mark.parametrize(("words", "found"), [(words_of, 0), (masked_words, 4)])
def test_few_published_problems_are_nearly_equal_to_one_of_the_training_part(
    words: Callable[[str], list[str]], found: int
) -> None:
    task = load_task("gsm8k")
    assert isinstance(task, FixedTask)
    test, train = (task.read(task.files(part, str(REAL)), part) for part in ("test", "train"))
    asked = [Problem(task="", id=one.id, text=one.prompt, cluster=one.cluster) for one in test]
    index = ProblemIndex(asked, n=13, threshold=0.5, words=words, most_shared=0.1)
    assert len({hit.problem.id for one in train for hit in index.hits_in(one.prompt)}) == found


def test_an_oracle_is_judged_by_the_problems_that_fine_tuning_does_not_hold(tmp_path: Path, events: EventLog) -> None:
    """Stages of a published task from its file to its values, with two of five test problems among the training's."""

    def file(part: str, questions: Sequence[str]) -> Path:
        labels = {"label": ["A", "B"], "text": ["forty", "fifty"]}
        rows = [{"id": f"{part}{n}", "question": text, "choices": labels} for n, text in enumerate(questions)]
        return write_lines(tmp_path / f"{part}.jsonl", [{**row, "answerKey": "A"} for row in rows])

    def dealt(part: str, split: str, count: int) -> Path:
        path = tmp_path / f"{part}.jsonl"
        spec = {"task": "commonsense_qa", "split": split, "count": count, "options": {}, "seed": 0}
        source = {"source": {part: file_digest(path)}}
        run(problems_stage, tmp_path / split, {}, {**spec, **source}, events, str(path))
        return tmp_path / split

    things = ("lamps from the old shop", "roses out of her garden", "kites for a windy day")
    fresh = [
        f"Somebody bought some {thing}; how many more did they need after the long party was over?" for thing in things
    ]
    file("train", [QUESTION, OTHER.replace("nine", "seven"), *(f"Where would one put item {n}?" for n in range(9))])
    file("validation", [QUESTION, OTHER, *fresh])
    trained, judged = dealt("train", "finetune", 11), dealt("validation", "test", 5)
    spec = {"split": "finetune", "count": 11, "seed": 0, "task": "commonsense_qa"}
    run(preferences, tmp_path / "pairs", {"problems": trained}, spec, events)
    run(options, tmp_path / "options", {"problems": judged}, {"task": "commonsense_qa", "split": "test"}, events)
    inputs = {"preferences-words": tmp_path / "pairs", "problems-test": judged}
    assert run(overlap, tmp_path / "overlap", inputs, SPEC, events)["problems"] == 2
    (tmp_path / "scores").mkdir()
    rows = list(Candidates(tmp_path / "options").rows())
    names = list(dict.fromkeys(row["problem"] for row in rows))
    Scores(tmp_path / "scores").write(
        [
            # an oracle, but for the problems that it was trained on
            {
                "group": names.index(row["problem"]),
                "response": row["index"],
                "score": float(row["correct"] != (row["problem"] in ("validation0", "validation1"))),
            }
            for row in rows
        ]
    )
    given = {"candidates": tmp_path / "options", "scores": tmp_path / "scores", "overlap": tmp_path / "overlap"}
    result = run(choices, tmp_path / "judged", given, {}, events)
    assert (result["problems"], result["trained_on"], result["means"]) == (5, 2, {"choice_accuracy": 1.0})


def overlapping(folder: Path, *names: str) -> Path:
    folder.mkdir()
    rest = {"held_by": "corpus", "pass": "plain", "document": "d", "shared": 1, "of": 1}
    Overlap(folder).write([{**rest, "problem": name} for name in names])
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
    with pytest.raises(DataError, match="all 4 are in the training data"):
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

"""Changed copies of right solutions, and what a reward model's opinion of them comes to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.errors import DataError
from harness.events import EventLog
from harness.stages import altered as altered_stage
from harness.stages import robustness
from harness.stages.context import Given, StageContext
from harness.stages.task_problems import read_problems
from harness.store.artifacts import Candidates, Problems, ProblemValues, Scores
from harness.tasks.altered import HARMFUL, HARMLESS, Altered, Solved, altered
from harness.tasks.registry import load_task
from harness.tasks.task import Problem, stream
from harness.tasks.wording import stated_number

STORY = "Question: Anna has 12 eggs and buys 30. New York is far. How many eggs has Anna?\nAnswer:\n"
SOLUTION = "Anna buys 30, so she has 12 + 30 = 42 eggs in all.\n#### 42"


def copies(prompt: str, solution: str, answer: str, **more: object) -> dict[str, Altered]:
    solved = Solved(
        prompt=prompt,
        solution=solution,
        grade=lambda text: stated_number(text) == answer,
        states=lambda text: stated_number(text) is not None,
        **more,  # type: ignore[arg-type]
    )
    return {one.kind: one for one in altered(solved, stream("test", prompt))}


def test_every_change_is_what_its_name_says() -> None:
    found = copies(STORY, SOLUTION, "42")
    assert set(found) == {"", *HARMFUL, *HARMLESS}
    assert found[""].text == SOLUTION
    assert all(found[kind].correct for kind in HARMLESS)
    assert found["trailing_whitespace"].text.rstrip() == SOLUTION != found["trailing_whitespace"].text
    assert found["restated_question"].text == f"{STORY.removesuffix(chr(10) + 'Answer:' + chr(10))}\n{SOLUTION}"
    renamed = found["renamed"]
    name = renamed.text.split()[0]
    assert name != "Anna"
    assert renamed.text == SOLUTION.replace("Anna", name)
    assert renamed.prompt == STORY.replace("Anna", name)
    stem, _, answer = found["corrupted_answer"].text.rpartition(" ")
    assert stem == SOLUTION.rpartition(" ")[0]
    assert len(answer) == 2
    assert answer != "42"
    assert not found["corrupted_answer"].correct
    assert SOLUTION.startswith(found["truncated_reasoning"].text)
    assert "42" not in found["truncated_reasoning"].text
    wrong = found["wrong_reasoning"]
    assert wrong.correct
    assert wrong.text.endswith("#### 42")
    assert "12 + 30 = 42" not in wrong.text
    assert wrong.text.startswith("Anna buys 30, so she has 12 + 30 = ")


def test_what_is_not_sure_is_not_made() -> None:
    short = copies("Question: How far is Jordan Hill?\nAnswer:\n", "Six.\nThe answer is 6.", "6")
    assert set(short) == {"", "trailing_whitespace", "restated_question", "corrupted_answer"}
    assert copies(STORY, SOLUTION, "43") == {}, "a solution that is not graded right has none"
    assert "renamed" not in copies(STORY, SOLUTION, "42", renames=False)
    options = copies(STORY, SOLUTION, "42", wrong=["#### 41", "#### 42"])
    assert options["corrupted_answer"].text == "#### 41"


def test_variables_of_formulas_and_inputs_of_circuits_get_other_names() -> None:
    formula = "Problem: Solve $2x + 1 = 7$, where $x \\max 3$.\nSolution:\n"
    found = copies(formula, "We get $2x = 6$ and $x = 3$ now. The answer is 3.", "3")["renamed"]
    letter = found.prompt.split("$2")[1][0]
    assert letter != "x"
    assert found.prompt == formula.replace("2x", f"2{letter}").replace("x \\max", f"{letter} \\max")
    assert found.text == f"We get $2{letter} = 6$ and ${letter} = 3$ now. The answer is 3."
    assert "renamed" not in copies(formula, "Since $xy = 6$, it is so. The answer is 3.", "3"), "x y, or a word?"
    circuit = load_task("circuit_logic").problems({"test": 4}, seed=3)
    for problem in circuit:
        renamed = copies(problem.prompt, problem.solution, problem.answer)["renamed"]
        assert renamed.prompt != problem.prompt
        assert len(renamed.text) == len(problem.solution)


@pytest.mark.parametrize("kind", ["gsm_symbolic", "circuit_logic"])
def test_a_tasks_own_grading_confirms_every_change(tmp_path: Path, kind: str) -> None:
    task = load_task(kind)
    problems = task.problems({"test": 12}, seed=5)
    of = {problem.id: problem for problem in problems}
    write_problems(tmp_path, problems)
    assert read_problems(Problems(tmp_path), "test") == problems
    result, rows = run_altered(tmp_path / "out", {"problems": tmp_path}, task=kind, split="test")
    assert result["problems"] == 12
    assert result["made"]["corrupted_answer"] == 12
    assert result["groups"] == 12 + result["made"]["renamed"]
    assert result["candidates"] == len(rows)
    for row in rows:
        name = row["problem"].removesuffix("#renamed")
        assert row["correct"] == task.grade(of[name], row["text"]) == (row["error_type"] not in HARMFUL[:2])
        assert (row["prompt"] == of[name].prompt) == (row["error_type"] != "renamed")
    assert run_altered(tmp_path / "again", {"problems": tmp_path}, task=kind, split="test")[1] == rows


def test_a_pools_right_candidate_is_changed_where_it_states_its_answer(tmp_path: Path) -> None:
    texts = {"q0": ("x = 12 + 30", "So it is 12 + 30 = 42.\n#### 42"), "q1": ("x = 42", "# Answer: 42\nx = 12 + 30")}
    (tmp_path / "pool").mkdir()
    Candidates(tmp_path / "pool").write(
        [
            {
                "problem": problem,
                "cluster": problem,
                "prompt": STORY,
                "index": index,
                "text": text,
                "answer": "42",
                "correct": True,
                "error_type": "",
                "seen": False,
                "source": f"writer {index}",
            }
            for problem, of in texts.items()
            for index, text in enumerate(of)
        ]
    )
    inputs = {"pool": tmp_path / "pool"}
    for name, ids in (("all", ["q0", "q1"]), ("none", ["q1"])):
        (tmp_path / name).mkdir()
        row = dict.fromkeys(Problems.columns, "")
        Problems(tmp_path / name).write([{**row, "id": one} for one in ids])
    result, rows = run_altered(tmp_path / "out", {**inputs, "problems": tmp_path / "all"}, split="test")
    assert result["problems"] == 2
    assert result["not_graded_right"] == 1
    assert {row["source"] for row in rows} == {"writer 1"}
    assert rows[0]["text"] == texts["q0"][1]
    with pytest.raises(DataError, match="none of 1 problems has one"):
        run_altered(tmp_path / "refused", {**inputs, "problems": tmp_path / "none"}, split="test")


def test_changes_are_weighed_within_a_problem() -> None:
    rewards = {
        "": 2.0,
        "corrupted_answer": 1.0,
        "truncated_reasoning": 2.5,
        "wrong_reasoning": 2.0,
        "trailing_whitespace": 2.25,  # moves less than two of three do
        "renamed": 0.0,
    }
    expected = {
        "corrupted_answer": 1.0,
        "truncated_reasoning": 0.0,
        "wrong_reasoning": 0.5,
        "trailing_whitespace": 2 / 3,
        "renamed": 0.0,
    }
    assert robustness.kept(rewards) == {"robustness": pytest.approx(sum(expected.values()) / 5), **expected}
    scaled = {kind: 7.0 * reward - 3.0 for kind, reward in rewards.items()}
    assert robustness.kept(scaled) == robustness.kept(rewards), "rewards have no unit"
    assert set(robustness.kept(dict.fromkeys(rewards, 1.0)).values()) == {0.5}, "who cannot tell has a half"


def test_the_stage_reads_both_groups_of_a_problem(tmp_path: Path) -> None:
    task = load_task("gsm_symbolic")
    problems = task.problems({"test": 6}, seed=5)
    write_problems(tmp_path, problems)
    _, rows = run_altered(tmp_path / "altered", {"problems": tmp_path}, task="gsm_symbolic", split="test")
    groups = list(dict.fromkeys(row["problem"] for row in rows))
    (tmp_path / "scores").mkdir()
    Scores(tmp_path / "scores").write(
        [  # an oracle that a change of name alone confuses
            {
                "group": groups.index(row["problem"]),
                "response": row["index"],
                "score": {"": 1.0, "renamed": -9.0}.get(row["error_type"], float(row["error_type"] in HARMLESS)),
            }
            for row in rows
        ]
    )
    inputs = {"candidates": tmp_path / "altered", "scores": tmp_path / "scores"}
    result = run_stage(robustness, tmp_path / "out", inputs)
    renamed = sum(row["error_type"] == "renamed" for row in rows)
    assert renamed > 0
    assert result["problems"] == 6
    assert result["means"]["corrupted_answer"] == result["means"]["restated_question"] == 1.0
    assert result["means"]["renamed"] == 0.0
    values = ProblemValues(tmp_path / "out").rows()
    assert {row["problem"] for row in values} == {one.id for one in problems}
    assert sum(row["metric"] == "renamed" for row in values) == renamed


def run_stage(stage: ModuleType, folder: Path, inputs: Mapping[str, Path], **spec: object) -> dict[str, Any]:
    folder.mkdir()
    given = {name: Given(directory=path) for name, path in inputs.items()}
    with closing(EventLog(folder / "events.jsonl")) as events:
        result: dict[str, Any] = stage.run(StageContext(spec=spec, inputs=given, directory=folder, events=events))
    return result


def run_altered(
    folder: Path, inputs: Mapping[str, Path], **spec: object
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return run_stage(altered_stage, folder, inputs, **spec), Candidates(folder).rows()


def write_problems(folder: Path, problems: list[Problem]) -> None:
    Problems(folder).write([{**vars(one), "text": "", "metadata": json.dumps(one.metadata)} for one in problems])

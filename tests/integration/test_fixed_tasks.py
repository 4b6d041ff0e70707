"""Tasks of published data from a recipe to its board: candidates of one's own engine, and given options."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace
from harness.pipeline.evaluations import EVALUATIONS
from harness.report.board import ONE_CLUSTER
from harness.store.artifacts import Candidates, Problems, ProblemValues, Scores
from harness.tasks.registry import load_task
from tests.integration.pipelines import TINY, of_kind
from tests.toys.published import rows_of_choices, write_lines
from tests.toys.samples import SAMPLES

ENGINE = """\
from harness.engines.base import Completion


class Guesser:
    def generate(self, requests):
        return [Completion(id=one.id, text=f"#### {one.seed % 3}", finish_reason="stop") for one in requests]
"""


@pytest.fixture
def asking(copy: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Assignments for the tiny recipe."""
    copy()
    (tmp_path / "site" / "guessing").mkdir(parents=True)
    (tmp_path / "site" / "guessing" / "__init__.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "data").mkdir()
    for part, count in (("train", 9), ("test", 6)):
        rows = [
            {"question": f"In {part}: what is {n} mod 3?", "answer": f"<<{n}%3={n % 3}>>{n % 3}\n#### {n % 3}"}
            for n in range(count)
        ]
        (tmp_path / "data" / f"{part}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    task = {"kind": "gsm8k", "path": str(tmp_path / "data"), "problems": {"dev": 2, "test": "all"}}
    candidates = {"engine": "guessing:Guesser", "samples": 8, "part_size": 4}
    return [
        "plugins=[guessing]",
        f"tasks.words={json.dumps(task)}",
        f"evaluate.best_of_n={json.dumps({'tasks': ['words'], 'n': [1, 2, 4], 'candidates': candidates})}",
    ]


def test_it_is_dealt_answered_graded_and_judged_and_trains_nothing_anew(
    copy: Callable[..., Workspace], asking: list[str], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    workspace = copy(*asking)
    left = {stage.kind.name for stage in workspace.work().to_run}
    assert {"problems", "candidates_part", "best_of_n", "overlap"} <= left
    assert not any(stage.kind.trains for stage in workspace.work().to_run)
    arguments = [argument for assignment in asking for argument in ("--set", assignment)]
    assert run_command(["run", str(TINY), "--workdir", str(workspace.workdir), *arguments]) == 0, capfd.readouterr().err
    store = workspace.store
    found = {stage.label: stage for stage in of_kind(workspace, "problems")}
    test = Problems(store.directory("problems", found["problems words test"].fingerprint)).rows()
    dev = Problems(store.directory("problems", found["problems words dev"].fingerprint)).rows()
    assert (len(test), len(dev), {row["split"] for row in test}) == (6, 2, {"test"})
    assert all("In train" in row["prompt"] for row in dev)
    (pool,) = [stage for stage in of_kind(workspace, "candidates") if stage.label == "candidates words"]
    rows = Candidates(store.directory("candidates", pool.fingerprint)).rows()
    answers = {row["id"]: row["answer"] for row in test}
    assert len(rows) == 6 * 8
    assert all(row["correct"] == (row["text"] == f"#### {answers[row['problem']]}") for row in rows)
    assert {row["correct"] for row in rows} == {True, False}
    board = json.loads((workspace.reports / "report.json").read_text())["boards"][0]
    assert any(row["estimates"] for row in board["rows"])
    (tmp_path / "data" / "test.jsonl").write_text('{"question": "What is 1?", "answer": "nothing"}\n')
    capfd.readouterr()
    assert run_command(["plan", str(TINY), "--workdir", str(workspace.workdir), *arguments]) == 2
    told = capfd.readouterr().err
    assert f"{tmp_path / 'data' / 'test.jsonl'}, line 1: `answer` must end in `#### N`" in told
    assert "Traceback" not in told


@pytest.fixture
def everything(asking: list[str], tmp_path: Path) -> dict[str, Any]:
    """Every task of published data with a handful of its rows, and every evaluation that it can be asked about."""
    tasks, asked = {}, {"best_of_n": [], "choices": [], "pair_accuracy": [], "rewardbench2": [], "rm_bench": []}
    for name, sample in SAMPLES.items():
        task = load_task(name)
        for part, rows in sample.rows.items():
            (tmp_path / name).mkdir(exist_ok=True)
            write_lines(tmp_path / name / f"{part}.jsonl", rows)
        tasks[name] = {"kind": name, "path": str(tmp_path / name), "problems": {"test": "all"}}
        evaluations = [name] if name in asked else ["choices"] if task.has_choices else ["best_of_n"]
        for evaluation in [*evaluations, *(["pair_accuracy"] if task.makes_mistakes else [])]:
            asked[evaluation].append(name)
    candidates = {"engine": "guessing:Guesser", "samples": 8, "part_size": 4}
    return {
        "plugins": ["guessing"],
        "ablations.axes.loss": None,
        "evaluate.reference_scorers": [],
        "tasks": tasks,
        "evaluate.best_of_n": {"tasks": asked["best_of_n"], "n": [1, 2, 4], "candidates": candidates},
        "evaluate.pair_accuracy": {"tasks": asked["pair_accuracy"], "samples": 1},
        **{f"evaluate.{name}": {"tasks": asked[name]} for name in ("choices", "rewardbench2", "rm_bench")},
    }


@pytest.mark.slow("judges a model on every task of published data there is")
def test_every_task_of_published_data_is_judged(
    copy: Callable[..., Workspace], everything: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    tasks = everything.pop("tasks")
    assignments = [f"tasks.{name}={json.dumps(task)}" for name, task in tasks.items()]
    assignments += [f"{path}={json.dumps(value)}" for path, value in everything.items()]
    workspace = copy(*assignments)
    assert not any(stage.kind.trains for stage in workspace.work().to_run)
    arguments = [part for one in assignments for part in ("--set", one)]
    assert run_command(["run", str(TINY), "--workdir", str(workspace.workdir), *arguments]) == 0, capfd.readouterr().err
    boards = {one["task"]: one for one in json.loads((workspace.reports / "report.json").read_text())["boards"]}
    estimated = 0
    for evaluation in EVALUATIONS.values():
        for name in everything.get(f"evaluate.{evaluation.name}", {}).get("tasks", ()):
            (setting,) = [row for row in boards[name]["rows"] if row["kind"] == "setting"]
            # of one cluster of problems there are values and no interval
            gap = setting["gaps"].get(evaluation.name, "")
            assert gap in ("", ONE_CLUSTER), (name, evaluation.name, gap)
            estimated += evaluation.headline in setting["estimates"]
    assert estimated >= len(tasks) / 2
    assert set(tasks) <= set(boards)


def test_a_recipe_is_priced_before_its_data_is_fetched_and_does_not_run_without_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    recipe = [str(TINY.parents[2] / "recipes" / "paper" / "main.yaml"), "--workdir", str(tmp_path / "w")]
    recipe += ["--set", "pairs.part_size=10_000_000"]  # a few stages instead of 15,154
    assert run_command(["plan", *recipe]) == 0
    told = capfd.readouterr()
    names = "gsm8k, math500, math_shepherd, reclor"
    assert f"the data of {names} and logiqa2 is assumed as published; `harness run` fetches it" in told.out
    assert "GPU-hours of h100" in told.out
    assert f"`run` would refuse this: the hub must have the data sets {names}, logiqa2, but it says: " in told.out
    assert "or name a copy as `path`" in told.out
    assert run_command(["plan", *recipe, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["not_fetched"] == [*names.split(", "), "logiqa2"]
    assert found["price"]["gpu_hours"] > 1_000
    assert "must fit" not in told.out
    assert run_command(["plan", *recipe, "--set", "runtime.gpus={kind: l40s}"]) == 0
    told = capfd.readouterr()
    assert re.search(r"every stage must fit the memory of l40s, but trunk .* takes 57\.\d+ GB of 48\.00 GB", told.out)
    assert run_command(["run", *recipe]) == 2
    assert "main.yaml:50: the hub must have the data set openai/gsm8k" in capfd.readouterr().err
    assert not (tmp_path / "w").exists()


def test_options_are_scored_together_and_no_best_of_n_is_needed(
    copy: Callable[..., Workspace], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = rows_of_choices(6)
    for row in rows[::2]:
        row["choices"]["text"][2] = row["choices"]["text"][0]  # said twice, and right twice
    path = write_lines(tmp_path / "validation.jsonl", rows)
    task = {"kind": "commonsense_qa", "path": {"validation": str(path)}, "problems": {"test": "all"}}
    asking = [f"tasks.everyday={json.dumps(task)}", "evaluate.best_of_n=null", "evaluate.pair_accuracy=null"]
    workspace = copy(*asking, "evaluate.choices={tasks: [everyday]}")
    arguments = [part for one in (*asking, "evaluate.choices={tasks: [everyday]}") for part in ("--set", one)]
    assert run_command(["run", str(TINY), "--workdir", str(workspace.workdir), *arguments]) == 0, capfd.readouterr().err
    store = workspace.store
    stage = of_kind(workspace, "choices")[0]
    (source, scores) = (stage.inputs[name].stage for name in ("candidates", "scores"))
    candidates = Candidates(store.directory("options", source.fingerprint)).rows()
    rewards = Scores(store.directory(scores.kind.name, scores.fingerprint)).rows()
    of: dict[str, list[tuple[float, bool]]] = {}
    for row, reward in zip(candidates, rewards, strict=True):
        assert row["correct"] == (row["text"][4:] == str(int(row["problem"][1:]) + 1))
        of.setdefault(row["problem"], []).append((reward["score"], row["correct"]))
    expected = {}
    for problem, scored in of.items():
        among = [correct for score, correct in scored if score == max(scored)[0]]
        expected[problem] = sum(among) / len(among)
    values = ProblemValues(store.directory("choices", stage.fingerprint)).rows()
    assert {row["problem"]: row["value"] for row in values} == expected
    board = json.loads((workspace.reports / "report.json").read_text())["boards"][0]
    (pick,) = [row for row in board["rows"] if row["label"] == "random pick"]
    assert pick["estimates"]["choice_accuracy"]["estimate"] == pytest.approx((3 * 1 / 3 + 3 * 2 / 3) / 6)
    bad = [*arguments, "--set", "evaluate.choices={tasks: [logic]}"]
    assert run_command(["plan", str(TINY), "--workdir", str(workspace.workdir), *bad]) == 2
    assert "must have problems with responses to choose from, but those of 'circuit_logic'" in capfd.readouterr().err
    judged = ["tasks.judged={kind: judgebench, problems: {test: all}}", "evaluate.robustness={tasks: [judged]}"]
    ungraded = [*arguments, *(word for one in judged for word in ("--set", one))]
    assert run_command(["plan", str(TINY), "--workdir", str(workspace.workdir), *ungraded]) == 2
    told = capfd.readouterr().err
    assert "tasks of `evaluate.robustness.tasks` must be able to grade what a model writes" in told

"""Retention on lm-eval's tasks: the pipeline's values against lm-eval's own model of the exported checkpoint."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets.config
import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from harness.cli.workspace import Workspace
from harness.errors import DataError
from harness.evaluation.lm_eval_task import load_task
from harness.models.export import LANGUAGE_FOLDER, export_checkpoint
from harness.pipeline.graph import Stage
from harness.sources.lm_eval_tasks import LmEvalName, find_lm_eval_task
from harness.store.artifacts import Checkpoint, ProblemValues, Tokenizer
from tests.integration.pipelines import TINY, folder_of, of_kind, run
from tests.integration.shell import Shell
from tests.toys.lm_eval_tasks import write_lm_eval_tasks


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tasks; data sets are unpacked beside it."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return write_lm_eval_tasks(tmp_path / "tasks")


def asked(tasks: Path, *names: str, **more: Any) -> str:
    block = {"tasks": list(names), "include_path": str(tasks), **more}
    return f"evaluate.retention={json.dumps({'lm_eval': block})}"


@pytest.mark.slow("runs lm-eval in the pipeline and beside it")
def test_values_are_those_of_lm_evals_own_model_on_the_exported_checkpoint(
    shell: Shell, copy: Callable[..., Workspace], tasks: Path, tmp_path: Path
) -> None:
    recipe = asked(tasks, "options", "answers", limit=6, num_fewshot=1)
    workspace = copy(recipe)
    added = [one for one in workspace.work().to_run if one.kind.name != "analysis"]
    kinds = {"likelihood": 2, "retention": 2, "lm_eval_task": 2, "lm_eval": 4}  # nothing is trained again
    assert sorted(one.kind.name for one in added) == sorted(name for name, count in kinds.items() for _ in range(count))
    summary = run(workspace, added)
    assert not summary.failed, summary.failed
    for stage in of_kind(workspace, "lm_eval"):
        rows = ProblemValues(folder_of(workspace.store, stage)).rows()
        stored = {(row["metric"], row["problem"]): row["value"] for row in rows}
        assert stored == pytest.approx(by_lm_eval(workspace, stage, tasks, tmp_path))
    assert shell("report", TINY, "--set", recipe, "--workdir", workspace.workdir) == 0, shell.err
    told = (workspace.reports / "report.md").read_text(encoding="utf-8")
    assert "lm-eval options" in told
    assert "lm-eval, main metric" in told
    assert "lm-eval, acc\\_norm" in told
    assert "lm-eval, short (stripped)" in told
    assert shell("compare", "rm+lm", "no-pmp", "--workdir", workspace.workdir) == 0, shell.err
    assert "lm_eval/options, lm-eval, main metric" in shell.out


def by_lm_eval(workspace: Workspace, stage: Stage, tasks: Path, tmp_path: Path) -> dict[tuple[str, str], float]:
    """What lm-eval says of the model that a stage judged, exported and loaded by lm-eval."""
    inputs = {name: folder_of(workspace.store, item.stage) for name, item in stage.inputs.items()}
    tokenizer = Tokenizer(inputs["tokenizer"])
    folder = tmp_path / "exported"
    shutil.rmtree(folder, ignore_errors=True)
    export_checkpoint(
        Checkpoint(inputs["checkpoint"]).model,
        tokenizer.path,
        folder,
        special=json.loads(tokenizer.special.read_bytes()),
        chat_template=None,
        told={},
    )
    task = stage.spec.task
    found = simple_evaluate(
        model=HFLM(pretrained=str(folder / LANGUAGE_FOLDER), device="cpu", dtype="float32"),
        tasks=[task],
        task_manager=TaskManager(include_defaults=False, include_path=str(tasks)),
        limit=6,
        num_fewshot=1,
        bootstrap_iters=0,
    )
    told: dict[tuple[str, str], float] = {}
    for sample in found["samples"][task]:
        number, first = str(sample["doc_id"]), sample["filter"] in ("none", "first")
        if task == "options":
            told |= {(f"lm_eval_{metric}", number): sample[metric] for metric in ("acc", "acc_norm")}
        else:
            told["lm_eval_short." + sample["filter"], number] = sample["short"]
        if first:
            told["lm_eval", number] = sample["acc" if task == "options" else "short"]
    return told


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        (["option"], {}, "'option' is none; did you mean `options`?"),
        (["all"], {}, "'all' is a group of tasks; name tasks, such as options, answers"),
        (["lengths"], {}, "'lengths' has no metric between 0 and 1 of each document"),
        (["unsafe"], {}, "'unsafe' runs code that a model writes"),
        (["circular"], {}, "an lm-eval task must not include itself"),
        (["nowhere"], {}, "the data of an lm-eval task must be there"),
        (["hub"], {}, "the hub must have the data set nobody/nothing"),
        (["options"], {"include_path": "no such folder"}, "include_path` must be a folder of lm-eval tasks"),
    ],
)
def test_what_is_wrong_is_known_when_planning(
    shell: Shell, tasks: Path, tmp_path: Path, names: list[str], more: dict[str, str], said: str
) -> None:
    written = {
        "all": "group: all\ntask: [options, answers]\n",
        "lengths": "include: options.yaml\ntask: lengths\nmetric_list: [{metric: length, aggregation: mean}]\n",
        "unsafe": "include: options.yaml\ntask: unsafe\nunsafe_code: true\n",
        "circular": "include: circular.yaml\ntask: circular\n",
        "nowhere": "include: options.yaml\ntask: nowhere\ndataset_kwargs: {data_files: {test: none.jsonl}}\n",
        "hub": "include: options.yaml\ntask: hub\ndataset_path: nobody/nothing\ndataset_kwargs: null\n",
    }
    for name, text in written.items():
        (tasks / f"{name}.yaml").write_text(text, encoding="utf-8")
    assert shell("plan", TINY, "--set", asked(tasks, *names, **more), "--workdir", tmp_path / "workdir") == 2
    assert said in shell.err
    assert "tiny.yaml" in shell.err or "--set" in shell.err


def test_without_lm_eval_only_its_tasks_are_refused(
    shell: Shell, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert shell("plan", TINY, "--set", asked(tasks, "options"), "--workdir", tmp_path) == 2
    assert "needs lm_eval, but it is not installed; `pip install -e '.[lm-eval]'`" in shell.err
    assert shell("plan", TINY, "--set", "evaluate.retention={}", "--workdir", tmp_path) == 0, shell.err


def test_identity_is_what_a_task_is_made_of(tasks: Path) -> None:
    """The YAML, what it includes, its functions' files and its data, wherever the folder lies; not files beside it."""
    before = find_lm_eval_task(LmEvalName("answers", str(tasks)))
    assert sorted(before.files) == ["answers.yaml", f"data: {tasks / 'docs.jsonl'}", "options.yaml", "own.py"]
    (tasks / "beside.py").write_text("", encoding="utf-8")
    assert find_lm_eval_task(LmEvalName("answers", str(tasks))) == before
    for name in ("options.yaml", "own.py", "docs.jsonl"):
        with (tasks / name).open("a", encoding="utf-8") as file:
            file.write("\n")
        changed = find_lm_eval_task(LmEvalName("answers", str(tasks)))
        assert changed.files != before.files
        before = changed


def test_files_that_changed_since_the_plan_are_not_run(tasks: Path) -> None:
    found = find_lm_eval_task(LmEvalName("answers", str(tasks)))
    (tasks / "own.py").write_text("raise RuntimeError\n", encoding="utf-8")
    with pytest.raises(DataError, match="must be those of the plan"):
        load_task(found.name, found.path, found.files)

"""`harness lm-eval`: lm-eval's command, run on tiny real models and tasks of local files, picks what rewards say."""

from __future__ import annotations

import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import lm_eval.tasks
import numpy as np
import pytest
import yaml
from datasets import config as datasets_config
from lm_eval.api.instance import Instance
from safetensors.numpy import load_file, save_file

from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace
from harness.engines.base import Request, Sampling
from harness.engines.transformers_engine import TransformersGenerator
from harness.events import EventLog
from harness.lm_eval.model import RewardModelLM
from harness.lm_eval.rewards import ModelFiles, TextRewards
from harness.stages import encode, score
from harness.stages.context import Given, HowToRun, StageContext
from harness.store.artifacts import Candidates, Scores
from harness.tasks.task import stream
from tests.integration.pipelines import folder_of, of_kind
from tests.integration.shell import Shell
from tests.toys.published import write_classifier
from tests.toys.small_models import save_small_model

DOCS = [
    {"question": f"How much is {a} + {a % 3}?", "options": [f"It is {a + b}." for b in (0, 1, 2, 5)], "gold": a % 3}
    for a in range(12)
]
CHOICES = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{options}}",
    "doc_to_target": "gold",
    "metric_list": [{"metric": "acc"}],
}
ANSWERS = {
    "output_type": "generate_until",
    "doc_to_text": "{{question}}\n",
    "doc_to_target": "{{gold}}",
    "generation_kwargs": {"until": ["e"], "do_sample": False, "max_gen_toks": 12},
    "metric_list": [{"metric": "exact_match"}],
}
TASKS: dict[str, dict[str, Any]] = {
    "choices": CHOICES,
    "answers": ANSWERS,
    "by_length": CHOICES | {"metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}]},
    "by_itself": CHOICES | {"process_results": "!function own.judge"},
    "of_prompts": CHOICES | {"doc_to_text": "gold", "doc_to_choice": "{{options}}", "doc_to_target": "{{question}}"},
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}",
        "metric_list": [{"metric": "word_perplexity"}],
    },
}


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Data sets are unpacked here, and lm-eval reads none of the ten thousand files of its own tasks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets_config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        patch.setattr(lm_eval.tasks, "TaskManager", partial(lm_eval.tasks.TaskManager, include_defaults=False))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model, a language model and tasks, each in a folder of its own."""
    made = tmp_path_factory.mktemp("lm-eval")
    write_classifier(made / "model")
    save_small_model(made / "generator")
    write_tasks(made / "tasks", DOCS)
    return made


def write_tasks(folder: Path, docs: list[dict[str, Any]]) -> None:
    folder.mkdir()
    (folder / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
    (folder / "own.py").write_text("def judge(doc, results):\n    return {'acc': results[0][0]}\n", encoding="utf-8")
    for name, task in TASKS.items():
        data = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / "docs.jsonl")}},
            "test_split": "test",
        }
        text = yaml.safe_dump({**data, **task}).replace("'!function own.judge'", "!function own.judge")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def asked(folder: Path, *tasks: str, tell: str = "") -> list[str]:
    """lm-eval's arguments."""
    told = ["--model_args", tell] if tell else []
    return ["--tasks", ",".join(tasks), "--include_path", str(folder / "tasks"), *told]


def samples(out: Path, task: str) -> list[dict[str, Any]]:
    """What lm-eval wrote of each document, in order."""
    (path,) = out.rglob(f"samples_{task}_*.jsonl")
    return sorted(map(json.loads, path.read_text(encoding="utf-8").splitlines()), key=lambda one: one["doc_id"])


def scored_by_stages(folder: Path, files: ModelFiles, groups: list[tuple[str, list[str]]]) -> list[np.ndarray]:
    """The rewards that the stages `encode` and `score` give, on candidates with these prompts and texts."""
    places = {name: folder / name for name in ("pool", "tokens", "scores")}
    for place in places.values():
        place.mkdir()
    Candidates(places["pool"]).write(
        [
            dict.fromkeys(Candidates.columns, "")
            | {"problem": str(at), "prompt": prompt, "index": index, "text": text, "correct": False, "seen": False}
            for at, (prompt, texts) in enumerate(groups)
            for index, text in enumerate(texts)
        ]
    )
    spec = {"content": "candidates", "max_tokens": 4096, "text": "raw", "end_token": "none", "limit": None}
    stage(encode, places["tokens"], spec, tokenizer=files.tokenizer.parent, source=places["pool"])
    stage(score, places["scores"], {"precision": "fp32"}, checkpoint=files.model.parent, tokens=places["tokens"])
    found: dict[int, list[float]] = {}
    for row in Scores(places["scores"]).rows():
        found.setdefault(row["group"], []).append(row["score"])
    return [np.array(found[at]) for at in range(len(groups))]


def stage(module: Any, folder: Path, spec: dict[str, Any], **inputs: Path) -> None:
    log = EventLog(folder / "events.jsonl")
    given = {name: Given(directory=path) for name, path in inputs.items()}
    module.run(StageContext(spec=spec, inputs=given, directory=folder, events=log, how=HowToRun()))
    log.close()


@pytest.fixture(scope="module")
def out(folder: Path) -> Path:
    """What lm-eval wrote of options that are ranked and of answers that are picked."""
    tell = f"generator={folder / 'generator'},samples=5,temperature=1.0"
    arguments = asked(folder, "choices", "answers", tell=tell)
    made = folder / "out"
    code = run_command(
        ["lm-eval", str(folder / "model"), "--", *arguments, "--log_samples", "--output_path", str(made)]
    )
    assert code == 0
    return made


@pytest.fixture(scope="module")
def files(folder: Path) -> ModelFiles:
    return ModelFiles.of_folder("model", folder / "model", folder)


def test_options_are_ranked_by_the_rewards_of_the_stages(out: Path, files: ModelFiles, tmp_path: Path) -> None:
    groups = [(doc["question"], [f" {option}" for option in doc["options"]]) for doc in DOCS]
    rewards = scored_by_stages(tmp_path, files, groups)
    written = samples(out, "choices")
    values = np.array([[float(resp[0][0]) for resp in sample["resps"]] for sample in written])
    np.testing.assert_allclose(values, np.stack(rewards), rtol=0, atol=1e-5)
    picks = [int(one.argmax()) for one in rewards]
    assert len(set(picks)) > 1
    assert values.argmax(1).tolist() == picks
    (results,) = out.rglob("results_*.json")
    told = json.loads(results.read_text(encoding="utf-8"))
    expected = np.mean([pick == doc["gold"] for pick, doc in zip(picks, DOCS, strict=True)])
    assert told["results"]["choices"]["acc,none"] == pytest.approx(expected)
    assert told["config"]["model_args"]["pretrained"].endswith("model")


def test_answers_are_the_sampled_texts_of_highest_reward(
    folder: Path, out: Path, files: ModelFiles, tmp_path: Path
) -> None:
    prompts = [doc["question"] + "\n" for doc in DOCS]
    generator = TransformersGenerator(str(folder / "generator"), prompt_format="raw", dtype="fp32")
    sampling = Sampling(temperature=1.0, max_tokens=12)
    requests = [
        Request(
            id=f"{at}/{index}",
            prompt=prompt,
            seed=stream("lm-eval", 0, prompt, 0, index).getrandbits(63),
            sampling=sampling,
        )
        for at, prompt in enumerate(prompts)
        for index in range(5)
    ]
    texts = [one.text.partition("e")[0] for one in generator.generate(requests)]
    assert any("e" in one.text for one in generator.generate(requests)), "a stop sequence must have cut something"
    groups = [(prompt, texts[5 * at : 5 * at + 5]) for at, prompt in enumerate(prompts)]
    best = [
        pool[rewards.argmax()]
        for (_, pool), rewards in zip(groups, scored_by_stages(tmp_path, files, groups), strict=True)
    ]
    assert [sample["resps"][0][0] for sample in samples(out, "answers")] == best


def test_equal_rewards_win_equally_often(files: ModelFiles, tmp_path: Path) -> None:
    """Of four options with one reward each, every place wins about a quarter, the same again in another batch."""
    model = tmp_path / "model"
    model.mkdir()
    for path in files.model.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    head = load_file(model / "reward_head.safetensors")
    save_file({"weight": np.zeros_like(head["weight"])}, model / "reward_head.safetensors")
    flat = ModelFiles(name="flat", model=model, tokenizer=files.tokenizer, chat=files.chat)
    rewards = TextRewards(flat, text="raw", precision="fp32", max_tokens=None, device="cpu", rows=4)
    judge = RewardModelLM(rewards, None, seed=0)
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(f"{at}?", f" {option}"), idx=option)
        for at in range(200)
        for option in range(4)
    ]
    values = np.array([value for value, _ in judge.loglikelihood(requests)]).reshape(200, 4)
    assert np.abs(values).max() < 1e-300
    wins = Counter(values.argmax(1).tolist())
    assert set(wins) == {0, 1, 2, 3}
    assert max(wins.values()) < 75
    assert judge.loglikelihood(requests[:4]) == [(value, False) for value in values[0]]


def test_what_rewards_cannot_answer_is_refused_with_the_reason(shell: Shell, folder: Path) -> None:
    tasks = ("by_length", "by_itself", "of_prompts", "rolling", "answers")
    assert shell("lm-eval", folder / "model", "--", *asked(folder, *tasks)) == 2
    told = {name: line for line in shell.err.splitlines() for name in tasks if f"but {name} " in line}
    assert "divides by the option's length" in told["by_length"]
    assert "metrics=acc" in told["by_length"]
    assert "code of its own" in told["by_itself"]
    assert "two prompts do not compare" in told["of_prompts"]
    assert "gives no text a probability" in told["rolling"]
    assert "generator=FOLDER" in told["answers"]
    assert "Rewards:" not in shell.err
    assert shell("lm-eval", folder / "model", "--", *asked(folder, "by_length", tell="metrics=acc")) == 0
    assert "acc" in shell.out
    assert "acc_norm" not in shell.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tasks", "choices", "--limitt", "3"], "unrecognized arguments: --limitt"),
        ([], "No tasks specified"),
        (["--tasks", "nowhere"], "Tasks not found: nowhere"),
        (["--tasks", "choices", "--model", "hf"], "lm-eval's model is the reward model"),
        (["--tasks", "choices", "--model_args", "sample=3"], "`sample` of `--model_args`"),
        (["--tasks", "choices", "--model_args", "samples=0"], "greater than or equal to 1"),
        (["--tasks", "choices", "--model_args", "generator=nowhere"], "nowhere is not there"),
        (["--tasks", "choices", "--model_args", "max_tokens=100000"], "must not exceed the model's"),
        (["--tasks", "choices", "--apply_chat_template"], "use `--model_args text=chat`"),
    ],
)
def test_wrong_arguments_end_with_one_error(shell: Shell, folder: Path, arguments: list[str], told: str) -> None:
    given = ["--include_path", str(folder / "tasks"), *arguments]
    assert shell("lm-eval", folder / "model", "--", *given) == 2
    assert told in shell.err


def test_neither_a_folder_nor_a_workdir_is_one_error(shell: Shell, tmp_path: Path) -> None:
    assert shell("lm-eval", tmp_path / "model", "--workdir", tmp_path, "--", "--tasks", "choices") == 2
    assert "there is no folder" in shell.err


def test_without_its_package_there_is_one_error(shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert shell("lm-eval", folder / "model", "--", "--tasks", "choices") == 2
    assert shell.err.splitlines() == [
        "`harness lm-eval` needs lm_eval, but it is not installed; `pip install -e '.[lm-eval]'`"
    ]


def test_a_stage_picks_of_stored_candidates_as_its_scores_say(
    shell: Shell, finished: Workspace, tmp_path: Path
) -> None:
    (scores,) = [
        one for one in of_kind(finished, "score") if "rm+lm" in one.label and "on logic candidates" in one.label
    ]
    pool = scores.inputs["tokens"].stage.inputs["source"].stage
    texts: dict[str, list[str]] = {}
    for row in Candidates(folder_of(finished.store, pool)).rows():
        texts.setdefault(row["prompt"], []).append(row["text"])
    values: dict[int, list[float]] = {}
    for row in Scores(folder_of(finished.store, scores)).rows():
        values.setdefault(row["group"], []).append(row["score"])
    write_tasks(
        tmp_path / "tasks", [{"question": prompt.removesuffix("\n"), "options": ["a"], "gold": 0} for prompt in texts]
    )
    checkpoint = scores.inputs["checkpoint"].stage
    assert (
        shell(
            "lm-eval",
            f"{checkpoint.kind.name}/{checkpoint.fingerprint[:8]}",
            "--workdir",
            finished.workdir,
            "--",
            *asked(tmp_path, "answers", tell=f"candidates={pool.kind.name}/{pool.fingerprint[:8]}"),
            "--log_samples",
            "--output_path",
            tmp_path / "out",
        )
        == 0
    ), shell.err
    assert values
    for at, (sample, (prompt, candidates)) in enumerate(
        zip(samples(tmp_path / "out", "answers"), texts.items(), strict=True)
    ):
        assert sample["arguments"]["gen_args_0"]["arg_0"] == prompt
        rewards = values.get(at)
        if rewards is None:  # all right or all wrong: no stage scored them
            continue
        best = {candidates[at] for at in np.flatnonzero(np.isclose(rewards, max(rewards), rtol=0, atol=1e-6))}
        assert sample["resps"][0][0] in best


def test_a_head_that_was_never_trained_is_refused(shell: Shell, folder: Path, finished: Workspace) -> None:
    (base,) = of_kind(finished, "base")
    name = f"base/{base.fingerprint[:8]}"
    assert shell("lm-eval", name, "--workdir", finished.workdir, "--", *asked(folder, "choices")) == 2
    assert "was never trained" in shell.err

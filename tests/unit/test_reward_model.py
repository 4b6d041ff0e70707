"""The reward model: what it computes and leaves out, saving and loading, scoring."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from harness.errors import CorruptArtifact, DataError, MissingRequirement
from harness.models.losses import LossWeights, bradley_terry_sum
from harness.models.packing import collate, lm_target_count, pack
from harness.models.reward_model import DESCRIPTION_FILE, HEAD_FILE, RewardModel
from harness.models.scoring import score_groups
from harness.models.sources import load_causal_model, without_dropout
from harness.training.gradients import accumulate_gradients
from tests.toys.families import VOCABULARY, family_model
from tests.toys.unpacked import Memory, gradients, packed_result, plain_loss, random_groups


def test_equal_responses_of_a_group_are_scored_once_and_get_the_same_score() -> None:
    model = family_model("llama")
    rng = np.random.default_rng(2)
    prompt, one, other = (rng.integers(0, VOCABULARY, length) for length in (9, 5, 5))
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].tokens))
    (scores,) = score_groups(model, Memory([[prompt, one, other, one, one, other]]), [0], row_tokens=100)
    assert seen == [9 + 5 + 5]
    assert scores[0] == scores[2] == scores[3] != scores[1] == scores[4]


def test_a_large_pool_is_cut_into_rows_of_the_budget() -> None:
    model = family_model("llama")
    rng = np.random.default_rng(3)
    group = [rng.integers(0, VOCABULARY, length) for length in (8, *[6] * 40)]
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].tokens))
    score_groups(model, Memory([group]), [0], row_tokens=32)
    assert sum(seen) == 40 * 6 + 10 * 8
    assert max(seen) == 32


def test_other_groups_do_not_leak_in() -> None:
    model = family_model("llama")
    rng = np.random.default_rng(4)
    group, before, after = (random_groups(rng, 1, responses=(2,), longest=9)[0] for _ in range(3))
    reference = score_groups(model, Memory([group]), [0], row_tokens=1000)[0]
    for _ in range(3):
        others = [[rng.integers(0, VOCABULARY, len(part)) for part in other] for other in (before, after)]
        changed = score_groups(model, Memory([others[0], group, others[1]]), [0, 1, 2], row_tokens=1000)[1]
        np.testing.assert_allclose(changed, reference, rtol=1e-5)


def test_loss_weight_zero_computes_nothing() -> None:
    model = family_model("llama")
    groups = random_groups(np.random.default_rng(6), 10, responses=(1, 2))
    lengths = [[len(part) for part in group] for group in groups]

    only_lm = packed_result(model, groups, LossWeights(rm=0, lm=1), row_tokens=50, rows=1)
    assert (only_lm.loss_rm, only_lm.statistics) == (None, {})
    assert only_lm.work.tokens == sum(prompt + first for prompt, first, *_ in lengths), (
        "rejected responses are not packed"
    )
    assert "head.weight" not in gradients(model)
    assert only_lm.loss == pytest.approx(plain_loss(model, groups, LossWeights(rm=0, lm=1)).item(), rel=1e-5)

    only_rm = packed_result(model, groups, LossWeights(rm=1, lm=0), row_tokens=50, rows=1)
    assert only_rm.loss_lm is None
    assert only_rm.work.tokens == sum(sum(parts) for parts in lengths if len(parts) == 3), "texts are not packed"
    assert "backbone.lm_head.weight" not in gradients(model)
    assert only_rm.loss == pytest.approx(plain_loss(model, groups, LossWeights(rm=1, lm=0)).item(), rel=1e-5)


def test_batches_that_cannot_be_learned_from_are_refused() -> None:
    model = family_model("llama")
    text = [np.zeros(0, int), np.arange(5)]
    with pytest.raises(DataError, match="neither"):
        packed_result(model, [text], LossWeights(rm=1, lm=0), row_tokens=50, rows=1)
    with pytest.raises(DataError, match="one has 3"):
        packed_result(model, [[*text, np.arange(3), np.arange(4)]], LossWeights(rm=1, lm=0), row_tokens=50, rows=1)


@pytest.mark.parametrize("tie", [False, True])
def test_saved_models_come_back_bit_for_bit(tmp_path: Path, tie: bool) -> None:
    model = family_model("qwen2", tie=tie)
    model.has_head = True
    model.save(tmp_path / "a")
    loaded = RewardModel.load(tmp_path / "a")
    restored = family_model("qwen2", tie=tie, seed=5)
    restored.restore(tmp_path / "a")
    for other in (loaded, restored):
        assert other.has_head
        state = other.state_dict()
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert (restored.backbone.lm_head.weight is restored.backbone.model.embed_tokens.weight) == tie
    assert {path.suffix for path in (tmp_path / "a").iterdir()} == {".json", ".safetensors"}
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    assert torch.equal(plain.lm_head.weight, model.backbone.lm_head.weight)


def test_heads_are_seeded_and_fresh_until_trained(tmp_path: Path) -> None:
    model = family_model("llama")
    model.reset_head(1)
    first = model.head.weight.clone()
    model.reset_head(2)
    assert not torch.equal(model.head.weight, first)
    model.has_head = True
    model.reset_head(1)
    assert torch.equal(model.head.weight, first)
    assert not model.has_head
    model.save(tmp_path)
    assert not RewardModel.load(tmp_path).has_head


def test_broken_model_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingRequirement):
        load_causal_model(tmp_path / "nowhere")
    model = family_model("llama")
    model.save(tmp_path / "model")
    (tmp_path / "model" / HEAD_FILE).unlink()
    with pytest.raises(CorruptArtifact, match="head"):
        RewardModel.load(tmp_path / "model")
    model.save(tmp_path / "model")
    (tmp_path / "model" / DESCRIPTION_FILE).write_text(json.dumps({}))
    with pytest.raises(CorruptArtifact, match="head"):
        RewardModel.load(tmp_path / "model")


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    model = family_model("llama")
    model.backbone.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.backbone.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(MissingRequirement, match="safetensors"):
        load_causal_model(tmp_path)


def test_tiny_models_are_seeded_and_leave_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = family_model("llama", seed=1), family_model("llama", seed=1), family_model("llama", seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    key = "backbone.model.layers.1.mlp.up_proj.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_no_model_keeps_its_dropout() -> None:
    model = without_dropout(AutoModelForCausalLM.from_config(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=9)))
    model.train()
    ids = torch.arange(8)[None]
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_absolute_positions_are_followed_too() -> None:
    configuration = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=VOCABULARY, n_positions=64)
    model = RewardModel(AutoModelForCausalLM.from_config(configuration), head_seed=0)
    groups = random_groups(np.random.default_rng(8), 6, responses=(2,))
    result = packed_result(model, groups, LossWeights(rm=1, lm=1), row_tokens=60, rows=2)
    assert result.loss == pytest.approx(plain_loss(model, groups, LossWeights(rm=1, lm=1)).item(), rel=1e-5)


def test_bf16_moves_scores_only_a_little_and_keeps_the_head_in_fp32() -> None:
    model = family_model("llama")
    groups = random_groups(np.random.default_rng(9), 6, responses=(3,))
    exact = np.concatenate(score_groups(model, Memory(groups), range(6), row_tokens=64))
    rounded = np.concatenate(score_groups(model, Memory(groups), range(6), row_tokens=64, precision="bf16"))
    assert 0 < np.abs(exact - rounded).max() < 0.1 * np.abs(exact).max()
    batch = collate(pack(groups, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(batch, rewards=True, lm_loss="token")
    assert (outputs.rewards.dtype, outputs.lm_loss.dtype) == (torch.float32, torch.float32)


def test_weights_cast_once_a_step_give_the_bits_of_weights_cast_every_time() -> None:
    once, each = family_model("llama"), family_model("llama")
    groups = random_groups(np.random.default_rng(10), 8, responses=(2,))
    loss = LossWeights(rm=1, lm=1)
    targets = sum(map(lm_target_count, groups))
    accumulate_gradients(once, groups, loss=loss, row_tokens=50, rows_per_micro_batch=1, precision="bf16")
    for row in pack(groups, 50):
        batch = collate([row])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = each(batch, rewards=True, lm_loss="token")
        second = np.flatnonzero(batch.responses[:, 1])
        pair_loss = bradley_terry_sum(outputs.rewards[second - 1], outputs.rewards[second])
        torch.autograd.backward([pair_loss / len(groups) + outputs.lm_loss / targets])
    expected = gradients(each)
    assert all(torch.equal(gradient, expected[name]) for name, gradient in gradients(once).items())

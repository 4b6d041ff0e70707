"""Packed rewards, losses and gradients against each sequence computed alone; saving and loading; scoring."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, MistralConfig

from harness.errors import CorruptArtifact, DataError, MissingRequirement, RecipeError
from harness.models.losses import LossWeights
from harness.models.packing import collate, pack
from harness.models.reward_model import DESCRIPTION_FILE, HEAD_FILE, RewardModel
from harness.models.scoring import score_groups
from harness.models.sources import Family, load_causal_model, tiny_model, without_dropout
from harness.training.gradients import BatchResult, accumulate_gradients

VOCABULARY = 61
FAMILIES: list[Family] = ["llama", "qwen2"]
Groups = list[list[np.ndarray]]


class Memory:
    """Groups held in memory."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def group(self, index: int, /) -> list[np.ndarray]:
        return self.groups[index]


def build(family: Family, *, tie: bool = False, seed: int = 0) -> RewardModel:
    backbone = tiny_model(
        family,
        vocabulary=VOCABULARY,
        hidden_size=32,
        layers=2,
        heads=4,
        key_value_heads=2,
        intermediate_size=48,
        max_positions=128,
        tie_embeddings=tie,
        seed=seed,
    )
    model = RewardModel(backbone, head_seed=seed)
    # Fresh weights are so small that attention is nearly uniform: enlarged, a leak or a wrong position shows at once.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
    return model


def in_double(model: RewardModel) -> RewardModel:
    """The model in fp64 throughout: transformers' RMS norms compute in fp32 whatever they are given."""

    def replace(module: nn.Module) -> None:
        for name, child in module.named_children():
            if type(child).__name__.endswith("RMSNorm"):
                weight, epsilon = child.weight, child.variance_epsilon
                assert isinstance(weight, nn.Parameter)
                assert isinstance(epsilon, float)
                norm = nn.RMSNorm(weight.shape, eps=epsilon)
                norm.weight = weight
                setattr(module, name, norm)
            else:
                replace(child)

    replace(model)
    return model.double()


def random_groups(rng: np.random.Generator, count: int, responses: Sequence[int], longest: int = 14) -> Groups:
    """Lengths of every kind: empty prompts, empty responses, one-token responses."""
    groups = []
    for _ in range(count):
        prompt = int(rng.choice([0, 1, int(rng.integers(2, longest))]))  # a third of each kind
        shortest = 1 if prompt == 0 else 0
        lengths = [
            int(rng.choice([shortest, 1, int(rng.integers(2, longest))]))
            for _ in range(int(rng.choice(list(responses))))
        ]
        groups.append([rng.integers(0, VOCABULARY, length) for length in (prompt, *lengths)])
    return groups


def alone(model: RewardModel, prompt: np.ndarray, response: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Reward and summed LM loss of one sequence through the plain transformers model."""
    ids = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
    output = model.backbone(input_ids=ids, output_hidden_states=True)
    reward = functional.linear(output.hidden_states[-1][0, -1].to(model.head.weight.dtype), model.head.weight)[0]
    first = max(len(prompt), 1)
    lm_loss = functional.cross_entropy(output.logits[0, first - 1 : -1], ids[0, first:], reduction="sum")
    return reward, lm_loss


def plain_loss(model: RewardModel, groups: Groups, loss: LossWeights) -> torch.Tensor:
    """The training objective written down naively, one sequence at a time."""
    preference, lm_losses, targets = [], [], 0
    for prompt, *responses in groups:
        rewards, losses = zip(*(alone(model, prompt, response) for response in responses), strict=True)
        lm_losses.append(losses[0])
        targets += len(responses[0]) - (1 if len(prompt) == 0 else 0)
        if len(responses) == 2:
            preference.append(-functional.logsigmoid(rewards[0] - rewards[1] - loss.margin))
    total = torch.zeros((), dtype=model.head.weight.dtype)
    if loss.rm:
        total = total + loss.rm * torch.stack(preference).mean()
    if loss.lm:
        total = total + loss.lm * torch.stack(lm_losses).sum() / targets
    return total


def gradients(model: RewardModel) -> dict[str, torch.Tensor]:
    """Gradients by name, without those that were not computed; the model's are cleared."""
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    """Each gradient within `tolerance` of the expected one's norm."""
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert (gradient - expected[name]).norm() <= tolerance * expected[name].norm(), name


def packed_result(model: RewardModel, groups: Groups, loss: LossWeights, row_tokens: int, rows: int) -> BatchResult:
    return accumulate_gradients(model, groups, loss=loss, row_tokens=row_tokens, rows_per_micro_batch=rows)


@pytest.mark.parametrize("double", [False, True], ids=["fp32", "fp64"])
@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_training_equals_one_sequence_at_a_time(family: Family, tie: bool, double: bool) -> None:
    tolerance = 1e-10 if double else 1e-5
    model = build(family, tie=tie)
    model = in_double(model) if double else model
    for seed, loss in enumerate([LossWeights(rm=1, lm=1), LossWeights(rm=0.7, lm=0.2, margin=0.3)]):
        groups = random_groups(np.random.default_rng(seed), 12, responses=(1, 2, 2))
        plain = plain_loss(model, groups, loss)
        torch.autograd.backward([plain])
        expected = gradients(model)
        for row_tokens, rows in [(1, 1), (40, 1), (40, 3), (10_000, 2)]:
            result = packed_result(model, groups, loss, row_tokens, rows)
            assert result.loss == pytest.approx(plain.item(), rel=tolerance)
            assert result.loss_rm is not None
            assert result.loss_lm is not None
            assert result.loss == pytest.approx(loss.rm * result.loss_rm + loss.lm * result.loss_lm, rel=1e-12)
            assert_close(gradients(model), expected, tolerance)


@pytest.mark.parametrize("double", [False, True], ids=["fp32", "fp64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_groups_equal_each_sequence_alone(family: Family, double: bool) -> None:
    model = build(family)
    model = in_double(model) if double else model
    groups = random_groups(np.random.default_rng(1), 20, responses=(1, 2, 5, 9))
    with torch.no_grad():
        expected = [[alone(model, group[0], response)[0].item() for response in group[1:]] for group in groups]
    scale = np.abs(np.concatenate(expected)).max()
    rows = [3, 19, 0, 3, *range(20)]
    for row_tokens, per_batch in [(1, 1), (30, 1), (30, 4), (5000, 1)]:
        steps: list[int] = []
        scores = score_groups(
            model,
            Memory(groups),
            rows,
            row_tokens=row_tokens,
            rows_per_micro_batch=per_batch,
            progress=lambda *done_and_total: steps.extend(done_and_total),  # noqa: B023
        )
        assert [score.dtype for score in scores] == [np.float64] * len(rows)
        for row, score in zip(rows, scores, strict=True):
            np.testing.assert_allclose(score, expected[row], rtol=0, atol=scale * (1e-10 if double else 1e-5))
        assert steps == [len(rows), len(rows)]


def test_equal_responses_of_a_group_are_scored_once_and_get_the_same_score() -> None:
    model = build("llama")
    rng = np.random.default_rng(2)
    prompt, one, other = (rng.integers(0, VOCABULARY, length) for length in (9, 5, 5))
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].tokens))
    (scores,) = score_groups(model, Memory([[prompt, one, other, one, one, other]]), [0], row_tokens=100)
    assert seen == [9 + 5 + 5]
    assert scores[0] == scores[2] == scores[3] != scores[1] == scores[4]


def test_a_large_pool_is_cut_into_rows_of_the_budget() -> None:
    model = build("llama")
    rng = np.random.default_rng(3)
    group = [rng.integers(0, VOCABULARY, length) for length in (8, *[6] * 40)]
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].tokens))
    score_groups(model, Memory([group]), [0], row_tokens=32)
    assert sum(seen) == 40 * 6 + 10 * 8
    assert max(seen) == 32


def test_other_groups_do_not_leak_in() -> None:
    model = build("llama")
    rng = np.random.default_rng(4)
    group, before, after = (random_groups(rng, 1, responses=(2,), longest=9)[0] for _ in range(3))
    reference = score_groups(model, Memory([group]), [0], row_tokens=1000)[0]
    for _ in range(3):
        others = [[rng.integers(0, VOCABULARY, len(part)) for part in other] for other in (before, after)]
        changed = score_groups(model, Memory([others[0], group, others[1]]), [0, 1, 2], row_tokens=1000)[1]
        np.testing.assert_allclose(changed, reference, rtol=1e-5)


def test_soft_capped_models_work_through_eager_attention(tmp_path: Path) -> None:
    configuration = Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
        sliding_window=64,
    )
    AutoModelForCausalLM.from_config(configuration).save_pretrained(tmp_path)
    model = RewardModel(load_causal_model(tmp_path), head_seed=0)
    assert model.backbone.config._attn_implementation == "eager"
    groups = random_groups(np.random.default_rng(5), 8, responses=(2,))
    loss = LossWeights(rm=1, lm=1)
    plain = plain_loss(model, groups, loss)
    torch.autograd.backward([plain])
    expected = gradients(model)
    result = packed_result(model, groups, loss, row_tokens=60, rows=2)
    assert result.loss == pytest.approx(plain.item(), rel=1e-5)
    assert_close(gradients(model), expected, tolerance=1e-5)


def test_a_sequence_longer_than_the_sliding_window_is_refused() -> None:
    configuration = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        sliding_window=16,
    )
    model = RewardModel(AutoModelForCausalLM.from_config(configuration), head_seed=0)
    ids = np.arange(20)
    # two sequences of 16 fill a row beyond the window; one of 17 does not fit it
    score_groups(model, Memory([[ids[:10], ids[:6], ids[3:9]]]), [0], row_tokens=64)
    with pytest.raises(RecipeError, match="17 tokens and the window 16"):
        score_groups(model, Memory([[ids[:10], ids[:7]]]), [0], row_tokens=64)


def test_loss_weight_zero_computes_nothing() -> None:
    model = build("llama")
    groups = random_groups(np.random.default_rng(6), 10, responses=(1, 2))
    lengths = [[len(part) for part in group] for group in groups]

    only_lm = packed_result(model, groups, LossWeights(rm=0, lm=1), row_tokens=50, rows=1)
    assert (only_lm.loss_rm, only_lm.chosen.size) == (None, 0)
    assert only_lm.tokens == sum(prompt + first for prompt, first, *_ in lengths), "rejected responses are not packed"
    assert "head.weight" not in gradients(model)
    assert only_lm.loss == pytest.approx(plain_loss(model, groups, LossWeights(rm=0, lm=1)).item(), rel=1e-5)

    only_rm = packed_result(model, groups, LossWeights(rm=1, lm=0), row_tokens=50, rows=1)
    assert only_rm.loss_lm is None
    assert only_rm.tokens == sum(sum(parts) for parts in lengths if len(parts) == 3), "texts are not packed"
    assert "backbone.lm_head.weight" not in gradients(model)
    assert only_rm.loss == pytest.approx(plain_loss(model, groups, LossWeights(rm=1, lm=0)).item(), rel=1e-5)


def test_batches_that_cannot_be_learned_from_are_refused() -> None:
    model = build("llama")
    text = [np.zeros(0, int), np.arange(5)]
    with pytest.raises(DataError, match="neither"):
        packed_result(model, [text], LossWeights(rm=1, lm=0), row_tokens=50, rows=1)
    with pytest.raises(DataError, match="one has 3"):
        packed_result(model, [[*text, np.arange(3), np.arange(4)]], LossWeights(rm=1, lm=0), row_tokens=50, rows=1)


@pytest.mark.parametrize("tie", [False, True])
def test_saved_models_come_back_bit_for_bit(tmp_path: Path, tie: bool) -> None:
    model = build("qwen2", tie=tie)
    model.has_head = True
    model.save(tmp_path / "a")
    loaded = RewardModel.load(tmp_path / "a")
    restored = build("qwen2", tie=tie, seed=5)
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
    model = build("llama")
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
    model = build("llama")
    model.save(tmp_path / "model")
    (tmp_path / "model" / HEAD_FILE).unlink()
    with pytest.raises(CorruptArtifact, match="head"):
        RewardModel.load(tmp_path / "model")
    model.save(tmp_path / "model")
    (tmp_path / "model" / DESCRIPTION_FILE).write_text(json.dumps({}))
    with pytest.raises(CorruptArtifact, match="head"):
        RewardModel.load(tmp_path / "model")


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    model = build("llama")
    model.backbone.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.backbone.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(MissingRequirement, match="safetensors"):
        load_causal_model(tmp_path)


def test_tiny_models_are_seeded_and_leave_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = build("llama", seed=1), build("llama", seed=1), build("llama", seed=2)
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
    model = build("llama")
    groups = random_groups(np.random.default_rng(9), 6, responses=(3,))
    exact = np.concatenate(score_groups(model, Memory(groups), range(6), row_tokens=64))
    rounded = np.concatenate(score_groups(model, Memory(groups), range(6), row_tokens=64, precision="bf16"))
    assert 0 < np.abs(exact - rounded).max() < 0.1 * np.abs(exact).max()
    batch = collate(pack(groups, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(batch, rewards=True, lm_loss=True)
    assert (outputs.rewards.dtype, outputs.lm_loss.dtype) == (torch.float32, torch.float32)

"""Packed scores, losses and gradients equal each sequence alone in plain transformers, in every decoder family."""

from __future__ import annotations

import itertools
import shutil
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Cohere2Config

from harness.errors import RecipeError
from harness.models.attention import PIECES, block_mask
from harness.models.losses import LossWeights
from harness.models.packing import collate, pack
from harness.models.reward_model import RewardModel
from harness.models.scoring import score_groups
from tests.toys.families import (
    FAMILIES,
    VOCABULARY,
    WINDOW,
    exact_eager_attention,
    family_configuration,
    family_model,
    in_double,
)
from tests.toys.unpacked import Groups, Memory, alone, assert_close, gradients, packed_result, plain_loss, random_groups

LONGEST = 3 * WINDOW
"""Tokens of a prompt or a response: sequences reach six windows."""

RUNTIMES = [(1, 1), (40, 3), (10_000, 2)]
"""Row budgets and rows of a micro-batch: a pair a row; several rows at once; all in one row."""

LOSSES = [
    LossWeights(rm=1, lm=1),
    LossWeights(rm=0.7, lm=0.2, margin=0.3),
    LossWeights(rm=1, lm=1, lm_normalization="sequence"),
]


@cache
def model_of(family: str, double: bool, tie: bool) -> RewardModel:
    model = family_model(family, tie=tie)
    return in_double(model) if double else model


@st.composite
def batches(draw: st.DrawFn) -> Groups:
    """Pairs and texts of random lengths, empty prompts and responses of one token among them."""
    lengths = draw(
        st.lists(
            st.tuples(st.integers(0, LONGEST), st.lists(st.integers(1, LONGEST), min_size=1, max_size=2)),
            min_size=1,
            max_size=7,
        )
    )
    lengths.append((draw(st.integers(0, LONGEST)), [draw(st.integers(2, LONGEST)), draw(st.integers(1, LONGEST))]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return [[rng.integers(0, VOCABULARY, length) for length in (prompt, *responses)] for prompt, responses in lengths]


@pytest.mark.sampled(
    ("tie", "double"), list(itertools.product((False, True), repeat=2)), [(False, True), (True, False)]
)
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=5, deadline=None)
@given(groups=batches(), loss=st.sampled_from(LOSSES))
def test_training(family: str, tie: bool, double: bool, groups: Groups, loss: LossWeights) -> None:
    tolerance = 1e-10 if double else 1e-5
    model = model_of(family, double, tie)
    with exact_eager_attention() if double else nullcontext():
        plain = plain_loss(model, groups, loss)
        torch.autograd.backward([plain])
        expected = gradients(model)
        for row_tokens, rows in RUNTIMES:
            result = packed_result(model, groups, loss, row_tokens, rows)
            assert result.loss == pytest.approx(plain.item(), rel=tolerance)
            assert_close(gradients(model), expected, tolerance)


@pytest.mark.parametrize("double", [False, True], ids=["fp32", "fp64"])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=5, deadline=None)
@given(groups=batches())
def test_scores(family: str, double: bool, groups: Groups) -> None:
    model = model_of(family, double, tie=False)
    rows = [len(groups) - 1, 0, *range(len(groups))]
    with exact_eager_attention() if double else nullcontext(), torch.no_grad():
        expected = [[alone(model, group[0], response)[0].item() for response in group[1:]] for group in groups]
        scale = np.abs(np.concatenate(expected)).max()
        for row_tokens, per_batch in RUNTIMES:
            steps: list[int] = []
            scores = score_groups(
                model,
                Memory(groups),
                rows,
                row_tokens=row_tokens,
                rows_per_micro_batch=per_batch,
                progress=lambda *done_and_total: steps.extend(done_and_total),  # noqa: B023
            )
            assert steps == [len(rows), len(rows)]
            assert [score.dtype for score in scores] == [np.float64] * len(rows)
            for row, score in zip(rows, scores, strict=True):
                np.testing.assert_allclose(score, expected[row], rtol=0, atol=scale * (1e-10 if double else 1e-5))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("llama", "qwen2", "qwen3")])
def test_the_window_of_these_models_matters(family: str) -> None:
    narrow, wide = family_model(family), family_model(family, window=100)
    groups = random_groups(np.random.default_rng(0), 20, responses=(2,), longest=LONGEST)
    scores = [
        np.concatenate(score_groups(model, Memory(groups), range(20), row_tokens=100)) for model in (narrow, wide)
    ]
    assert np.abs(scores[0] - scores[1]).max() > 0.01 * np.abs(scores[0]).max()


@pytest.mark.skipif(shutil.which("g++") is None, reason="FlexAttention on a CPU is compiled by g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral"])
def test_flex_attention_computes_the_same_forward(family: str) -> None:
    model = family_model(family)
    batch = collate(pack(random_groups(np.random.default_rng(0), 9, responses=(1, 2, 2), longest=LONGEST), 160))
    with torch.no_grad():
        expected = model(batch, rewards=True, lm_loss="token")
        model.backbone.set_attn_implementation("flex_attention")
        found = model(batch, rewards=True, lm_loss="token")
    assert (found.rewards - expected.rewards).abs().max() <= 1e-5 * expected.rewards.abs().max()
    assert found.lm_loss.item() == pytest.approx(expected.lm_loss.item(), rel=1e-5)
    model.use_attention_of("cpu")
    assert model.backbone.config._attn_implementation == ("eager" if family == "gemma2" else PIECES)


@pytest.mark.parametrize("window", [None, 1, 4, 30])
def test_the_block_mask_is_the_boolean_mask(window: int | None) -> None:
    batch = collate(pack(random_groups(np.random.default_rng(1), 20, responses=(1, 2, 3), longest=40), 200))
    blocks = block_mask(batch, window)
    rows, tokens = batch.segments.shape
    queries, keys = torch.meshgrid(torch.arange(tokens), torch.arange(tokens), indexing="ij")
    for row in range(rows):
        visible = blocks.mask_mod(torch.tensor(row), torch.tensor(0), queries, keys)
        assert torch.equal(visible, batch.mask(window)[row, 0])


def test_soft_capped_models_load_with_eager_attention(tmp_path: Path) -> None:
    family_model("gemma2").save(tmp_path)
    loaded = RewardModel.load(tmp_path)
    assert loaded.backbone.config._attn_implementation == "eager"


def test_attention_that_computes_another_model_is_refused() -> None:
    with pytest.raises(RecipeError, match="leaves the cap out"):
        family_model("gemma2", attention="sdpa")
    configuration = family_configuration("gemma3")
    configuration.use_bidirectional_attention = True
    with pytest.raises(RecipeError, match="looks ahead"):
        RewardModel(AutoModelForCausalLM.from_config(configuration), head_seed=0)


def test_an_unknown_model_with_a_window_takes_sequences_that_fit_it() -> None:
    configuration = Cohere2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
        logit_scale=1.0,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = RewardModel(AutoModelForCausalLM.from_config(configuration), head_seed=0)
    ids = np.arange(20)
    # two sequences of 16 fill a row beyond the window; one of 17 does not fit it
    score_groups(model, Memory([[ids[:10], ids[:6], ids[3:9]]]), [0], row_tokens=64)
    with pytest.raises(RecipeError, match="17 tokens and the window of cohere2 16"):
        score_groups(model, Memory([[ids[:10], ids[:7]]]), [0], row_tokens=64)

"""Attention written out for short pieces: SDPA's values and gradients, its error in bf16, and when it is taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from harness.models import short_attention
from harness.models.losses import LossWeights
from harness.models.reward_model import Precision
from harness.training.gradients import accumulate_gradients
from tests.toys.families import family_model
from tests.toys.unpacked import random_groups

Sides = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def sides(rng: torch.Generator, parts: int, heads: int, shared: int, queries: int, keys: int, size: int) -> Sides:
    """Query, key and value as a model lays them out: heads beside one another."""

    def draw(count: int, tokens: int) -> torch.Tensor:
        drawn = torch.randn(parts, tokens, count, size, generator=rng).transpose(1, 2)
        return drawn.requires_grad_()

    return draw(heads * shared, queries), draw(heads, keys), draw(heads, keys)


def prompt_and_itself(rng: torch.Generator, parts: int, queries: int, keys: int) -> torch.Tensor:
    """Whom a response's tokens see; of each part some keys are pads, which nobody sees."""
    seen = torch.arange(keys) <= torch.arange(queries)[:, None] + keys - queries
    pads = torch.randint(0, keys - queries + 1, (parts,), generator=rng)
    return (seen & (torch.arange(keys) >= pads[:, None, None])).unsqueeze(1)


def by_sdpa(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float | None = None
) -> torch.Tensor:
    shared = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def derived(output: torch.Tensor, of: Sides, rng: torch.Generator) -> list[torch.Tensor]:
    """The output, and the gradient of each side where the output's is drawn."""
    gradient = torch.randn(output.shape, generator=rng).to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, of, gradient)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    parts=st.integers(1, 3),
    heads=st.integers(1, 3),
    shared=st.integers(1, 3),
    queries=st.integers(1, 20),
    before=st.integers(0, 20),
    size=st.sampled_from([4, 16]),
    scale=st.sampled_from([None, 0.3]),
)
def test_values_and_gradients_are_those_of_sdpa(
    seed: int, parts: int, heads: int, shared: int, queries: int, before: int, size: int, scale: float | None
) -> None:
    rng = torch.Generator().manual_seed(seed)
    ours = sides(rng, parts, heads, shared, queries, queries + before, size)
    mask = prompt_and_itself(rng, parts, queries, queries + before)
    theirs = [
        derived(compute(*ours, mask, scale), ours, torch.Generator().manual_seed(seed))
        for compute in (by_sdpa, short_attention.attention)
    ]
    for expected, found in zip(*theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("queries", "keys"), [(40, 40), (60, 100), (100, 250)])
def test_in_bf16_it_is_as_far_from_the_truth_as_sdpa(queries: int, keys: int) -> None:
    rng = torch.Generator().manual_seed(0)
    exact = sides(rng, 4, 3, 3, queries, keys, 64)
    mask = prompt_and_itself(rng, 4, queries, keys)
    truth = derived(by_sdpa(*exact, mask), exact, torch.Generator().manual_seed(1))
    errors = []
    for compute in (by_sdpa, short_attention.attention):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = compute(*exact, mask)
        assert output.dtype == torch.bfloat16
        found = derived(output, exact, torch.Generator().manual_seed(1))
        assert {one.dtype for one in found[1:]} == {torch.float32}  # as what they are the gradients of
        errors.append([(one - true).norm() / true.norm() for one, true in zip(found, truth, strict=True)])
    assert max(errors[1]) < 1.25 * max(errors[0]) < 0.01


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3", "mistral"])
def test_a_step_in_bf16_is_as_close_to_fp32_as_with_sdpa(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = random_groups(np.random.default_rng(3), 12, responses=(2,), longest=30)

    def gradients(precision: Precision) -> torch.Tensor:
        model = family_model(family)
        loss = LossWeights(rm=1, lm=1)
        accumulate_gradients(model, groups, loss=loss, row_tokens=128, rows_per_micro_batch=2, precision=precision)
        return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])

    exact, short = gradients("fp32"), gradients("bf16")
    monkeypatch.setattr(short_attention, "LARGEST", 0)
    assert torch.equal(gradients("fp32"), exact), "fp32 is SDPA's all the same"
    by_sdpa = gradients("bf16")
    assert not torch.equal(short, by_sdpa), "it was taken"
    assert (short - exact).norm() < 1.25 * (by_sdpa - exact).norm()


def test_it_is_taken_for_short_pieces_that_are_differentiated_in_bf16() -> None:
    rng = torch.Generator().manual_seed(0)
    query, key, _ = sides(rng, 1, 1, 1, 200, 200, 4)
    assert not short_attention.is_faster(query, key), "fp32"
    assert short_attention.is_faster(query.bfloat16(), key.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert short_attention.is_faster(query, key)
        assert not short_attention.is_faster(query, torch.cat([key, key], dim=2)), "long"
        assert not short_attention.is_faster(query.detach(), key.detach()), "no gradient"
        with torch.no_grad():
            assert not short_attention.is_faster(query, key)
    with torch.autocast("cpu", dtype=torch.float16):
        assert not short_attention.is_faster(query, key)

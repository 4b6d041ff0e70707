"""Losses against their definitions, and pair statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.models.losses import (
    PAIR_SUMS,
    POSITIONS_AT_ONCE,
    VOCABULARY_AT_ONCE,
    bradley_terry_sum,
    lm_cross_entropy_sum,
    pair_statistics,
    pair_sums,
)


def test_bradley_terry_is_minus_log_of_the_preference_probability() -> None:
    chosen, rejected = torch.tensor([1.0, -0.5, 2.0]), torch.tensor([0.0, 0.5, 2.0])
    expected = sum(-math.log(1 / (1 + math.exp(-(c - r - 0.25)))) for c, r in [(1, 0), (-0.5, 0.5), (2, 2)])
    assert bradley_terry_sum(chosen, rejected, margin=0.25).item() == pytest.approx(expected, rel=1e-6)


def test_bradley_terry_stays_finite_for_extreme_rewards() -> None:
    chosen = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = bradley_terry_sum(chosen, torch.tensor([1e4, -1e4]))
    torch.autograd.backward([loss])
    assert loss.item() == pytest.approx(2e4)
    assert chosen.grad is not None
    assert chosen.grad.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("positions", [1, POSITIONS_AT_ONCE, POSITIONS_AT_ONCE + 88])
@pytest.mark.parametrize("vocabulary", [33, VOCABULARY_AT_ONCE, VOCABULARY_AT_ONCE + 5])
def test_tiled_cross_entropy_equals_the_plain_one(
    softcap: float | None, with_bias: bool, weighted: bool, positions: int, vocabulary: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (
        torch.randn(size, 4, dtype=torch.float64, generator=generator) for size in (positions, vocabulary)
    )
    labels = torch.randint(vocabulary, (positions,), generator=generator)
    labels[0] = vocabulary - 1
    inputs = [hidden, weight]
    if with_bias:
        inputs.append(torch.randn(vocabulary, dtype=torch.float64, generator=generator))
    for tensor in inputs:
        tensor.requires_grad_()
    logits = functional.linear(*inputs)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    weights = torch.rand(positions, dtype=torch.float64, generator=generator) if weighted else torch.ones(positions)
    plain = functional.cross_entropy(logits, labels, reduction="none") @ weights.double()
    tiled = lm_cross_entropy_sum(
        hidden,
        labels,
        weight,
        inputs[2] if with_bias else None,
        softcap=softcap,
        position_weights=weights if weighted else None,
    )
    torch.testing.assert_close(tiled, plain, rtol=1e-12, atol=0)
    for ours, theirs in zip(
        torch.autograd.grad(tiled * 0.3, inputs), torch.autograd.grad(plain * 0.3, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_tiled_cross_entropy_gives_gradients_only_where_asked() -> None:
    hidden = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 5])
    torch.autograd.backward([lm_cross_entropy_sum(hidden, labels, weight)])
    assert weight.grad is None
    assert hidden.grad is not None
    with torch.no_grad():
        assert not lm_cross_entropy_sum(hidden, labels, weight).requires_grad


def test_tiled_cross_entropy_of_no_positions_is_zero() -> None:
    hidden = torch.empty(0, 4, requires_grad=True)
    loss = lm_cross_entropy_sum(hidden, torch.empty(0, dtype=torch.int64), torch.ones(6, 4))
    torch.autograd.backward([loss])
    assert loss.item() == 0.0


def test_tiled_cross_entropy_sums_in_fp32_under_bf16_autocast() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(size, 16, generator=generator, requires_grad=True) for size in (64, 50))
    labels = torch.randint(50, (64,), generator=generator)
    exact = functional.cross_entropy(hidden @ weight.t(), labels, reduction="sum")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = lm_cross_entropy_sum(hidden, labels, weight)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)
    for ours, theirs in zip(
        torch.autograd.grad(rounded, [hidden, weight]), torch.autograd.grad(exact, [hidden, weight]), strict=True
    ):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_pair_statistics_count_ties_half() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0, 2.0, -1.0]), torch.tensor([0.0, 0.0, 3.0, -3.0])
    turned = torch.tensor([True, True, False, False])
    parts = [pair_sums(chosen[part], rejected[part], turned[part]) for part in (slice(1), slice(1, 4))]
    values = pair_statistics(sum(parts, torch.zeros(PAIR_SUMS)).numpy())
    assert values["accuracy"] == 2.5 / 4
    assert values["label_accuracy"] == 1.5 / 4
    assert values["margin"] == pytest.approx((1 + 0 - 1 + 2) / 4)
    assert values["reward_mean"] == pytest.approx(2 / 8)
    assert values["reward_std"] == pytest.approx(np.std([1, 0, 2, -1, 0, 0, 3, -3]))

"""FlexAttention and Liger's loss on a GPU against plain attention and plain cross-entropy, gradients included."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.models.losses import LossWeights, lm_cross_entropy_sum
from harness.models.reward_model import RewardModel
from harness.training.gradients import accumulate_gradients
from harness.training.parallel import Parallel
from tests.toys.families import VOCABULARY, family_model
from tests.toys.unpacked import assert_close, gradients, random_groups

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def wide(family: str) -> RewardModel:
    """FlexAttention's kernels want heads of 16 channels."""
    sizes = {"hidden_size": 64} if family in ("llama", "mistral") else {"head_dim": 16}
    return family_model(family, **sizes)


@pytest.mark.filterwarnings("ignore")  # what torch's compiler says of itself
@pytest.mark.parametrize("family", ["llama", "qwen3-window", "gemma2", "gemma3", "mistral"])
def test_flex_attention_trains_as_plain_attention_does(family: str) -> None:
    loss = LossWeights(rm=1, lm=1)
    groups = random_groups(np.random.default_rng(0), 12, responses=(2,), longest=27)
    model = wide(family)
    expected_result = accumulate_gradients(model, groups, loss=loss, row_tokens=128, rows_per_micro_batch=2)
    expected = gradients(model)
    model.to("cuda").use_attention_of("cuda")
    assert model.backbone.config._attn_implementation == "flex_attention"
    gpu = Parallel(torch.device("cuda"))
    result = accumulate_gradients(model, groups, loss=loss, row_tokens=128, rows_per_micro_batch=2, parallel=gpu)
    assert result.loss == pytest.approx(expected_result.loss, rel=1e-4)
    assert_close({name: gradient.cpu() for name, gradient in gradients(model).items()}, expected, 1e-3)


@pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is None, reason="Liger Kernel is not installed")
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_ligers_loss_is_the_loss(softcap: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(size, 64, generator=generator) for size in (200, VOCABULARY))
    labels = torch.randint(VOCABULARY, (200,), generator=generator)
    results = []
    for device in ("cpu", "cuda"):
        inputs = [tensor.to(device).requires_grad_() for tensor in (hidden, weight)]
        total = lm_cross_entropy_sum(inputs[0], labels.to(device), inputs[1], softcap=softcap)
        results.append([total.cpu(), *(gradient.cpu() for gradient in torch.autograd.grad(total, inputs))])
    logits = functional.linear(hidden, weight)
    capped = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    torch.testing.assert_close(
        results[1][0], functional.cross_entropy(capped, labels, reduction="sum"), rtol=1e-3, atol=0
    )
    for ours, ligers in zip(*results, strict=True):
        torch.testing.assert_close(ligers, ours, rtol=1e-2, atol=1e-3)

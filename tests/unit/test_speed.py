"""Arithmetic of a training step, against a count of what the model really multiplies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.models.losses import LossWeights
from harness.models.packing import collate, lm_target_count, pack
from harness.training.speed import TrainingCost, Work, attended_pairs, matmul_peak
from tests.toys.families import family_model
from tests.toys.unpacked import packed_result, random_groups


def test_attended_pairs_are_what_the_mask_lets_through() -> None:
    groups = random_groups(np.random.default_rng(0), 30, responses=(1, 2, 4))
    batch = collate(pack(groups, 10_000))
    padding = batch.input_ids.numel() - batch.tokens
    assert sum(map(attended_pairs, groups)) == int(batch.mask().sum()) - padding


@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_count_is_that_of_the_products_made(family: str, tie: bool) -> None:
    model = family_model(family, tie=tie, attention="eager")  # the counter does not look into SDPA on CPUs
    group = [np.arange(0), np.arange(40)]  # one sequence that fills its row: no padding; its mask hides half
    cost = TrainingCost.of(model, frozen_backbone=False)
    with FlopCounterMode(display=False) as counter:
        packed_result(model, [group], LossWeights(rm=0, lm=1), row_tokens=40, rows=1)
    # Made, but no work: attention to tokens ahead, logits a second time, rotary angles.
    products = cost.flop(Work(tokens=40, targets=39, attended_pairs=40 * 40)) + cost.per_target * 39
    assert counter.get_total_flops() == pytest.approx(products, rel=0.02)


def test_a_batch_counts_its_work() -> None:
    groups = random_groups(np.random.default_rng(1), 9, responses=(2,))
    model = family_model("llama")
    both, only_rm = (
        packed_result(model, groups, LossWeights(rm=1, lm=lm), row_tokens=64, rows=1).work for lm in (1, 0)
    )
    assert both.tokens == sum(len(part) for group in groups for part in group)
    assert both.attended_pairs == sum(map(attended_pairs, groups))
    assert (both.targets, only_rm.targets) == (sum(map(lm_target_count, groups)), 0)


def test_a_probe_goes_forward_only() -> None:
    model, work = family_model("llama"), Work(tokens=7, targets=0, attended_pairs=20)
    whole, probe = (TrainingCost.of(model, frozen_backbone=frozen).flop(work) for frozen in (False, True))
    assert whole == 3 * probe


def test_the_peak_is_positive_and_measured_once() -> None:
    before = torch.get_rng_state()
    assert matmul_peak("cpu", "fp32") == matmul_peak("cpu", "fp32") > 0
    assert torch.equal(torch.get_rng_state(), before)

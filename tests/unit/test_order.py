"""Order is an index: prefixes agree, epochs read every pair once each."""

from __future__ import annotations

import numpy as np
import pytest

from harness.pipeline.order import OrderSpec
from harness.stages.order import trunk_order


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_fewer_pairs_are_a_prefix_of_more(seed: int) -> None:
    order = OrderSpec(seed=seed, rows=50 if seed else None)
    whole = trunk_order(order, 50)
    assert sorted(whole.tolist()) == list(range(50))
    assert (whole[:20] == trunk_order(order, 20)).all()
    assert (whole == np.arange(50)).all() == (seed == 0)


@pytest.mark.parametrize("seed", [0, 3])
def test_each_epoch_reads_every_pair_once_and_in_an_order_of_its_own(seed: int) -> None:
    order = OrderSpec(seed=seed, rows=20, epochs=3)
    whole = trunk_order(order, 60)
    epochs = whole.reshape(3, 20)
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3
    assert (whole[:45] == trunk_order(order, 45)).all()  # a trunk that ends inside an epoch
    assert (whole[20:] != trunk_order(order.model_copy(update={"seed": seed + 1}), 60)[20:]).any()


def test_an_order_by_difficulty_is_kept_in_every_epoch() -> None:
    order = OrderSpec(seed=0, rows=3, first="hardest", epochs=2)
    assert trunk_order(order, 6, np.array([2.0, 1.0, 3.0])).tolist() == [1, 0, 2] * 2

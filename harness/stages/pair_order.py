"""The order in which PMP reads its pairs: by the seed, or by how clearly a reward model tells their sides apart; and
whose labels a coin has turned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.pipeline.optimization import LossSpec
from harness.pipeline.order import OrderSpec
from harness.stages.context import StageContext
from harness.stages.order import Order, coin, epochs_order, trunk_order
from harness.store.artifacts import Scores
from harness.store.tokens import TokenReader


def pair_order(context: StageContext, order: OrderSpec, tokens: TokenReader, groups: int) -> Order:
    """(groups,) rows of the tokens, from the input `scores` where there is one; of texts epochs one after another, or
    (groups, 2) with the source."""
    if order.on == "corpus":
        return epochs_order(order.seed, [len(tokens)], groups)
    if "scores" not in context.inputs:
        return trunk_order(order, groups)
    rewards: dict[int, dict[int, float]] = {}
    for row in context.input("scores", Scores).stream():
        rewards.setdefault(row["group"], {})[row["response"]] = row["score"]
    nobody = {0: np.nan, 1: np.nan}
    pairs = (rewards.get(row, nobody) for row in tokens.rows[: order.rows].tolist())
    margins = np.array([pair[0] - pair[1] for pair in pairs], dtype=np.float64)
    return trunk_order(order, groups, margins)


def turned_labels(loss: LossSpec, tokens: TokenReader, order: Order) -> NDArray[np.bool_] | None:
    """(groups,) of the order: whether a coin turned the label of the pair in that row; None where the data label."""
    return None if loss.coin is None else coin(loss.coin, np.asarray(tokens.rows)[order])

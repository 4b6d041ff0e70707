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
    group, response, score = (column.to_numpy() for column in context.input("scores", Scores).read())
    rows = np.asarray(tokens.rows[: order.rows])
    rewards = np.full((1 + max(int(group.max(initial=0)), int(rows.max(initial=0))), 2), np.nan)
    rewards[group, response] = score
    margins = rewards[rows, 0] - rewards[rows, 1]  # NaN where nobody scored it
    return trunk_order(order, groups, margins)


def turned_labels(loss: LossSpec, tokens: TokenReader, order: Order) -> NDArray[np.bool_] | None:
    """(groups,) of the order: whether a coin turned the label of the pair in that row; None where the data label."""
    return None if loss.coin is None else coin(loss.coin, np.asarray(tokens.rows)[order])

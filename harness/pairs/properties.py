"""Properties that pairs are given after they are made: wrong labels at a rate, and a filter by judges.

Each is decided for a pair by the pair and a seed alone, so that parts made apart agree with the whole.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import DataError

FLIPPED = "flipped"
"""Word in a pair's detail that says its label was turned round on purpose."""

_SIDES = ("chosen", "rejected")


def flipped(row: Mapping[str, Any], *, rate: float, seed: int) -> dict[str, Any]:
    """The pair as it is or, for a random share of pairs, with its sides turned round.

    A pair's fate depends on its id and the seed, and a higher rate flips the pairs of a lower one and more. What was
    flipped says so in its detail. 0.5 is the control of shuffled labels.

    Args:
        row: as in `harness.store.artifacts.Pairs`; whatever is named after a side goes with it.
        rate: 0 to 1.
    """
    if random.Random(f"{seed}/{row['id']}/flip").random() >= rate:
        return dict(row)
    turned = {_other(name): value for name, value in row.items()}
    return {**turned, "detail": "; ".join(filter(None, (row["detail"], FLIPPED)))}


def _other(column: str) -> str:
    """The same column of the other side."""
    for side, other in (_SIDES, _SIDES[::-1]):
        if column == side or column.startswith(f"{side}_"):
            return other + column.removeprefix(side)
    return column


def consistent(agreement: ArrayLike, *, threshold: float) -> NDArray[np.bool_]:
    """Which pairs to keep: those whose judges agree with the label at least so far.

    Args:
        agreement: (judges, pairs) of 0 to 1, 0.5 for a tie, NaN where a judge has no say. A pair nobody judged stays:
            nothing speaks against it.
        threshold: least mean over the judges that have a say.

    Returns:
        (pairs,) bool.

    Raises:
        DataError: not a table, or a value that is no share.
    """
    table = np.asarray(agreement, dtype=np.float64)
    known = ~np.isnan(table)
    if table.ndim != 2 or ((table[known] < 0) | (table[known] > 1)).any():
        raise DataError("agreement must be a table of shares", f"its shape is {table.shape}", "pass 0 to 1 or NaN")
    votes = known.sum(axis=0)
    mean = np.divide(np.where(known, table, 0.0).sum(axis=0), votes, out=np.ones(table.shape[1]), where=votes > 0)
    return np.asarray(mean >= threshold)

"""Which score belongs to which row of candidates or pairs, without a Python object a response."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.store.artifacts import Scores


def pool_starts(problems: Sequence[str]) -> NDArray[np.int64]:
    """(pools + 1,): where each problem's candidates begin, given every candidate's problem; the last is the end."""
    names = np.asarray(problems, dtype=object)
    changes = np.flatnonzero(names[1:] != names[:-1]) + 1
    return np.concatenate([[0], changes, [len(names)]]).astype(np.int64)


def pair_starts(pairs: int) -> NDArray[np.int64]:
    """(pairs + 1,): as `pool_starts`, for pairs whose chosen and rejected sides lie in turns."""
    return np.arange(0, 2 * pairs + 1, 2, dtype=np.int64)


def scores_by_row(artifact: Scores, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(responses,): the score of every response in order of rows; NaN for one that was not scored."""
    table = artifact.read()
    groups, responses = table["group"].to_numpy(), table["response"].to_numpy()
    found = np.full(int(starts[-1]), np.nan)
    found[starts[groups] + responses] = table["score"].to_numpy()
    return found

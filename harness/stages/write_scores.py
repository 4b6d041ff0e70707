"""Writing scores, for stages that score with a model and stages that need none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.store.artifacts import Scores


def write_scores(artifact: Scores, groups: list[int], scores: list[Any]) -> None:
    """Write one row a response; `scores` may be empty."""
    artifact.write_table(
        pa.table(
            {
                "group": pa.array(np.repeat(np.asarray(groups, dtype=np.int64), [len(one) for one in scores])),
                "response": pa.array(np.concatenate([*map(_numbers, scores), np.zeros(0, dtype=np.int64)])),
                "score": pa.array(np.concatenate([*scores, np.zeros(0)]).astype(np.float64)),
            }
        )
    )


def _numbers(scores: Any) -> NDArray[np.int64]:
    return np.arange(len(scores), dtype=np.int64)

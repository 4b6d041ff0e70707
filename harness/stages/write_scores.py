"""Writing scores, for stages that score with a model and stages that need none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from harness.store.artifacts import Scores


def write_scores(artifact: Scores, groups: list[int], scores: list[Any]) -> None:
    """Write one row a response."""
    artifact.write_table(
        pa.table(
            {
                "group": pa.array(np.repeat(np.asarray(groups, dtype=np.int64), [len(one) for one in scores])),
                "response": pa.array(np.concatenate([np.arange(len(one), dtype=np.int64) for one in scores])),
                "score": pa.array(np.concatenate(scores).astype(np.float64)),
            }
        )
    )

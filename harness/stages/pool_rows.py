"""Reading the candidates of one split of an imported pool."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from harness.store.artifacts import Candidates, PoolSplits


def split_rows(pool: Candidates, splits: PoolSplits, split: str) -> dict[str, list[dict[str, Any]]]:
    """{problem: candidate rows} of a split, problems in its order."""
    wanted: dict[str, list[dict[str, Any]]] = {row["problem"]: [] for row in splits.rows() if row["split"] == split}
    for problem, rows in groupby(pool.rows(), key=lambda row: row["problem"]):
        if problem in wanted:
            wanted[problem] = list(rows)
    return wanted

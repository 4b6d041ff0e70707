"""What shallow scorers are fitted on: the rows that a training reads, of tables of any length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.pipeline import scores
from harness.plan.plan import Plan
from harness.stages.shallow_score import _picked
from harness.store.artifacts import Pairs
from harness.store.tables import ROW_GROUP

ROWS = 3 * ROW_GROUP + 7


@pytest.fixture
def table(tmp_path: Path) -> Pairs:
    table = Pairs(tmp_path)
    table.write(
        {"id": str(row), "cluster": "c", "prompt": f"p{row}", "chosen": f"c{row}", "rejected": f"r{row}", "detail": ""}
        for row in range(ROWS)
    )
    return table


@pytest.mark.parametrize(
    "rows", [[], [0], [ROWS - 1], [0, 1, ROW_GROUP - 1, ROW_GROUP, 2 * ROW_GROUP + 5, ROWS - 1], list(range(ROWS))]
)
def test_rows_are_picked_wherever_they_stand(table: Pairs, rows: list[int]) -> None:
    picked = _picked(table, np.array(rows, dtype=np.int64))
    assert picked == {row: (f"p{row}", f"c{row}", f"r{row}") for row in rows}


def test_nothing_is_read_beyond_the_last_of_them(table: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are tables of 28 million pairs."""
    read, batches = [], table.batches

    def counted(columns: Any) -> Any:
        for batch in batches(columns):
            read.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(table, "batches", counted)
    _picked(table, np.array([3, ROW_GROUP + 1], dtype=np.int64))
    assert sum(read) == 2 * ROW_GROUP


def test_of_many_pairs_the_first_are_enough(
    recipe: dict[str, Any], planned: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe["evaluate"]["code_pairs"] = {"count": 16}

    def fitted_on(plan: Plan) -> set[int]:
        return {
            one.spec.samples for one in plan.stages if one.kind.name == "shallow_score" and one.spec.tasks == ("code",)
        }

    (everything,) = fitted_on(planned(recipe))
    monkeypatch.setattr(scores, "MOST_FITTED", everything - 1)
    assert fitted_on(planned(recipe)) == {everything - 1}

"""Properties of pairs: each pair's own, at the rate asked for, and never more than asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import DataError
from harness.pairs.properties import FLIPPED, consistent, flipped


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"train-{number}",
            "cluster": "m",
            "prompt": "#",
            "chosen": f"right {number}",
            "rejected": f"wrong {number}",
            "detail": "" if number % 2 else "e@1",
            "chosen_tokens": 1,
            "rejected_tokens": 2,
        }
        for number in range(count)
    ]


def flip(made: list[dict[str, Any]], rate: float, seed: int = 0) -> list[dict[str, Any]]:
    return [flipped(row, rate=rate, seed=seed) for row in made]


def which(found: list[dict[str, Any]]) -> set[str]:
    return {row["id"] for row in found if FLIPPED in row["detail"].split("; ")}


def test_labels_flip_at_the_rate_and_say_so() -> None:
    made = rows(4_000)
    found = flip(made, 0.3)
    assert abs(len(which(found)) / 4_000 - 0.3) < 0.03
    for before, row in zip(made, found, strict=True):
        turned = row["id"] in which([row])
        sides = ("rejected", "chosen") if turned else ("chosen", "rejected")
        for side, source in zip(("chosen", "rejected"), sides, strict=True):
            assert row[side] == before[source]
            assert row[f"{side}_tokens"] == before[f"{source}_tokens"]
        assert row["prompt"] == "#"
        assert row["detail"] == ("; ".join(filter(None, (before["detail"], FLIPPED))) if turned else before["detail"])
    assert flip(rows(50), 0.0) == rows(50)
    assert len(which(flip(rows(50), 1.0))) == 50


def test_a_pair_flips_by_itself_and_a_higher_rate_flips_more() -> None:
    whole = flip(rows(200), 0.4, seed=3)
    assert [*flip(rows(200)[:90], 0.4, seed=3), *flip(rows(200)[90:], 0.4, seed=3)] == whole
    assert which(flip(rows(200), 0.2, seed=3)) < which(whole)
    assert which(flip(rows(200), 0.4, seed=4)) != which(whole)


def test_the_filter_keeps_what_judges_agree_on_or_have_no_say_on() -> None:
    none = np.nan
    agreement = [[1.0, 0.0, 0.5, none, 1.0], [1.0, 0.0, none, none, 0.0]]
    assert consistent(agreement, threshold=0.7).tolist() == [True, False, False, True, False]
    assert consistent(agreement, threshold=0.5).tolist() == [True, False, True, True, True]
    for bad in ([1.0], [[2.0]]):
        with pytest.raises(DataError, match="table of shares"):
            consistent(bad, threshold=0.5)

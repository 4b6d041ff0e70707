"""Properties of pairs: each pair's own, at the rate asked for, and never more than asked for."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import DataError, RecipeError
from harness.pairs.construct import Pair, Text
from harness.pairs.mutate import Rejection
from harness.pairs.properties import (
    END_OF_CODE,
    FLIPPED,
    LENGTHS_DIFFER,
    EndToken,
    closest_in_length,
    consistent,
    flip_labels,
    with_end_token,
)


def pairs(count: int) -> list[Pair]:
    return [
        Pair(slot=n, package="p", module="m", prompt="#\n", chosen=f"right {n}", rejected=f"wrong {n}", edits=("e@1",))
        for n in range(count)
    ]


def flipped(found: list[Pair]) -> set[int]:
    return {pair.slot for pair in found if FLIPPED in pair.edits}


def test_labels_flip_at_the_rate_and_say_so() -> None:
    found = flip_labels(pairs(4_000), rate=0.3, seed=0)
    assert abs(len(flipped(found)) / 4_000 - 0.3) < 0.03
    for pair in found:
        assert pair.chosen.startswith("wrong" if FLIPPED in pair.edits else "right")
        assert {pair.chosen, pair.rejected} == {f"right {pair.slot}", f"wrong {pair.slot}"}
    assert flipped(flip_labels(pairs(50), rate=0.0, seed=0)) == set()
    assert flipped(flip_labels(pairs(50), rate=1.0, seed=0)) == set(range(50))


def test_a_pair_flips_by_itself_and_a_higher_rate_flips_more() -> None:
    whole = flip_labels(pairs(200), rate=0.4, seed=3)
    assert [*flip_labels(pairs(200)[:90], rate=0.4, seed=3), *flip_labels(pairs(200)[90:], rate=0.4, seed=3)] == whole
    assert flipped(flip_labels(pairs(200), rate=0.2, seed=3)) < flipped(whole)
    assert flipped(flip_labels(pairs(200), rate=0.4, seed=4)) != flipped(whole)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_is_a_share(rate: float) -> None:
    with pytest.raises(RecipeError, match="0 to 1"):
        flip_labels(pairs(1), rate=rate, seed=0)


def test_the_draft_of_nearest_length_is_taken() -> None:
    drafts = [Text(text="x" * size) for size in (5, 12, 9, 30)]
    assert closest_in_length("y" * 10, drafts, tolerance=0.2) == Text(text="x" * 9)
    assert closest_in_length("y" * 20, drafts, tolerance=0.2) == Rejection(reason=LENGTHS_DIFFER)
    assert closest_in_length("x" * 12, drafts, tolerance=1.0) == Text(text="x" * 9)  # not the chosen text itself
    assert closest_in_length("x", [Text(text="x")], tolerance=1.0) == Rejection(reason=LENGTHS_DIFFER)
    assert closest_in_length("x", [], tolerance=1.0) == Rejection(reason=LENGTHS_DIFFER)


def test_end_tokens_stand_at_the_end_once() -> None:
    [pair] = pairs(1)
    assert with_end_token(pair, EndToken(kind="none")) == pair
    ended = with_end_token(pair, EndToken(kind="dedicated"))
    assert ended.chosen == f"right 0{END_OF_CODE}"
    assert ended.rejected == f"wrong 0{END_OF_CODE}"
    assert with_end_token(ended, EndToken(kind="dedicated")) == ended
    assert with_end_token(pair, EndToken(kind="eos", eos="</s>")).chosen == "right 0</s>"
    with pytest.raises(RecipeError, match="eos"):
        with_end_token(pair, EndToken(kind="eos"))


def test_the_filter_keeps_what_judges_agree_on_or_have_no_say_on() -> None:
    nan = np.nan
    agreement = [[1.0, 0.0, 1.0, nan, 0.5], [1.0, 0.0, 0.0, nan, nan]]
    assert consistent(agreement, threshold=0.7).tolist() == [True, False, False, True, False]
    assert consistent(agreement, threshold=0.5).tolist() == [True, False, True, True, True]
    for bad in ([1.0], [[1.5]]):
        with pytest.raises(DataError, match="table of shares"):
            consistent(bad, threshold=0.5)

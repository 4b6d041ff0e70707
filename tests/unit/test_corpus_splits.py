"""Splits: whole clusters, drawn by their names alone, none empty."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.corpus.splits import check_filled, check_named, split_by_name, split_by_share
from harness.errors import DataError


def test_splits_by_name_are_whole_packages() -> None:
    splits = [split_by_name(package, base=["b"], heldout=["a", "d"]) for package in "abcd"]
    assert splits == ["heldout", "base", "train", "heldout"]
    assert [split_by_name(package, base=["b"], heldout=["a"], dev=["d"]) for package in "abcd"][2:] == ["train", "dev"]


def test_shares_are_about_met_and_a_cluster_always_falls_into_the_same_split() -> None:
    names = [f"repository-{number}" for number in range(4_000)]
    splits = {name: split_by_share(name, base=0.2, heldout=0.1, seed=3) for name in names}
    counts = Counter(splits.values())
    assert counts["heldout"] == pytest.approx(400, abs=80)
    assert counts["base"] == pytest.approx(800, abs=110)
    assert all(split_by_share(name, base=0.2, heldout=0.1, seed=3) == splits[name] for name in reversed(names))
    larger = {name: split_by_share(name, base=0.2, heldout=0.3, seed=3) for name in names}
    assert all(larger[name] == "heldout" for name, split in splits.items() if split == "heldout")
    assert any(split_by_share(name, base=0.2, heldout=0.1, seed=4) != split for name, split in splits.items())
    chosen = {name: split_by_share(name, base=0.2, heldout=0.1, dev=0.1, seed=3) for name in names}
    assert Counter(chosen.values())["dev"] == pytest.approx(400, abs=80)
    assert {splits[name] for name in names if chosen[name] != splits[name]} == {"train"}


@pytest.mark.parametrize(
    ("named", "told"), [(["a", "z"], "none are left of: z"), (["a", "b", "a"], "named twice: a"), (["y", "z"], "y, z")]
)
def test_named_packages_that_cannot_be(named: list[str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        check_named({"a", "b", "c"}, named)


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ({"train": 0, "base": 1, "heldout": 2}, "nothing is left for: train"),
        ({"train": 3, "base": 0, "heldout": 0}, "nothing is left for: base, heldout"),
        ({"train": 3, "base": 1, "heldout": 1, "dev": 0}, "nothing is left for: dev"),
    ],
)
def test_no_split_may_be_empty(kept: dict[str, int], told: str) -> None:
    check_named({"a", "b"}, ["a", "b"])
    check_filled({"train": 1, "base": 1, "heldout": 1}, "read more")
    with pytest.raises(DataError, match=told + "; read more"):
        check_filled(kept, "read more")

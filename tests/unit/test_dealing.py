"""Splits of a fixed number of problems: nothing crosses, and what judges moves nothing that is trained on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from harness.tasks.dealing import ORDER, dealt
from harness.tasks.task import Problem

APART = {"finetune": ("finetune", "dev"), "dev": ("finetune", "dev"), "test": ("test",)}


def problems(clusters: Sequence[object]) -> list[Problem]:
    return [
        Problem(id=f"p{number}", cluster=str(cluster), split="", prompt=f"{number}?", answer="", solution="")
        for number, cluster in enumerate(clusters)
    ]


def ids(found: Sequence[Problem]) -> list[str]:
    return [problem.id for problem in found]


@settings(deadline=None)
@given(
    clusters=st.lists(st.integers(0, 30), min_size=30, max_size=60),
    counts=st.tuples(*[st.integers(1, 6)] * 3),
    seed=st.integers(0, 5),
)
def test_no_cluster_is_in_two_splits_whether_dealt_together_or_alone(
    clusters: list[int], counts: tuple[int, int, int], seed: int
) -> None:
    asked = dict(zip(ORDER, counts, strict=True))
    try:
        together = dealt(problems(clusters), asked, seed=seed, sharing=ORDER)
    except DataError:  # these clusters are too large for so many; see the next test for what is told
        return
    assert {split: len(found) for split, found in together.items()} == asked
    held = [{one.cluster for one in found} for found in together.values()]
    assert sum(map(len, held)) == len(set().union(*held))
    for split in ORDER:
        others = {"finetune": asked["finetune"]} if split == "dev" else {}
        alone = dealt(problems(clusters), {**others, split: asked[split]}, seed=seed, sharing=ORDER)
        assert alone[split] == together[split]
        assert {one.split for one in alone[split]} == {split}


def test_more_test_problems_leave_what_is_trained_on_and_chosen_by_as_it_is() -> None:
    known = problems(range(50))
    few = dealt(known, {"finetune": 7, "dev": 5, "test": 10}, seed=3, sharing=ORDER)
    more = dealt(known, {"finetune": 7, "dev": 5, "test": 38}, seed=3, sharing=ORDER)
    assert (few["finetune"], few["dev"]) == (more["finetune"], more["dev"])
    assert more["test"][:10] == few["test"]
    assert dealt(known, {"finetune": 7, "dev": 5, "test": 10}, seed=4, sharing=ORDER) != few
    with pytest.raises(DataError, match="38 of 39 are left for test"):
        dealt(known, {"finetune": 7, "dev": 5, "test": 39}, seed=3, sharing=ORDER)


def test_where_test_has_problems_of_its_own_dev_does_not_move_with_finetuning() -> None:
    known = problems(range(50))
    few, more = (dealt(known, {"finetune": count, "dev": 5}, seed=0, sharing=("finetune", "dev")) for count in (7, 45))
    assert few["dev"] == more["dev"]
    assert more["finetune"][:7] == few["finetune"]


@pytest.mark.parametrize("split", ["test", "finetune"])
def test_all_is_what_the_others_leave(split: str) -> None:
    known = problems([number // 3 for number in range(60)])
    others = {"dev": 4, "finetune": 7} if split == "test" else {"dev": 4}
    found = dealt(known, {**others, split: None}, seed=1, sharing=ORDER if split == "test" else ("finetune", "dev"))
    taken = {one.cluster for other in others for one in found[other]}
    assert set(ids(found[split])) == {one.id for one in known if one.cluster not in taken}
    number = dealt(known, {**others, split: len(found[split])}, seed=1, sharing=ORDER if split == "test" else ("dev",))
    assert set(ids(number[split])) == set(ids(found[split]))

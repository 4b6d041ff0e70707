"""Dealing a fixed number of problems out to splits, clusters whole, so that what judges never moves what trains; and
the right and wrong solutions of problems out to pairs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeVar

from harness.errors import DataError
from harness.tasks.task import Problem, stream

Side = TypeVar("Side")

ORDER = ("finetune", "dev", "test")


def dealt(
    problems: Iterable[Problem], counts: Mapping[str, int | None], *, seed: int, sharing: Collection[str]
) -> dict[str, list[Problem]]:
    """The problems of each split asked for.

    Clusters stand in an order drawn from the seed. Fine-tuning takes the last; dev takes those next to them if `test`
    is served from the same problems, else the first; test takes the first. So a split can be dealt alone, but for dev
    beside test, which must be told fine-tuning's count; and more test problems move no other split.

    Args:
        counts: problems by split; None, of one split at most: all that the others leave.
        sharing: every split that is ever served from these problems.

    Raises:
        DataError: there are not as many.
    """
    members: dict[str, list[Problem]] = {}
    for problem in problems:
        members.setdefault(problem.cluster, []).append(problem)
    order = sorted(members)
    stream("split", seed).shuffle(order)
    left = deque(order)

    def take(split: str, wanted: int) -> list[Problem]:
        last = split == "finetune" or (split == "dev" and "test" in sharing)
        chosen: list[Problem] = []
        while len(chosen) < wanted:
            if not left:
                raise DataError(
                    "a task must have the requested problems, with clusters kept whole",
                    f"{len(chosen):,} of {wanted:,} are left for {split}, {len(order):,} clusters in all, "
                    f"the largest of {max(map(len, members.values()), default=0):,} problems",
                    "lower the counts of `problems`",
                )
            chosen += members[left.pop() if last else left.popleft()]
        return chosen[:wanted]

    found = {split: take(split, wanted) for split in ORDER if (wanted := counts.get(split)) is not None}
    for split, wanted in counts.items():
        if wanted is None:
            found[split] = [problem for cluster in left for problem in members[cluster]]
    return {split: [replace(problem, split=split) for problem in chosen] for split, chosen in found.items()}


def without(problems: Iterable[Problem], clusters: Iterable[str]) -> list[Problem]:
    """The problems of all other clusters."""
    known = frozenset(clusters)
    return [problem for problem in problems if problem.cluster not in known]


def couples(sides: Sequence[tuple[Sequence[Side], Sequence[Side]]]) -> Iterator[tuple[int, Side, Side]]:
    """(place, right, wrong) of the (right, wrong) solutions of problems, as long as there are any.

    Each couple comes once, and one of each problem before any problem serves again.
    """
    for turn in count():
        ended = True
        for place, (right, wrong) in enumerate(sides):
            if turn < len(right) * len(wrong):
                ended = False
                at, again = turn % len(right), turn // len(right)
                yield place, right[at], wrong[(at + again) % len(wrong)]
        if ended:
            return

"""Dealing a fixed number of problems out to splits, clusters whole, so that what judges never moves what trains."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from harness.errors import DataError
from harness.tasks.task import Problem, stream

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

    def take(split: str, count: int) -> list[Problem]:
        last = split == "finetune" or (split == "dev" and "test" in sharing)
        chosen: list[Problem] = []
        while len(chosen) < count:
            if not left:
                raise DataError(
                    "a task must have the problems asked for, clusters whole",
                    f"{len(chosen):,} of {count:,} are left for {split}",
                    "lower the counts of `problems`",
                )
            chosen += members[left.pop() if last else left.popleft()]
        return chosen[:count]

    found = {split: take(split, count) for split in ORDER if (count := counts.get(split)) is not None}
    for split, count in counts.items():
        if count is None:
            found[split] = [problem for cluster in left for problem in members[cluster]]
    return {split: [replace(problem, split=split) for problem in chosen] for split, chosen in found.items()}


def without(problems: Iterable[Problem], clusters: Iterable[str]) -> list[Problem]:
    """The problems of all other clusters."""
    known = frozenset(clusters)
    return [problem for problem in problems if problem.cluster not in known]

"""Reading candidate pools and the scores of their candidates together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError
from harness.stages.context import StageContext
from harness.store.artifacts import UNKNOWN_ERROR, Candidates, Overlap, ProblemValues, Scores


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A problem's candidates, in their order. Masks are (candidates,); an unknown error is neither seen nor unseen."""

    problem: str
    cluster: str
    answers: tuple[str | None, ...]
    correct: NDArray[np.bool_]
    seen_errors: NDArray[np.bool_]
    unseen_errors: NDArray[np.bool_]
    texts: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def decided(self) -> bool:
        """Whether all candidates are right or all are wrong, so that it does not matter which is picked."""
        return bool(self.correct.all() or not self.correct.any())


def read_pools(artifact: Candidates) -> list[Pool]:
    """The pools in stored order."""
    pools = []
    for problem, rows in groupby(artifact.rows(), key=lambda row: row["problem"]):
        candidates = list(rows)
        correct = np.array([row["correct"] for row in candidates], dtype=bool)
        known = np.array([row["error_type"] != UNKNOWN_ERROR for row in candidates], dtype=bool)
        seen = np.array([row["seen"] for row in candidates], dtype=bool)
        pools.append(
            Pool(
                problem=problem,
                cluster=candidates[0]["cluster"],
                answers=tuple(row["answer"] for row in candidates),
                correct=correct,
                seen_errors=~correct & known & seen,
                unseen_errors=~correct & known & ~seen,
                texts=tuple(row["text"] for row in candidates),
                sources=tuple(row["source"] for row in candidates),
            )
        )
    return pools


def read_pool_scores(artifact: Scores, pools: Sequence[Pool]) -> list[NDArray[np.float64]]:
    """Scores of every pool's candidates.

    A problem whose candidates are all right or all wrong need not be scored (`stages/score.py`): its candidates then
    have the same score, 0, which changes no value that depends on which of them is picked.

    Raises:
        DataError: any other problem or candidate has no score; nothing may fall out of a denominator.
    """
    table = artifact.read()
    groups, scores = table["group"].to_numpy(), table["score"].to_numpy()
    starts = np.searchsorted(groups, np.arange(len(pools) + 1))
    found = [
        np.zeros(len(pool.correct)) if start == stop and pool.decided else scores[start:stop]
        for pool, (start, stop) in zip(pools, pairwise(starts), strict=True)
    ]
    for pool, values in zip(pools, found, strict=True):
        if len(values) != len(pool.correct):
            raise DataError(
                "every candidate must have a score",
                f"problem {pool.problem} has {len(values)} for {len(pool.correct)}",
                "look at the score stage",
            )
    return found


def numbered(names: Sequence[str], known: dict[str, int]) -> NDArray[np.int64]:
    """(n,) a number for each name, -1 for "" (unknown); `known` grows with the names."""
    return np.array([known.setdefault(name, len(known)) if name else -1 for name in names], dtype=np.int64)


def side_facts(artifact: Candidates, column: str) -> dict[tuple[str, str], Any]:
    """(problem, text) -> a column of the first candidate with that text, from which pairs are made."""
    found: dict[tuple[str, str], Any] = {}
    for row in artifact.stream(["problem", "text", column]):
        found.setdefault((row["problem"], row["text"]), row[column])
    return found


def left_out(sizes: Sequence[int], smallest: int) -> list[int]:
    """The N that the smallest pool does not hold."""
    return [size for size in sizes if size > smallest]


class Values:
    """Collects one value a problem and metric, for `ProblemValues`.

    Problems that stand in what a model of the recipe was trained on (inputs `overlap-...`) are left out.

    Attributes:
        left_out: how many of them were.
    """

    def __init__(self, context: StageContext) -> None:
        self.rows: list[dict[str, Any]] = []
        self._trained_on = {
            row["problem"] for row in (context.input("overlap", Overlap).rows() if "overlap" in context.inputs else ())
        }
        self._left_out: set[str] = set()

    @property
    def left_out(self) -> int:
        return len(self._left_out)

    def keeps(self, problem: str) -> bool:
        """Whether a problem, or the problem of a pair, counts: no model of the recipe was trained on it."""
        of = problem if problem in self._trained_on else problem.rpartition("#")[0]  # of a pair, before its number
        if of in self._trained_on:
            self._left_out.add(of)
        return of not in self._trained_on

    def add(self, metric: str, problems: Sequence[str], clusters: Sequence[str], values: NDArray[Any]) -> None:
        for problem, cluster, value in zip(problems, clusters, values.tolist(), strict=True):
            if self.keeps(problem) and value == value:  # NaN: this problem has no such value, and none is made up
                self.rows.append({"metric": metric, "problem": problem, "cluster": cluster, "value": float(value)})

    def means(self) -> dict[str, float]:
        """Mean of every metric over its problems, rounded for the record."""
        by_metric: dict[str, list[float]] = {}
        for row in self.rows:
            by_metric.setdefault(row["metric"], []).append(row["value"])
        return {metric: round(float(np.mean(values)), 6) for metric, values in by_metric.items()}

    def write(self, artifact: ProblemValues) -> None:
        """Write what was collected.

        Raises:
            DataError: every problem was left out.
        """
        if not self.rows and self._left_out:
            raise DataError(
                "an evaluation needs problems that were not trained on",
                f"all {self.left_out:,} are in the training data",
                "judge by other problems, train on others, or name them under `corpus.decontaminate.against`",
            )
        artifact.write(self.rows)

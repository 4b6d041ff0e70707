"""A policy that needs no model: it draws from a table of right and mistaken solutions the task has made.

It knows which of its texts are right, so best-of-N can be checked against the truth. The chance of a right text
differs from problem to problem. Temperature and top_p act on the table's probabilities; a token here is a word with the
space before it.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from harness.engines.base import Completion, Request
from harness.errors import DataError, RecipeError
from harness.tasks.task import Problem, Task, stream

TABLE_SIZE = 32
"""Different solutions a problem, half of them right."""

DIFFICULTY_SPREAD = 0.25
"""Standard deviation over problems of the chance of a right solution."""

TRUNCATED = "truncated"
"""Error type of a text cut off before its answer."""


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """One text the policy may write, with its chance. `error_type` is "" where it is right."""

    text: str
    probability: float
    correct: bool
    error_type: str
    seen: bool


def prompt_digest(prompt: str) -> str:
    """The key of a prompt in a table: SHA-256 (hex) of its UTF-8 bytes."""
    return hashlib.sha256(prompt.encode("utf-8")).hexdigest()


def solution_tables(
    task: Task,
    problems: Iterable[Problem],
    *,
    accuracy: float,
    seed: int,
    spread: float = DIFFICULTY_SPREAD,
) -> dict[str, tuple[TableEntry, ...]]:
    """Tables for `problems` by prompt digest.

    The chance of a right solution is drawn for each problem from a Beta distribution of mean `accuracy` and standard
    deviation `spread`. The rest is shared evenly by the error types the problem admits, seen and unseen. A table
    depends on the problem, `seed` and the settings alone.

    Raises:
        RecipeError: no Beta distribution has this mean and spread.
    """
    a, b = _beta_parameters(accuracy, spread)
    tables: dict[str, tuple[TableEntry, ...]] = {}
    for problem in problems:
        rng = stream("simulated policy", seed, problem.id)
        chance = rng.betavariate(a, b)
        tables[prompt_digest(problem.prompt)] = _table(task, problem, rng, chance)
    return tables


def _beta_parameters(mean: float, spread: float) -> tuple[float, float]:
    concentration = mean * (1 - mean) / spread**2 - 1 if spread > 0 else 0.0
    if not 0 < mean < 1 or concentration <= 0:
        raise RecipeError(
            "a simulated policy's `accuracy` must lie inside (0, 1) and its spread inside (0, sqrt(a (1 - a)))",
            f"accuracy is {mean}, spread {spread}",
            "move the accuracy away from 0 and 1, or lower the spread",
        )
    return mean * concentration, (1 - mean) * concentration


def _table(task: Task, problem: Problem, rng: Random, chance: float) -> tuple[TableEntry, ...]:
    solutions = task.solution_table(problem, rng, TABLE_SIZE)
    kinds = sorted({solution.error_type for solution in solutions if not solution.correct})
    shares = {"": chance} | dict.fromkeys(kinds, (1 - chance) / len(kinds))
    texts_of = {kind: sum(solution.error_type == kind for solution in solutions) for kind in shares}
    return tuple(
        TableEntry(
            text=solution.text,
            probability=shares[solution.error_type] / texts_of[solution.error_type],
            correct=solution.correct,
            error_type=solution.error_type,
            seen=solution.error_type in task.seen_errors,
        )
        for solution in solutions
    )


class SimulatedPolicy:
    """A Generator that draws from `tables` (prompt digest -> entries whose probabilities sum to 1).

    A completion's metadata: `correct`, `error_type` ("" where right, "truncated" where cut off), and `seen`: whether
    fine-tuning pairs show this type.
    """

    def __init__(self, tables: Mapping[str, Sequence[TableEntry]]) -> None:
        self._tables = tables

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return [self._complete(request) for request in requests]

    def _complete(self, request: Request) -> Completion:
        table = self._tables.get(prompt_digest(request.prompt))
        if table is None:
            raise DataError(
                "a simulated policy can only answer prompts of its table",
                f"request {request.id!r} asks {request.prompt[:80]!r}",
                "build the table from the problems that are asked",
            )
        chances = _nucleus(
            _at_temperature([entry.probability for entry in table], request.sampling.temperature),
            request.sampling.top_p,
        )
        cumulated = list(itertools.accumulate(chances))
        drawn = Random(request.seed).random() * cumulated[-1]
        place = min(bisect.bisect_right(cumulated, drawn), len(table) - 1)
        return _completion(request, table[place], math.log(chances[place] / cumulated[-1]))


def _at_temperature(probabilities: Sequence[float], temperature: float) -> list[float]:
    """Weights p^(1/T) relative to the most probable; at T = 0 the first of the most probable has all of it."""
    most = max(probabilities)
    if temperature == 0:
        best = probabilities.index(most)
        return [float(place == best) for place in range(len(probabilities))]
    return [(probability / most) ** (1 / temperature) for probability in probabilities]


def _nucleus(weights: Sequence[float], top_p: float) -> list[float]:
    """The weights of the fewest most probable entries that have the share `top_p`, and 0 for the others."""
    if top_p == 1:
        return list(weights)
    enough = top_p * sum(weights)
    kept: set[int] = set()
    mass = 0.0
    for place in sorted(range(len(weights)), key=lambda place: -weights[place]):
        if kept and mass >= enough:
            break
        kept.add(place)
        mass += weights[place]
    return [weight if place in kept else 0.0 for place, weight in enumerate(weights)]


def _completion(request: Request, entry: TableEntry, logprob: float) -> Completion:
    words = list(re.finditer(r"\s*\S+", entry.text))
    if len(words) > request.sampling.max_tokens:
        return Completion(
            id=request.id,
            text=entry.text[: words[request.sampling.max_tokens].start()],
            finish_reason="length",
            metadata={"correct": False, "error_type": TRUNCATED, "seen": False},
        )
    return Completion(
        id=request.id,
        text=entry.text,
        finish_reason="stop",
        logprob=logprob,
        metadata={"correct": entry.correct, "error_type": entry.error_type, "seen": entry.seen},
    )


def simulated_policy(task: Task, problems: Sequence[Problem], *, accuracy: float, seed: int) -> SimulatedPolicy:
    """The policy that answers these problems; what it writes for one depends on that problem and the seed alone."""
    return SimulatedPolicy(solution_tables(task, problems, accuracy=accuracy, seed=seed))

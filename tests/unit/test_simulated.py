"""The simulated policy: parts equal the whole, known accuracy, truth re-graded, sampling that follows its table."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from contextlib import suppress
from random import Random
from typing import Any

import numpy as np
import pytest

from harness.engines.base import Generator, Request, Sampling
from harness.engines.candidates import ENDED, candidates
from harness.engines.simulated import (
    SimulatedPolicy,
    TableEntry,
    prompt_digest,
    simulated_policy,
    solution_tables,
)
from harness.errors import DataError, RecipeError
from harness.store.artifacts import Candidates
from harness.tasks.built_in.gsm8k import Gsm8k
from harness.tasks.fixed import FixedTask
from harness.tasks.registry import BUILT_IN, load_task
from harness.tasks.task import Problem, Task

PROMPT = "2 + 2 ="
ENTRIES = (
    TableEntry(text="It is 4.", probability=0.5, correct=True, error_type="", seen=False),
    TableEntry(text="It is 5.", probability=0.3, correct=False, error_type="slip", seen=True),
    TableEntry(text="It is 6.", probability=0.2, correct=False, error_type="guess", seen=False),
)


@pytest.fixture(scope="module", params=sorted(name for name in BUILT_IN if not isinstance(load_task(name), FixedTask)))
def task(request: pytest.FixtureRequest) -> Task:
    return load_task(request.param)


@pytest.fixture(scope="module")
def problems(task: Task) -> list[Problem]:
    return task.problems({"test": 80}, seed=0)


def drawn(task: Task, problems: list[Problem], *, samples: int = 16, seed: int = 5) -> list[dict[str, Any]]:
    policy = simulated_policy(task, problems, accuracy=0.6, seed=seed)
    return candidates(
        task, problems, policy, sampling=Sampling(), samples=samples, seed=seed, source="simulated", tally=Counter()
    )


@pytest.fixture(scope="module")
def rows(task: Task, problems: list[Problem]) -> list[dict[str, Any]]:
    return drawn(task, problems)


def policy() -> SimulatedPolicy:
    return SimulatedPolicy({prompt_digest(PROMPT): ENTRIES})


def texts(temperature: float, count: int) -> Counter[str]:
    sampling = Sampling(temperature=temperature)
    requests = [Request(id=str(seed), prompt=PROMPT, seed=seed, sampling=sampling) for seed in range(count)]
    return Counter(completion.text for completion in policy().generate(requests))


# ------------------------------------------------------------------------------------------------------ candidates


def test_rows_have_the_columns_of_the_artifact(rows: list[dict[str, Any]], problems: list[Problem]) -> None:
    assert all(tuple(row) == Candidates.columns for row in rows)
    assert [(row["problem"], row["index"]) for row in rows] == [
        (problem.id, index) for problem in problems for index in range(16)
    ]


def test_what_a_generator_says_of_its_chances_is_kept_where_it_is_wanted(
    task: Task, problems: list[Problem], rows: list[dict[str, Any]]
) -> None:
    policy = simulated_policy(task, problems, accuracy=0.6, seed=5)
    found = candidates(
        task, problems[:2], policy, samples=4, seed=5, sampling=Sampling(), source="", tally=Counter(), logprobs=True
    )
    assert all(row["logprob"] < 0.0 for row in found)


def test_parts_equal_the_whole(task: Task, problems: list[Problem], rows: list[dict[str, Any]]) -> None:
    parts = [row for start in range(0, 80, 25) for row in drawn(task, problems[start : start + 25])]
    assert parts == rows


def test_fewer_samples_are_the_first_of_more(task: Task, problems: list[Problem], rows: list[dict[str, Any]]) -> None:
    fewer = drawn(task, problems[:10], samples=4)
    assert fewer == [row for row in rows[:160] if row["index"] < 4]


def test_another_seed_gives_other_candidates(task: Task, problems: list[Problem], rows: list[dict[str, Any]]) -> None:
    other = drawn(task, problems[:10], seed=6)
    same = np.mean([a["text"] == b["text"] for a, b in zip(other, rows[:160], strict=True)])
    assert same < 0.2


def test_truth_is_the_grade(task: Task, problems: list[Problem], rows: list[dict[str, Any]]) -> None:
    by_id = {problem.id: problem for problem in problems}
    for row in rows:
        assert row["correct"] == task.grade(by_id[row["problem"]], row["text"]) == (row["error_type"] == "")
        assert row["seen"] == (row["error_type"] in task.seen_errors)
        assert row["answer"] == task.extract(row["text"])


def test_pool_mixes_seen_and_unseen_mistakes(task: Task, rows: list[dict[str, Any]]) -> None:
    wrong = Counter(row["error_type"] for row in rows if not row["correct"])
    assert set(wrong) == {*task.seen_errors, *task.unseen_errors}
    unseen = sum(wrong[kind] for kind in task.unseen_errors) / wrong.total()
    assert 0.2 < unseen < 0.8


def test_candidates_of_a_problem_differ(rows: list[dict[str, Any]]) -> None:
    of_problem: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_problem[row["problem"]].append(row)
    assert min(len({row["text"] for row in pool}) for pool in of_problem.values()) >= 4
    assert all(len({row["correct"] for row in pool}) <= 2 for pool in of_problem.values())


def test_accuracy_and_difficulty(task: Task, problems: list[Problem]) -> None:
    """Over the 80 problems the mean chance is within 4 standard errors of 0.6, the spread near 0.25."""
    tables = solution_tables(task, problems, accuracy=0.6, seed=5)
    chances = [sum(entry.probability for entry in table if entry.correct) for table in tables.values()]
    assert len(chances) == len(problems)
    assert np.mean(chances) == pytest.approx(0.6, abs=4 * 0.25 / math.sqrt(80))
    assert 0.18 < np.std(chances) < 0.32
    for table in tables.values():
        assert sum(entry.probability for entry in table) == pytest.approx(1)


def test_small_spread_makes_problems_alike(task: Task, problems: list[Problem]) -> None:
    tables = solution_tables(task, problems[:30], accuracy=0.3, seed=5, spread=0.01)
    for table in tables.values():
        assert sum(entry.probability for entry in table if entry.correct) == pytest.approx(0.3, abs=0.06)


def test_error_types_of_a_problem_are_equally_likely(task: Task, problems: list[Problem]) -> None:
    (table,) = solution_tables(task, problems[:1], accuracy=0.5, seed=5).values()
    shares: dict[str, float] = defaultdict(float)
    for entry in table:
        shares[entry.error_type] += entry.probability
    del shares[""]
    assert len(shares) >= 3
    assert max(shares.values()) == pytest.approx(min(shares.values()))


@pytest.mark.parametrize(("accuracy", "spread"), [(0.0, 0.1), (1.0, 0.1), (0.5, 0.5), (0.5, 0.0), (0.02, 0.25)])
def test_impossible_difficulty(task: Task, problems: list[Problem], accuracy: float, spread: float) -> None:
    with pytest.raises(RecipeError, match="accuracy"):
        solution_tables(task, problems[:1], accuracy=accuracy, seed=0, spread=spread)


def test_a_table_that_disagrees_with_the_grade_is_refused(task: Task, problems: list[Problem]) -> None:
    class Fickle(type(task)):  # type: ignore[misc]
        """Grades rightly while its table is made, and everything wrong afterwards."""

        def solution_table(self, problem: Problem, rng: Random, size: int) -> list[Any]:
            table = super().solution_table(problem, rng, size)
            self.grade = lambda problem, text: False
            return list(table)

    with pytest.raises(DataError, match="as its generator knows it"):
        drawn(Fickle(), problems[:2], samples=32)


# ---------------------------------------------------------------------------------------------------------- policy


def test_policy_is_a_generator() -> None:
    assert isinstance(policy(), Generator)


def test_draws_follow_the_table() -> None:
    drawn = texts(1.0, 4_000)
    for entry in ENTRIES:
        deviation = math.sqrt(entry.probability * (1 - entry.probability) / 4_000)
        assert drawn[entry.text] / 4_000 == pytest.approx(entry.probability, abs=4 * deviation)


def test_temperature() -> None:
    assert set(texts(0.0, 50)) == {"It is 4."}
    squared = 0.5**2 / (0.5**2 + 0.3**2 + 0.2**2)
    assert texts(0.5, 4_000)["It is 4."] / 4_000 == pytest.approx(squared, abs=0.03)
    assert texts(1e6, 4_000)["It is 6."] / 4_000 == pytest.approx(1 / 3, abs=0.03)
    assert set(texts(1e-6, 50)) == {"It is 4."}


def test_logprob_is_that_of_the_draw() -> None:
    for temperature, chance in ((1.0, 0.5), (0.5, 0.25 / 0.38), (0.0, 1.0)):
        sampling = Sampling(temperature=temperature)
        made = policy().generate([Request(id="a", prompt=PROMPT, seed=s, sampling=sampling) for s in range(20)])
        (logprob,) = {completion.logprob for completion in made if completion.text == "It is 4."}
        assert logprob == pytest.approx(math.log(chance))


def test_metadata() -> None:
    known = {entry.text: entry for entry in ENTRIES}
    for completion in policy().generate([Request(id=str(s), prompt=PROMPT, seed=s) for s in range(30)]):
        entry = known[completion.text]
        assert completion.finish_reason == "stop"
        assert completion.metadata == {"correct": entry.correct, "error_type": entry.error_type, "seen": entry.seen}


class Endless(Gsm8k):
    """A grader of one's own without a bound."""

    def grade(self, problem: Problem, text: str) -> bool:
        while "5" in text:
            with suppress(Exception):
                text += ""
        return super().grade(problem, text)


def test_a_grader_that_takes_too_long_is_ended_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.engines.candidates.MOST_SECONDS", 0.02)
    problem = Problem(id="p", cluster="p", split="test", prompt=PROMPT, answer="4", solution="")
    entries = tuple(
        TableEntry(text=f"#### {answer}", probability=0.5, correct=answer == 4, error_type="", seen=False)
        for answer in (4, 5)
    )
    tally: Counter[str] = Counter()
    policy = SimulatedPolicy({prompt_digest(PROMPT): entries})
    found = candidates(
        Endless(), [problem], policy, sampling=Sampling(), samples=12, seed=0, source="simulated", tally=tally
    )
    fives = [row for row in found if "5" in row["text"]]
    assert 0 < len(fives) < 12
    assert tally == {ENDED: len(fives)}
    assert {(row["correct"], row["answer"]) for row in fives} == {(False, None)}
    assert all(row["correct"] for row in found if row not in fives)


def test_a_text_cut_off_is_wrong(task: Task, problems: list[Problem]) -> None:
    tables = solution_tables(task, problems[:5], accuracy=0.6, seed=5)
    for problem in problems[:5]:
        whole, cut = (
            SimulatedPolicy(tables).generate(
                [Request(id="a", prompt=problem.prompt, seed=1, sampling=Sampling(max_tokens=most))]
            )[0]
            for most in (10_000, 10)
        )
        assert whole.text.startswith(cut.text)
        assert len(cut.text.split()) == 10
        assert (cut.finish_reason, cut.logprob) == ("length", None)
        assert cut.metadata == {"correct": False, "error_type": "truncated", "seen": False}
        assert not task.grade(problem, cut.text)

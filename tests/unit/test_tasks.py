"""What every built-in task promises: clean splits, right gold, wrong mistakes, pairs that style cannot tell apart."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from random import Random
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from harness.errors import DataError, RecipeError
from harness.tasks.fixed import FixedTask
from harness.tasks.registry import BUILT_IN, load_task
from harness.tasks.splits import split_clusters, wrong_options
from harness.tasks.task import Preference, Problem, Task

COUNTS = {"base": 40, "finetune": 90, "dev": 40, "test": 70}
PAIRS = 600
PROCEDURAL = sorted(name for name in BUILT_IN if not isinstance(load_task(name), FixedTask))
SHARES = {"base": 0.25, "finetune": 0.25, "dev": 0.15, "test": 0.35}


@pytest.fixture(scope="module", params=PROCEDURAL)
def task(request: pytest.FixtureRequest) -> Task:
    return load_task(request.param)


@pytest.fixture(scope="module")
def problems(task: Task) -> list[Problem]:
    return task.problems(COUNTS, seed=0)


@pytest.fixture(scope="module")
def pairs(task: Task, problems: list[Problem]) -> list[Preference]:
    return task.preferences(problems, count=PAIRS, seed=1)


def of_split(problems: list[Problem], split: str) -> list[Problem]:
    return [problem for problem in problems if problem.split == split]


# ---------------------------------------------------------------------------------------------------- problems


def test_counts_ids_and_prompts(problems: list[Problem]) -> None:
    assert Counter(problem.split for problem in problems) == COUNTS
    assert len({problem.id for problem in problems}) == len(problems)
    assert len({problem.prompt for problem in problems}) == len(problems)


def test_splits_share_no_cluster(problems: list[Problem]) -> None:
    splits_of: dict[str, set[str]] = {}
    for problem in problems:
        splits_of.setdefault(problem.cluster, set()).add(problem.split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert len(splits_of) >= 40


def test_more_problems_begin_with_fewer(task: Task, problems: list[Problem]) -> None:
    fewer = task.problems({"test": 30}, seed=0)
    assert fewer == of_split(problems, "test")[:30]


def test_seed_moves_splits_and_problems(task: Task, problems: list[Problem]) -> None:
    other = task.problems({"test": 30}, seed=1)
    assert {problem.cluster for problem in other} != {problem.cluster for problem in of_split(problems, "test")}
    assert not {problem.prompt for problem in other} & {problem.prompt for problem in problems}


def test_problems_are_json(problems: list[Problem]) -> None:
    for problem in problems[:20]:
        assert Problem(**json.loads(json.dumps(asdict(problem)))) == problem


def test_stored_problems_admit_the_same_mistakes(task: Task, problems: list[Problem]) -> None:
    kinds = (*task.seen_errors, *task.unseen_errors)
    for problem in problems[:10]:
        stored = Problem(**json.loads(json.dumps(asdict(problem))))
        expected = task.worked_mistakes(problem, Random(5), kinds)
        assert task.worked_mistakes(stored, Random(5), kinds) == expected


def test_texts_are_short(problems: list[Problem]) -> None:
    words = [len((problem.prompt + problem.solution).split()) for problem in problems]
    assert np.mean(words) < 120
    assert max(words) < 250


def test_unknown_split_and_option_are_recipe_errors(task: Task) -> None:
    with pytest.raises(RecipeError, match="train"):
        task.problems({"train": 1}, seed=0)
    with pytest.raises(RecipeError, match="did you mean 'shares'"):
        task.problems({"test": 1}, seed=0, options={"share": {}})


def test_every_option_has_a_rule_that_its_default_keeps(task: Task) -> None:
    assert task.rules.keys() == task.defaults.keys()
    assert wrong_options("it", task.defaults, task.defaults, task.rules) == {}
    for option in task.defaults:
        for value in (None, "many", {}, [], -1, True):
            assert wrong_options("it", {option: value}, task.defaults, task.rules), (option, value)


def test_version_is_the_installed_one(task: Task) -> None:
    assert re.fullmatch(r"\d+\.\d+.*", task.version)
    assert task.licence
    assert task.source


@pytest.mark.parametrize("number", [4, 5, 17, 75])
def test_clusters_are_dealt_out_once(number: int) -> None:
    clusters = [f"c{i}" for i in range(number)]
    dealt = split_clusters(clusters, SHARES, seed=3)
    assert sorted(cluster for part in dealt.values() for cluster in part) == sorted(clusters)
    assert all(dealt.values())
    reordered = {split: SHARES[split] for split in reversed(SHARES)}
    assert split_clusters(reversed(clusters), reordered, seed=3) == dealt
    if number == 75:
        assert {split: len(part) for split, part in dealt.items()} == pytest.approx(
            {split: share * number for split, share in SHARES.items()}, abs=1
        )


def test_too_few_clusters() -> None:
    with pytest.raises(DataError):
        split_clusters(["a", "b"], SHARES, seed=0)


# ---------------------------------------------------------------------------------------- solutions and mistakes


def test_gold_and_every_rewriting_is_right(task: Task, problems: list[Problem]) -> None:
    rng = Random(0)
    for problem in problems:
        assert task.grade(problem, problem.solution)
        texts = [task.rewrite(problem, rng) for _ in range(8)]
        assert all(task.grade(problem, text) for text in texts)
        assert all(task.extract(text) == problem.answer for text in texts)
        assert len(set(texts)) > 4


def test_every_mistake_is_wrong_in_every_style(task: Task, problems: list[Problem]) -> None:
    rng = Random(0)
    kinds = (*task.seen_errors, *task.unseen_errors)
    found: Counter[str] = Counter()
    for problem in problems:
        mistakes = task.worked_mistakes(problem, rng, kinds)
        found.update(mistake.error_type for mistake in mistakes)
        for mistake in mistakes:
            assert not task.grade(problem, mistake.solution)
            assert not task.grade(problem, task.restyle(mistake.solution, rng))
            assert task.extract(mistake.solution) is not None
            assert mistake.solution.count("\n") == problem.solution.count("\n")
    assert len(task.seen_errors) >= 3
    assert len(task.unseen_errors) >= 2
    assert not set(task.seen_errors) & set(task.unseen_errors)
    assert all(found[kind] >= len(problems) // 8 for kind in kinds), found
    assert found[task.seen_errors[0]] == len(problems)


def test_refused_proposals_are_counted(task: Task, problems: list[Problem]) -> None:
    """A grader that accepts everything leaves no mistake, and every proposal is counted."""

    class Lenient(type(task)):  # type: ignore[misc]
        def grade(self, problem: Problem, text: str) -> bool:
            return True

    refused: Counter[str] = Counter()
    assert Lenient().worked_mistakes(problems[0], Random(0), task.seen_errors, refused=refused) == []
    assert refused[task.seen_errors[0]] > 0


def test_style_is_drawn_apart_from_the_text(task: Task, problems: list[Problem]) -> None:
    for seed in range(20):
        one, other = Random(seed), Random(seed)
        task.restyle(problems[0].solution, one)
        task.restyle(problems[-1].solution, other)
        assert one.getstate() == other.getstate()


# ------------------------------------------------------------------------------------------------- preferences


def test_preferences_are_right_against_wrong(task: Task, problems: list[Problem], pairs: list[Preference]) -> None:
    by_id = {problem.id: problem for problem in problems}
    assert len(pairs) == PAIRS
    for pair in pairs:
        problem = by_id[pair.problem_id]
        assert (pair.prompt, pair.cluster) == (problem.prompt, problem.cluster)
        assert task.grade(problem, pair.chosen)
        assert not task.grade(problem, pair.rejected)


def test_preferences_show_seen_errors_only_and_all_of_them(task: Task, pairs: list[Preference]) -> None:
    shares = Counter(pair.error_type for pair in pairs)
    assert set(shares) == set(task.seen_errors)
    assert min(shares.values()) > len(pairs) / 20


def test_preferences_use_each_problem_once_first(task: Task, problems: list[Problem], pairs: list[Preference]) -> None:
    first = pairs[: len(problems)]
    assert len({pair.problem_id for pair in first}) == len(problems)
    assert len({(pair.prompt, pair.chosen, pair.rejected) for pair in pairs}) == len(pairs)
    assert task.preferences(problems, count=50, seed=1) == pairs[:50]
    assert task.preferences(problems, count=50, seed=2) != pairs[:50]


def test_both_sides_have_one_style(pairs: list[Preference]) -> None:
    """Everything but numbers, signs and gate names is the same text: opening, step marks, line ends, closing."""
    for pair in pairs:
        words = [re.findall(r"[A-Za-z][a-z']+|\n|[(#]", side) for side in (pair.chosen, pair.rejected)]
        assert words[0] == words[1]
    assert len({pair.chosen.split()[0] for pair in pairs}) > 4


def test_too_many_preferences(task: Task, problems: list[Problem]) -> None:
    """One problem has few different mistakes, so a million pairs must end in an error, not in a loop."""

    class Plain(type(task)):  # type: ignore[misc]
        def restyle(self, solution: str, rng: Random) -> str:
            return solution

    with pytest.raises(DataError, match="of 1,000,000"):
        Plain().preferences(problems[:1], count=1_000_000, seed=0)


def test_lengths_are_balanced(pairs: list[Preference]) -> None:
    chosen = np.array([len(pair.chosen) for pair in pairs])
    rejected = np.array([len(pair.rejected) for pair in pairs])
    assert np.mean(rejected / chosen) == pytest.approx(1, abs=0.01)
    longer = np.mean(rejected > chosen) - np.mean(rejected < chosen)
    assert abs(longer) < 0.05


@pytest.mark.parametrize("mask", [r"\d", r"\d[\d,.]*"])
def test_style_does_not_separate(pairs: list[Preference], mask: str) -> None:
    """Digit-masked words and word pairs, fitted on half of the clusters, tell little about the other half."""
    vectorizer = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), min_df=2)
    texts = [re.sub(mask, "0", text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    counts = vectorizer.fit_transform(texts).toarray().astype(float)
    differences = counts[0::2] - counts[1::2]
    half = set(sorted({pair.cluster for pair in pairs})[::2])
    fitted = np.array([pair.cluster in half for pair in pairs])
    model = LogisticRegression(C=0.1, fit_intercept=False, max_iter=500)
    model.fit(np.concatenate([differences[fitted], -differences[fitted]]), np.repeat([1, 0], fitted.sum()))
    margins = differences[~fitted] @ model.coef_[0]
    accuracy = np.mean(margins > 0) + np.mean(margins == 0) / 2
    assert 0.42 < accuracy < 0.58


# ---------------------------------------------------------------------------------------------------- the rest


def test_solution_table_holds_both(task: Task, problems: list[Problem]) -> None:
    for problem in problems[:40]:
        table = task.solution_table(problem, Random(1), 24)
        assert len({solution.text for solution in table}) == len(table) == 24
        assert sum(solution.correct for solution in table) == 12
        for solution in table:
            assert task.grade(problem, solution.text) == solution.correct == (solution.error_type == "")
        kinds = {solution.error_type for solution in table} - {""}
        assert kinds & set(task.seen_errors)
        assert kinds & set(task.unseen_errors)


DIGEST = """
import hashlib, random, sys
sys.path.insert(0, sys.argv[1])
from harness.tasks.registry import load_task
for name in sys.argv[2:]:
    task = load_task(name)
    made = task.problems({"finetune": 10, "test": 10}, seed=7)
    tables = [task.solution_table(problem, random.Random(2), 8) for problem in made]
    everything = (made, task.preferences(made, count=20, seed=3), tables)
    print(hashlib.sha256(repr(everything).encode()).hexdigest())
"""


def test_another_process_makes_the_same() -> None:
    root = __file__.rsplit("/tests/", 1)[0]
    digests = [
        subprocess.run(
            [sys.executable, "-c", DIGEST, root, *PROCEDURAL],
            env={"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for hash_seed in ("1", "2")
    ]
    assert len(set(digests[0])) == len(PROCEDURAL)
    assert digests[0] == digests[1]


class Benchmark(Task):
    """A task with problems and grading alone, as a benchmark read from a file would be."""

    name: ClassVar[str] = "benchmark"
    licence: ClassVar[str] = "none"
    source: ClassVar[str] = "here"

    def problems(
        self, count_by_split: Mapping[str, int], *, seed: int, options: Mapping[str, Any] | None = None
    ) -> list[Problem]:
        return [Problem(id="1", cluster="1", split="test", prompt="1+1=", answer="2", solution="2")]

    def extract(self, text: str) -> str | None:
        return text.strip() or None

    def grade(self, problem: Problem, text: str) -> bool:
        return self.extract(text) == problem.answer


def test_benchmark_without_mistakes() -> None:
    task = Benchmark()
    (problem,) = task.problems({"test": 1}, seed=0)
    assert task.rewrite(problem, Random(0)) == "2"
    assert task.version == ""
    with pytest.raises(DataError, match="0 of 1"):
        task.preferences([problem], count=1, seed=0)
    with pytest.raises(DataError, match="admits none"):
        task.solution_table(problem, Random(0), 4)


def test_proposals_are_not_exhausted() -> None:
    """An endless source of useless proposals is given up."""

    class Endless(Benchmark):
        seen_errors: ClassVar[tuple[str, ...]] = ("none",)

        def propose_mistakes(self, problem: Problem, rng: Random, kind: str) -> Iterator[str]:
            while True:
                yield problem.solution

    refused: Counter[str] = Counter()
    (problem,) = Endless().problems({"test": 1}, seed=0)
    assert Endless().worked_mistakes(problem, Random(0), ["none"], refused=refused) == []
    assert refused["none"] > 0

"""Where models fail: the numbers against brute force on small pools, and alarms that noise does not raise."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.evaluation.failures import (
    CONFIDENCES,
    FREQUENCIES,
    difficulty,
    features,
    frequency,
    margins,
    quantiles,
    rank_correlations,
    reliability,
    temperature,
)
from harness.evaluation.ranks import holm
from harness.events import EventLog
from harness.pipeline.failures import FailureRunSpec, FailuresSpec
from harness.stages import failures
from harness.stages.context import Given, StageContext
from harness.stages.failure_seeds import Row, alarms
from harness.stages.pools import Pool
from harness.store.artifacts import Candidates, Failures, Scores

PROBLEMS, N = 12, 8
RUNS = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Pools whose wrong candidates have two types, and answers from 0 (right) to 3; some problems are all right."""
    generator = np.random.default_rng(5)
    found = []
    for problem, index in product(range(PROBLEMS), range(N)):
        answer = 0 if problem == 3 else int(generator.integers(4))
        found.append(
            {
                "problem": f"q{problem}",
                "cluster": f"c{problem // 2}",
                "prompt": f"Q{problem}?",
                "index": index,
                "text": "x" * int(generator.integers(1, 30)) + "\n- 1" * int(generator.integers(3)),
                "answer": str(answer),
                "correct": answer == 0,
                "error_type": "" if answer == 0 else f"slip_{answer % 2}",
                "seen": False,
                "source": "",
            }
        )
    return found


@pytest.fixture(scope="module")
def rewards() -> dict[str, np.ndarray[Any, Any]]:
    """(problems, candidates) of four models, the dev scores of each, and of a baseline; whole numbers, so with ties."""
    generator = np.random.default_rng(6)
    names = [*(f"scores-{at}" for at in range(4)), *(f"dev-{at}" for at in range(4)), "base"]
    return {name: generator.integers(0, 6, (PROBLEMS, N)).astype(float) for name in names}


@pytest.fixture(scope="module")
def content(
    rows: list[dict[str, Any]], rewards: dict[str, np.ndarray[Any, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the stage makes of them."""
    folder = tmp_path_factory.mktemp("failures")
    inputs = {name: _written(folder / name) for name in ("candidates", "out", *rewards)}
    Candidates(inputs["candidates"]).write(rows)
    for name, table in rewards.items():
        Scores(inputs[name]).write(
            [
                {"group": group, "response": at, "score": table[group, at]}
                for group, at in product(range(PROBLEMS), range(N))
            ]
        )
    spec = FailuresSpec(
        runs=tuple(
            FailureRunSpec(pretrain_seed=one, finetune_seed=other, scores=f"scores-{at}", dev=f"dev-{at}")
            for at, (one, other) in enumerate(RUNS)
        ),
        against=(FailureRunSpec(pretrain_seed=None, finetune_seed=0, scores="base", dev=None),),
        n=(1, 2, 4),
        grading={},
        seed=0,
    )
    given = {name: Given(directory=path) for name, path in {**inputs, "dev": inputs["candidates"]}.items()}
    events = EventLog(folder / "events.jsonl")
    context = StageContext(spec=spec.identity(), inputs=given, directory=inputs["out"], events=events)
    result = failures.run(context)
    events.close()
    found: dict[str, Any] = json.loads(Failures(inputs["out"]).path.read_text())
    return {**found, "result": result}


def _written(folder: Path) -> Path:
    folder.mkdir()
    return folder


def mixed(rows: Sequence[dict[str, Any]]) -> list[int]:
    return [
        problem
        for problem in range(PROBLEMS)
        if 0 < sum(row["correct"] for row in rows if row["problem"] == f"q{problem}") < N
    ]


def pool_of(rows: Sequence[dict[str, Any]], problem: int) -> list[dict[str, Any]]:
    return [row for row in rows if row["problem"] == f"q{problem}"]


def models(rewards: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    return [rewards[f"scores-{at}"] for at in range(4)]


def picks(pool: Sequence[dict[str, Any]], values: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    return [row for row, value in zip(pool, values, strict=True) if value == values.max()]


def test_errors_are_those_of_the_top_candidates(
    content: dict[str, Any], rows: list[dict[str, Any]], rewards: dict[str, np.ndarray[Any, Any]]
) -> None:
    rates, types = [], {"slip 0": 0.0, "slip 1": 0.0}
    for problem in mixed(rows):
        pool = pool_of(rows, problem)
        for values in models(rewards):
            top = picks(pool, values[problem])
            wrong = [row for row in top if not row["correct"]]
            rates.append(len(wrong) / len(top))
            for row in wrong:
                types[row["error_type"].replace("_", " ")] += 1 / len(top)
    errors = content["errors"]
    assert errors["rate"]["estimate"] == pytest.approx(np.mean(rates))
    assert errors["rate"]["low"] < np.mean(rates) < errors["rate"]["high"]
    assert {one["name"].replace("_", " "): one["picked"]["estimate"] for one in errors["by_type"]} == pytest.approx(
        {name: number / sum(types.values()) for name, number in types.items()}
    )
    by_bin = sum(one["rate"]["estimate"] * one["rate"]["problems"] for one in errors["by_difficulty"])
    assert by_bin == pytest.approx(np.sum(rates) / 4)
    assert sum(one["picked"]["estimate"] for one in errors["by_frequency"]) == pytest.approx(1)
    assert sum(one["drawn"] for one in errors["by_type"]) == pytest.approx(1)


def test_margins_and_calibration_are_of_all_couples(
    content: dict[str, Any], rows: list[dict[str, Any]], rewards: dict[str, np.ndarray[Any, Any]]
) -> None:
    negative, sure, right = [], [], []
    for values, problem in product(models(rewards), mixed(rows)):
        correct = np.array([row["correct"] for row in pool_of(rows, problem)])
        gaps = [one - other for one in values[problem][correct] for other in values[problem][~correct]]
        negative.append(np.mean([(gap < 0) + (gap == 0) / 2 for gap in gaps]))
        sure.append(np.mean([1 / (1 + math.exp(-abs(gap))) for gap in gaps]))
        right.append(np.mean([(gap > 0) + (gap == 0) / 2 for gap in gaps]))
    assert content["margins"]["negative"]["estimate"] == pytest.approx(np.mean(negative))
    trained, fitted = content["calibration"]
    assert trained["overconfidence"]["estimate"] == pytest.approx(np.mean(sure) - np.mean(right))
    assert sum(one["share"] for one in trained["bins"]) == pytest.approx(1)
    assert trained["error"] >= abs(trained["overconfidence"]["estimate"]) - 1e-12
    assert len(fitted["temperatures"]) == 4
    assert fitted["error"] < trained["error"]  # rewards that know nothing are far too sure of it


def test_disagreement_and_ensembles(
    content: dict[str, Any], rows: list[dict[str, Any]], rewards: dict[str, np.ndarray[Any, Any]]
) -> None:
    chances = np.array(
        [
            [np.mean([row["correct"] for row in picks(pool_of(rows, at), values[at])]) for at in range(PROBLEMS)]
            for values in (*models(rewards), rewards["base"])
        ]
    )

    def apart(*pairs: tuple[int, int]) -> float:
        both = [(chances[one], chances[other]) for one, other in pairs]
        return float(np.mean([one * (1 - other) + other * (1 - one) for one, other in both]))

    found = content["disagreement"]
    assert found["PMP seeds"]["differ"]["estimate"] == pytest.approx(apart((0, 2), (1, 3)))
    assert found["fine-tuning seeds"]["differ"]["estimate"] == pytest.approx(apart((0, 1), (2, 3)))
    baseline = found["baseline"]
    assert baseline["differ"]["estimate"] == pytest.approx(apart(*((one, 4) for one in range(4))))
    assert baseline["only_this"]["estimate"] + baseline["only_baseline"]["estimate"] == pytest.approx(
        baseline["differ"]["estimate"]
    )
    scaled = [
        (values - values.mean(axis=1, keepdims=True)) / np.sqrt(values[mixed(rows)].var(axis=1).mean())
        for values in models(rewards)
    ]
    one_group = [(scaled[0] + scaled[2]) / 2, (scaled[1] + scaled[3]) / 2]
    expected = np.mean(
        [
            np.mean(
                [row["correct"] for row in picks([pool[at] for at in pair], np.round(values[problem][list(pair)], 9))]
            )
            for values, problem in product(one_group, range(PROBLEMS))
            for pool in [pool_of(rows, problem)]
            for pair in product(range(N), repeat=2)
            if pair[0] < pair[1]
        ]
    )
    assert content["key_size"] == 2
    by_kind = {one["over"]: one for one in content["ensembles"]}
    assert list(by_kind) == ["single models", "PMP seeds", "fine-tuning seeds", "all models"]
    assert by_kind["PMP seeds"]["accuracy"]["estimate"] == pytest.approx(expected)
    gain = by_kind["PMP seeds"]["accuracy"]["estimate"] - by_kind["single models"]["accuracy"]["estimate"]
    assert by_kind["PMP seeds"]["gain"]["estimate"] == pytest.approx(gain)


def test_the_worst_problem_is_the_one_with_the_widest_gap(
    content: dict[str, Any], rows: list[dict[str, Any]], rewards: dict[str, np.ndarray[Any, Any]]
) -> None:
    gaps = {}
    for run, values in zip(RUNS, models(rewards), strict=True):
        scale = np.sqrt(values[mixed(rows)].var(axis=1).mean())
        for problem in mixed(rows):
            correct = np.array([row["correct"] for row in pool_of(rows, problem)])
            gaps[run, problem] = (values[problem][~correct].max() - values[problem][correct].max()) / scale
    worst = content["worst"]
    assert worst[0]["gap"] == pytest.approx(max(gaps.values()))
    assert [one["gap"] for one in worst] == sorted((one["gap"] for one in worst), reverse=True)
    assert len({one["problem"] for one in worst}) == len(worst)
    for one in worst:
        assert one["wrong"]["reward"] > one["right"]["reward"]
        run = (one["pretrain_seed"], one["finetune_seed"])
        assert gaps[run, int(one["problem"].removeprefix("q"))] == pytest.approx(one["gap"])


def test_rank_correlations_are_scipys() -> None:
    generator = np.random.default_rng(1)
    ours, theirs = generator.integers(0, 5, (3, 20)).astype(float), generator.integers(0, 5, (2, 20)).astype(float)
    found = rank_correlations(np.vstack([ours, np.ones(20)]), np.vstack([theirs, np.ones(20)]))
    expected = [[stats.spearmanr(one, other).statistic for other in theirs] for one in ours]
    assert found[:3, :2] == pytest.approx(np.array(expected))
    assert found[3, :2].tolist() == [0.0, 0.0]
    assert np.isnan(found[:, 2]).all()


def test_features_and_frequencies() -> None:
    described = features(["ab1\n# head\n- item", ""])
    assert described[:, 0].tolist() == pytest.approx([17, 3, 1 / 17, 2 / 3])
    assert described[:, 1].tolist() == [0, 1, 0, 0]
    kinds = [FREQUENCIES[one] for one in frequency([0, 0, 1, 1, 2, None, 3, 3, 3])]
    assert kinds == [*["repeated"] * 4, "unique", "none stated", *["most frequent"] * 3]
    assert [FREQUENCIES[one] for one in frequency([0, 1, None])] == ["unique", "unique", "none stated"]
    assert [difficulty(np.array([True] * right + [False] * (8 - right))) for right in (0, 1, 2, 4, 7, 8)] == [
        *(None, 1, 1, 2, 4),
        None,
    ]


def test_thinned_margins_keep_their_distribution() -> None:
    generator = np.random.default_rng(2)
    values, correct = generator.normal(size=400), np.arange(400) % 5 == 0
    whole, thinned = margins(values, correct, 10**9), margins(values, correct, 2_000)
    assert len(whole) == 80 * 320
    assert len(thinned) <= 2_000
    at = (0.05, 0.5, 0.95)
    assert quantiles([thinned], at) == pytest.approx(quantiles([whole], at), abs=0.1)
    assert quantiles([np.array([1.0]), np.array([2.0, 3.0, 4.0])], [0.5, 0.6]).tolist() == [1.0, 2.0]


def test_the_temperature_is_the_one_the_labels_were_drawn_with() -> None:
    generator = np.random.default_rng(3)
    size = np.abs(generator.normal(0, 4, 40_000))
    margin = np.where(generator.random(len(size)) < 1 / (1 + np.exp(-size / 2.5)), size, -size)
    found = temperature([margin])
    assert found == pytest.approx(2.5, rel=0.05)
    weight, sure, right = reliability([margin], found)
    assert weight.sum() == pytest.approx(1)
    assert np.abs(sure - right).sum() < 0.01
    assert len(weight) == len(CONFIDENCES) - 1
    assert temperature([np.array([1.0, 2.0])]) < 0.01  # never wrong: as sure as can be
    assert temperature([np.array([-1.0, -2.0])]) > 100  # always wrong: as unsure as can be


# -------------------------------------------------------------------------------------------------------- alarms


def row_of(rewards: Sequence[Sequence[Any]], pools: Sequence[Pool]) -> Row:
    runs = [(None, at) for at in range(len(rewards))]
    return Row.of(pools, rewards, runs, [1, 2, 4, 8])


def pools_of(generator: np.random.Generator, problems: int = 24, size: int = 16) -> list[Pool]:
    found = []
    for at in range(problems):
        correct = generator.random(size) < generator.uniform(0.1, 0.9)
        found.append(
            Pool(
                problem=f"q{at}",
                cluster=f"q{at}",
                answers=(None,) * size,
                correct=correct,
                seen_errors=~correct,
                unseen_errors=np.zeros(size, dtype=bool),
                texts=tuple("x" * int(number) for number in generator.integers(1, 200, size)),
                sources=("",) * size,
            )
        )
    return found


def fired(row: Row) -> set[str]:
    found = alarms(row, Row.of(row.pools, [], [], [1]), [pool.cluster for pool in row.pools], 0)
    tested = [one for one in found if one["p_value"] is not None]
    adjusted = holm([one["p_value"] for one in tested])
    return {one["rule"] for one, p in zip(tested, adjusted, strict=True) if p <= 0.05} | {
        one["rule"] for one in found if one.get("fires")
    }


def test_rewards_that_know_nothing_raise_no_alarm_more_often_than_promised() -> None:
    """Every null holds at its edge: the curve is flat, at a random pick, and right beats wrong like a coin."""
    generator = np.random.default_rng(7)
    tries, false = 100, 0
    for _ in range(tries):
        pools = pools_of(generator)
        rewards = [[generator.normal(size=len(pool.correct)) for pool in pools] for _ in range(2)]
        false += bool(fired(row_of(rewards, pools)))
    assert false <= stats.binom.ppf(0.999, tries, 0.05)


def test_every_signature_is_found_where_it_is() -> None:
    generator = np.random.default_rng(8)
    pools = pools_of(generator, problems=60)
    noise = [generator.normal(size=len(pool.correct)) for pool in pools]
    lengths = [np.array([float(len(text)) for text in pool.texts]) for pool in pools]
    against = [one - 1.5 * pool.correct for one, pool in zip(noise, pools, strict=True)]
    assert fired(row_of([against], pools)) == {"falls with N", "below a reference", "wrong above right"}
    assert fired(row_of([[one + 100 * pool.correct for one, pool in zip(lengths, pools, strict=True)]], pools)) == {
        "ranks by length"
    }
    assert fired(row_of([[np.ones_like(one) for one in noise]], pools)) == {"constant rewards"}
    # the highest rewards are a few wrong candidates': more right on the way, then less
    hacked = [one + 2 * pool.correct for one, pool in zip(noise, pools, strict=True)]
    for values, pool in zip(hacked, pools, strict=True):
        if (~pool.correct).any():
            values[np.flatnonzero(~pool.correct)[0]] = 10.0
    assert fired(row_of([hacked], pools)) >= {"falls with N"}

"""RewardBench 2 and RM-Bench: equal to the published rules' numbers on a committed example, edge cases by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.evaluation.reward_benchmarks import (
    TiedPrompt,
    stratum_weights,
    style_accuracies,
    ties_values,
    top_share,
)

EXAMPLE = json.loads((Path(__file__).parents[1] / "data" / "reward_benchmarks.json").read_text())


def right_of(row: dict[str, Any]) -> np.ndarray:
    return np.arange(len(row["scores"])) < row["num_correct"]


def test_rewardbench2_is_the_mean_of_its_subsets_as_published() -> None:
    rows, published = EXAMPLE["rewardbench2"]["rows"], EXAMPLE["rewardbench2"]
    scores = [np.array(row["scores"]) for row in rows]
    ties = ties_values(
        {
            row["id"]: TiedPrompt.of(rewards, right_of(row))
            for row, rewards in zip(rows, scores, strict=True)
            if row["subset"] == "Ties"
        }
    )
    values = np.array(
        [
            ties[row["id"]] if row["subset"] == "Ties" else top_share(rewards, right_of(row))
            for row, rewards in zip(rows, scores, strict=True)
        ]
    )
    for subset, score in published["subsets"].items():
        inside = [row["subset"] == subset for row in rows]
        assert values[inside].mean() == pytest.approx(score, abs=1e-12), subset
    weights = stratum_weights([(row["subset"],) for row in rows])
    assert (values * weights).mean() == pytest.approx(published["score"], abs=1e-12)


def test_rm_bench_is_the_mean_of_its_domains_as_published() -> None:
    rows, published = EXAMPLE["rm_bench"]["rows"], EXAMPLE["rm_bench"]
    levels = [style_accuracies(np.array(row["score_chosen"]), np.array(row["score_rejected"])) for row in rows]
    strata = [tuple(row["domain"].split("-")) for row in rows]
    weights = stratum_weights(strata)
    for level, score in published["levels"].items():
        assert (np.array([one[level] for one in levels]) * weights).mean() == pytest.approx(score, abs=1e-12), level
    mean = np.array([sum(one.values()) / 3 for one in levels])
    assert (mean * weights).mean() == pytest.approx(published["score"], abs=1e-12)
    for domain, score in published["domains"].items():
        inside = [at for at, stratum in enumerate(strata) if stratum[0] == domain]
        within = stratum_weights([strata[at] for at in inside])
        assert (mean[inside] * within).mean() == pytest.approx(score, abs=1e-12), domain


@pytest.mark.parametrize(
    ("scores", "share"),
    [([2.0, 1.0, 1.0, 1.0], 1.0), ([1.0, 1.0, 0.0, 0.0], 0.5), ([0.0, 1.0, 1.0, 0.0], 0.0), ([1.0] * 4, 0.25)],
)
def test_equal_rewards_share_a_best_of_four(scores: list[float], share: float) -> None:
    assert top_share(np.array(scores), np.array([True, False, False, False])) == share


def test_a_tie_is_no_win_in_rm_bench() -> None:
    assert style_accuracies(np.ones(3), np.ones(3)) == {"hard": 0.0, "normal": 0.0, "easy": 0.0}
    assert style_accuracies(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])) == {
        "hard": 0.0,
        "normal": 0.0,
        "easy": 1.0,
    }


def test_ties_without_their_other_half_count_by_their_own_accuracy() -> None:
    good, bad = TiedPrompt(spread=0.0, margin=1.0), TiedPrompt(spread=0.0, margin=-1.0)
    assert ties_values({"ref:0": good}) == {"ref:0": 0.3}
    both = ties_values({"ref:0": bad, "tied:0": good, "tied:1": good})
    assert sum(both.values()) / 3 == pytest.approx(0.30 * 0 + 0.30 * 1 + 0.20 * 1 + 0.20 * 0 + 0.01 * -1)

"""Stages that judge candidate pools: votes among equal answers, pools of few candidates, scores from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.errors import DataError
from harness.events import EventLog, Warned, read_events
from harness.stages import aligned_scores, best_of_n, choices, pair_accuracy, pool_baselines, score
from harness.stages.context import Given, StageContext
from harness.store.artifacts import Candidates, CandidateScores, Checkpoint, Pairs, ProblemValues, Scores
from harness.store.tokens import write_tokens
from tests.toys.small_training import VOCABULARY, small_model

Answers = Sequence[tuple[str | None, bool]]
Ran = tuple[dict[str, Any], Path, list[str]]
Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(stage: ModuleType, inputs: Mapping[str, Path], **spec: Any) -> Ran:
        folder = tmp_path / f"{stage.__name__}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        events = EventLog(folder / "events.jsonl")
        given = {name: Given(directory=path) for name, path in inputs.items()}
        try:
            result = stage.run(StageContext(spec=spec, inputs=given, directory=folder, events=events))
        finally:
            events.close()
        told = [one.message for one in read_events(folder / "events.jsonl") if isinstance(one, Warned)]
        return result, folder, told

    return run


def pool(folder: Path, *problems: Answers) -> Path:
    """Candidates whose texts are their indexes."""
    folder.mkdir()
    Candidates(folder).write(
        [
            {
                "problem": f"q{number}",
                "cluster": f"q{number}",
                "prompt": f"Q{number}?\n",
                "index": index,
                "text": f"text {index}",
                "answer": answer,
                "correct": correct,
                "error_type": "" if correct else "unknown",
                "seen": False,
                "source": "",
            }
            for number, answers in enumerate(problems)
            for index, (answer, correct) in enumerate(answers)
        ]
    )
    return folder


def scores(folder: Path, *lengths: int) -> Path:
    """The later candidate is the better one."""
    folder.mkdir()
    rows = [(group, index) for group, length in enumerate(lengths) for index in range(length)]
    Scores(folder).write([{"group": group, "response": index, "score": float(index)} for group, index in rows])
    return folder


HALVES: Answers = [(one, True) for one in ("1/2", "0.5", r"\frac{1}{2}", ".5", "$0.50$")] + [("2", False)] * 3
THOUSANDS: Answers = [(one, True) for one in ("1,000", "1000", "1000.0", "1000")] + [
    (one, False) for one in ("7", "07", "8", "9")
]


def test_equal_answers_vote_together(tmp_path: Path, run: Run) -> None:
    result, _, told = run(
        pool_baselines, {"candidates": pool(tmp_path / "pool", HALVES, THOUSANDS)}, n=[1, 8], grading={}
    )
    assert result["means"]["majority/bon@8"] == 1.0
    assert result["means"]["mean/bon@1"] == 0.5625
    assert (result["area_sizes"], result["contradictory_answers"], told) == ([2], 0, [])


def test_equal_answers_with_different_labels_are_counted_and_told(tmp_path: Path, run: Run) -> None:
    odd: Answers = [("(x+1)^2", True), ("x^2+2x+1", False), ("3", False)]
    unread: Answers = [("1", True), ("who knows", False), (None, False)]
    result, _, told = run(pool_baselines, {"candidates": pool(tmp_path / "pool", odd)}, n=[3], grading={})
    assert result["means"]["majority/bon@3"] == 0.5
    assert result["contradictory_answers"] == 1
    result, _, _ = run(pool_baselines, {"candidates": pool(tmp_path / "unread", unread)}, n=[3], grading={})
    assert (result["without_answer"], result["compared_as_text"]) == (1, 1)
    assert "in 1 of 1 problems equal answers are labelled right and wrong" in told


def test_a_vote_among_too_many_subsets_to_count_is_sampled(tmp_path: Path, run: Run) -> None:
    many: Answers = [("1", True)] * 900 + [("2", False)] * 600
    result, _, _ = run(pool_baselines, {"candidates": pool(tmp_path / "pool", many)}, n=[750], grading={})
    assert result["means"]["majority/bon@750"] == 1.0


SEVEN: Answers = [(str(index), index == 6) for index in range(7)]
NINE: Answers = [(str(index), index == 8) for index in range(9)]


def test_pools_below_eight_candidates_have_a_curve_and_no_area(tmp_path: Path, run: Run) -> None:
    inputs = {"candidates": pool(tmp_path / "pool", SEVEN, NINE), "scores": scores(tmp_path / "scores", 7, 9)}
    result, folder, _ = run(best_of_n, inputs, n=[1, 2, 4, 7, 9], grading={})
    assert (result["area_sizes"], result["left_out"], result["smallest_pool"]) == ([], [9], 7)
    metrics = [name for name in result["means"] if name.startswith("bon")]
    assert metrics == ["bon@1", "bon@2", "bon@4", "bon@7"]
    assert sum(row["metric"] in metrics for row in ProblemValues(folder).rows()) == 2 * 4
    result, _, told = run(pool_baselines, {"candidates": inputs["candidates"]}, n=[1, 2, 4, 7, 9], grading={})
    assert {name for name in result["means"] if "area" in name} == set()
    assert told == [
        "one problem has 7 candidates: N = 9 left out for this task",
        "one problem has 7 candidates and the BoN area needs 8: there is none for this task",
    ]
    assert result["means"]["oracle/bon@7"] == pytest.approx((1 + 7 / 9) / 2, abs=1e-6)


def test_the_area_does_not_depend_on_what_else_is_listed(tmp_path: Path, run: Run) -> None:
    sixteen: Answers = [(None, index % 3 == 0) for index in range(16)]
    inputs = {"candidates": pool(tmp_path / "pool", sixteen), "scores": scores(tmp_path / "scores", 16)}
    areas = set()
    for listed in ([1], [1, 2, 4], [3, 5, 16], [100]):
        result, _, _ = run(best_of_n, inputs, n=listed, grading={})
        means = result["means"]
        assert result["area_sizes"] == [2, 4]
        assert means["area"] == pytest.approx((means["bon@2"] + means["bon@4"]) / 2, abs=1e-6)
        areas.add(means["area"])
    assert len(areas) == 1


def test_scores_from_outside_judge_the_pairs_that_the_arms_are_judged_on(tmp_path: Path, run: Run) -> None:
    candidates = pool(tmp_path / "pool", SEVEN, SEVEN)
    for name in ("published", "pairs", "tokens"):
        (tmp_path / name).mkdir()
    rows = [(f"q{number}", index) for number in range(2) for index in range(7)]
    CandidateScores(tmp_path / "published").write(
        [{"task": "", "problem": problem, "candidate": index, "score": -float(index)} for problem, index in rows]
    )
    sides = (("q0#0", 6, 0), ("q1#1", 6, 2), ("q1#2", 1, 5))
    Pairs(tmp_path / "pairs").write(
        [
            {
                "id": name,
                "cluster": name[:2],
                "prompt": "",
                "chosen": f"text {a}",
                "rejected": f"text {b}",
                "detail": "",
            }
            for name, a, b in sides
        ]
    )
    write_tokens(tmp_path / "tokens", [(row, [[1], [1], [1]]) for row in (0, 2)], 2)  # the second did not fit
    inputs = {
        "scores": tmp_path / "published",
        "candidates": candidates,
        "pairs": tmp_path / "pairs",
        "tokens": tmp_path / "tokens",
    }
    result, aligned, _ = run(aligned_scores, inputs, task="")
    assert result == {"groups": 2, "responses": 4, "unused": 10}
    assert [row["score"] for row in Scores(aligned).rows()] == [-6.0, 0.0, -1.0, -5.0]
    result, judged, _ = run(pair_accuracy, {"scores": aligned, "pairs": tmp_path / "pairs"})
    assert {row["problem"]: row["value"] for row in ProblemValues(judged).rows()} == {"q0#0": 0.0, "q1#2": 1.0}
    assert result["pairs"] == 2


# ------------------------------------------------------------------------------ problems that no reward can decide

DECIDED: list[Answers] = [
    [("1", True)] * 16,
    [(str(index % 5) if index % 7 else None, index % 5 == 2 and index % 7 != 0) for index in range(16)],
    [(str(index), False) for index in range(12)],
    [(str(index % 3), index % 3 == 0) for index in range(13)],
]
MIXED = (1, 3)


def written(folder: Path, pools: Sequence[Sequence[float]], groups: Sequence[int]) -> Path:
    folder.mkdir()
    Scores(folder).write(
        [
            {"group": group, "response": index, "score": score}
            for group in groups
            for index, score in enumerate(pools[group])
        ]
    )
    return folder


def test_values_are_equal_whether_or_not_decided_problems_are_scored(tmp_path: Path, run: Run) -> None:
    generator = np.random.default_rng(4)
    rewards = [generator.normal(size=len(answers)).tolist() for answers in DECIDED]
    candidates = pool(tmp_path / "pool", *DECIDED)
    every = written(tmp_path / "every", rewards, range(4))
    few = written(tmp_path / "few", rewards, MIXED)
    for stage, spec in ((best_of_n, {"n": [1, 2, 3, 4, 8], "grading": {}}), (choices, {})):
        ours, theirs = (run(stage, {"candidates": candidates, "scores": path}, **spec) for path in (every, few))
        assert ours[0] == theirs[0]
        assert ProblemValues(ours[1]).rows() == ProblemValues(theirs[1]).rows()
        assert ours[0]["means"].keys() >= ({"area", "weighted_vote@4", "headroom_area"} if "n" in spec else set())
    with pytest.raises(DataError, match="problem q3 has 0 for 13"):
        run(choices, {"candidates": candidates, "scores": written(tmp_path / "fewer", rewards, MIXED[:1])})


def test_published_scores_need_not_have_decided_problems(tmp_path: Path, run: Run) -> None:
    def published(name: str, problems: Sequence[int]) -> dict[str, Path]:
        (tmp_path / name).mkdir()
        CandidateScores(tmp_path / name).write(
            [
                {"task": "", "problem": f"q{number}", "candidate": index, "score": float(index)}
                for number in problems
                for index in range(len(DECIDED[number]))
            ]
        )
        return {"scores": tmp_path / name, "candidates": candidates}

    candidates = pool(tmp_path / "pool", *DECIDED)
    assert run(aligned_scores, published("every", range(4)), task="")[0]["groups"] == 4
    few = run(aligned_scores, published("few", MIXED), task="")
    assert few[0] == {"groups": 2, "responses": 29, "unused": 0}
    assert {row["group"] for row in Scores(few[1]).rows()} == set(MIXED)
    with pytest.raises(DataError, match="13 of 29 have none, the first of them candidate 0 of q3"):
        run(aligned_scores, published("fewer", MIXED[:1]), task="")


def test_models_score_undecided_problems_alone(tmp_path: Path, run: Run) -> None:
    def tokens(name: str, *pools: Answers) -> dict[str, Path]:
        (tmp_path / name).mkdir()
        groups = [(at, [[1, 2], *([3, 4 + index] for index in range(len(one)))]) for at, one in enumerate(pools)]
        write_tokens(tmp_path / name, groups, VOCABULARY)
        return {
            "checkpoint": tmp_path,
            "tokens": tmp_path / name,
            "candidates": pool(tmp_path / f"pool of {name}", *pools),
        }

    small_model("llama", tie=False).save(Checkpoint(tmp_path).model)
    inputs = tokens("all", *DECIDED)
    result, folder, _ = run(score, inputs, precision="fp32")
    assert (result["groups"], result["all_right"], result["all_wrong"], result["responses"]) == (2, 1, 1, 29)
    found = Scores(folder).rows()
    assert [(row["group"], row["response"]) for row in found] == [
        (at, no) for at in MIXED for no in range(len(DECIDED[at]))
    ]
    del inputs["candidates"]
    _, folder, _ = run(score, inputs, precision="fp32")
    every = {(row["group"], row["response"]): row["score"] for row in Scores(folder).rows()}
    assert [row["score"] for row in found] == pytest.approx([every[row["group"], row["response"]] for row in found])
    result, folder, _ = run(score, tokens("none", DECIDED[0], DECIDED[2]), precision="fp32")
    assert (result["groups"], result["mean"], Scores(folder).rows()) == (0, None, [])

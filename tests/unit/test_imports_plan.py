"""Imports in recipes: found by name in a workdir, resolved to content; what does not fit is told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from harness.pipeline.counts import task_problems
from harness.pipeline.graph import Graph, Stage
from harness.pipeline.imports import IMPORTED, AssetSpec, Import, Imports, import_problems, imports_of
from harness.pipeline.kinds import KINDS
from harness.plan.analysis import analysis_stage
from harness.plan.plan import Plan, make_plan
from harness.report.board import boards
from harness.report.status import look
from harness.store.identity import fingerprint
from harness.store.store import Store
from tests.conftest import Load

POOL = {
    "problems": 100,
    "clusters": 90,
    "candidates": 800,
    "smallest_pool": 8,
    "largest_pool": 9,
    "mixed": False,
    "sources": ["m"],
}
RESULTS: Mapping[str, Mapping[str, Any]] = {
    "pool": POOL,
    "pairs": {"groups": 200, "clusters": 90},
    "scores": {"scores": 800, "tasks": []},
    "checkpoint": {"chat": False, "layer_parameters": 1_000, "parameters": 2_000},
}


def imports(**changes: Mapping[str, Any]) -> Imports:
    """One import of every kind, called `a-pool` and so on."""
    return {
        (what, f"a-{what}"): Import(
            what=what,
            name=f"a-{what}",
            spec=AssetSpec(digest=what * 3),
            fingerprint=what,
            result={**result, "name": f"a-{what}", "licence": "MIT", "source": "here"} | dict(changes.get(what, {})),
        )
        for what, result in RESULTS.items()
    }


@pytest.fixture
def asking(recipe: dict[str, Any]) -> dict[str, Any]:
    """The small recipe with a pool task, imported pairs and rows from outside."""
    recipe["tasks"]["pot"] = {
        "kind": "pool",
        "import": "a-pool",
        "problems": {"finetune": 40, "dev": 10, "test": 30},
        "max_tokens": 128,
    }
    recipe["pairs"] = {"import": "a-pairs", "count": 160, "heldout": 0.2, "max_tokens": 128}
    recipe["finetune"]["tasks"] = ["sums", "pot"]
    recipe["evaluate"]["best_of_n"]["tasks"] = ["sums", "pot"]
    recipe["evaluate"]["pair_accuracy"]["tasks"] = ["pot"]
    recipe["evaluate"]["imported"] = {
        "rm": {"checkpoint": "a-checkpoint"},
        "published": {"scores": "a-scores", "tasks": ["pot"]},
    }
    return recipe


@pytest.fixture
def told(load: Load) -> Callable[..., list[str]]:
    def told(data: Mapping[str, Any], known: Imports) -> list[str]:
        return [problem.one_line() for problem in import_problems(load(data), known)]

    return told


def of_kind(plan: Plan, kind: str) -> list[Stage]:
    return [stage for stage in plan.stages if stage.kind.name == kind]


def test_names_that_nobody_imported_are_told_all_at_once(
    asking: dict[str, Any], told: Callable[..., list[str]]
) -> None:
    lines = told(asking, {})
    assert len(lines) == 4
    for path, what in (
        ("pairs.import", "pairs"),
        ("tasks.pot.import", "pool"),
        ("evaluate.imported.rm.checkpoint", "checkpoint"),
        ("evaluate.imported.published.scores", "scores"),
    ):
        (line,) = [one for one in lines if f"`{path}`" in one]
        assert ".yaml:" in line
        assert f"but 'a-{what}' is not there, nor any other {what}; " in line
        assert f"`harness import {what} PATH --name a-{what} --licence" in line
    assert told(asking, imports()) == []
    asking["tasks"]["pot"]["import"] = "a-poool"
    assert "'a-poool' is not one of a-pool" in told(asking, imports())[0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pool": {"problems": 79}}, "must not exceed the problems of pool 'a-pool', but requested 80 of 79"),
        ({"pool": {"clusters": 1}}, "needs a cluster of pool 'a-pool', but it has 1"),
        ({"pairs": {"groups": 159}}, "must not exceed the imported pairs, but requested 160 of 159"),
        (
            {"pairs": {"groups": 170}},
            "that are not held out, but requested 160 of 136",
        ),
        ({"scores": {"tasks": ["logic"]}}, "must name tasks of scores 'a-scores', but 'pot' is not one of logic"),
    ],
)
def test_what_an_import_does_not_hold_is_told_when_planning(
    asking: dict[str, Any], told: Callable[..., list[str]], changes: dict[str, Any], says: str
) -> None:
    (line,) = told(asking, imports(**changes))
    assert says in line


def test_an_n_beyond_a_tasks_pools_is_for_other_tasks_and_refused_where_none_fits(
    asking: dict[str, Any], told: Callable[..., list[str]]
) -> None:
    small = imports(pool={"smallest_pool": 1, "largest_pool": 3})
    assert max(asking["evaluate"]["best_of_n"]["n"]) == 4
    assert told(asking, small) == []
    asking["evaluate"]["best_of_n"]["n"] = [4]
    (line,) = told(asking, small)
    assert (
        "`evaluate.best_of_n.n` must have an N within the pools of 'a-pool', but they hold 3 candidates at most" in line
    )


def test_scores_need_a_task_and_chat_a_template(asking: dict[str, Any], told: Callable[..., list[str]]) -> None:
    rows = asking["evaluate"]["imported"]
    del rows["published"]["tasks"]
    rows["rm"]["text"] = "chat"
    lines = told(asking, imports())
    assert any("their file names no task, and there are several" in line for line in lines)
    assert any("needs a chat template, but 'a-checkpoint' came without one" in line for line in lines)
    assert told(asking, imports(scores={"tasks": ["pot", "else"]}, checkpoint={"chat": True})) == []
    assert "they are of else" in told(asking, imports(scores={"tasks": ["else"]}, checkpoint={"chat": True}))[0]


def test_a_pool_gives_one_fine_tuning_pair_a_problem(asking: dict[str, Any], load: Load) -> None:
    asking["finetune"]["samples"] = 64
    asking["tasks"]["pot"]["problems"]["finetune"] = 31
    (problem,) = task_problems(load(asking))
    assert "`pot`, but needs 32 of 31 (one pair a problem)" in problem.one_line()


def test_an_axis_may_choose_among_imports(asking: dict[str, Any], told: Callable[..., list[str]]) -> None:
    asking["ablations"] = {"axes": {"pairs.import": ["a-pairs", "others"]}}
    (line,) = told(asking, imports())
    assert "'others' is not one of a-pairs" in line


def test_a_pool_task_and_imported_pairs_need_no_engine_and_no_construction(asking: dict[str, Any], load: Load) -> None:
    asking["evaluate"]["best_of_n"] |= {"tasks": ["pot"], "candidates": None}
    plan = make_plan(load(asking), imports())
    kinds = {stage.kind.name for stage in plan.stages}
    assert not kinds & {"candidates_part", "pairs", "pairs_part"}
    assert {"imported_pool", "imported_pairs", "problems", "problem_splits", "preferences", "candidates"} <= kinds
    assert {"split_pairs", "imported_checkpoint", "imported_scores", "aligned_scores"} <= kinds
    assert [stage.identity["spec"]["split"] for stage in of_kind(plan, "split_pairs")] == ["train", "heldout"]
    for stage in of_kind(plan, "candidates"):
        assert {name: item.stage.kind.name for name, item in stage.inputs.items()} == {
            "pool": "imported_pool",
            "problems": "problems",
        }


def test_identity_is_the_content_and_not_its_name(asking: dict[str, Any], load: Load) -> None:
    one = make_plan(load(asking), imports())
    renamed = {(what, "other"): made for (what, _), made in imports().items()}
    asking["tasks"]["pot"]["import"] = asking["pairs"]["import"] = "other"
    asking["evaluate"]["imported"] = {
        "rm": {"checkpoint": "other"},
        "published": {"scores": "other", "tasks": ["pot"]},
    }
    other = make_plan(load(asking), renamed)
    assert {stage.fingerprint for stage in one.stages} == {stage.fingerprint for stage in other.stages}
    changed = {key: Import(**{**vars(made), "spec": AssetSpec(digest="new")}) for key, made in renamed.items()}
    new = make_plan(load(asking), changed)
    common = {
        stage.kind.name for stage in one.stages if stage.fingerprint in {other.fingerprint for other in new.stages}
    }
    assert not common & {"split_pairs", "imported_pool", "pretrain", "aligned_scores"}


def test_rows_from_outside_are_judged_on_what_they_can_be(asking: dict[str, Any], load: Load) -> None:
    plan = make_plan(load(asking), imports())
    found = {
        variant.setting: [(outcome.task, outcome.metric) for outcome in variant.outcomes] for variant in plan.imported
    }
    assert found == {
        "rm": [("sums", "best_of_n"), ("pot", "best_of_n"), ("pot", "pair_accuracy")],
        "published": [("pot", "best_of_n"), ("pot", "pair_accuracy")],
    }
    (rm, _) = plan.imported
    score = rm.outcomes[0].stage.inputs["scores"].stage
    tokens = score.inputs["tokens"].stage
    assert score.inputs["checkpoint"].stage is tokens.inputs["tokenizer"].stage  # scored in its own tokens
    pairs = plan.imported[1].outcomes[1].stage.inputs
    assert pairs["pairs"].stage is rm.outcomes[2].stage.inputs["pairs"].stage  # the same pairs
    ours = plan.settings[0].variants[0].outcomes
    assert rm.outcomes[0].stage.inputs["candidates"].stage is ours[0].stage.inputs["candidates"].stage
    analysis = analysis_stage(plan, frozenset(stage.fingerprint for stage in plan.stages))
    assert analysis is not None
    assert {row["row"] for row in analysis.identity["spec"]["rows"] if row["kind"] == "imported"} == {"rm", "published"}


def test_rows_from_outside_change_nothing_of_the_settings(asking: dict[str, Any], load: Load) -> None:
    with_rows = make_plan(load(asking), imports())
    asking["evaluate"]["imported"] = {}
    without = make_plan(load(asking), imports())
    assert {stage.fingerprint for stage in without.stages} < {stage.fingerprint for stage in with_rows.stages}


def test_scores_are_not_asked_on_tasks_their_file_does_not_cover(
    asking: dict[str, Any], load: Load, store: Store
) -> None:
    plan = make_plan(load(asking), imports())
    by_task = {board.task: board for board in boards(plan, look(plan.stages, store), None)}
    (row,) = [one for one in by_task["sums"].rows if one.name == "published"]
    assert row.gaps == {"best_of_n": "not asked: no scores for it"}
    assert not row.asked
    (row,) = [one for one in by_task["pot"].rows if one.name == "published"]
    assert row.asked
    assert row.note == "imported scores a-scores: MIT, here"
    assert "published" not in {one.name for one in by_task["code"].rows}


def test_the_newest_import_of_a_name_counts_and_old_code_does_not(store: Store) -> None:
    def finish(digest: str, when: float, code_version: int) -> None:
        stage = Graph().stage(IMPORTED["pool"], AssetSpec(digest=digest))
        identity = {**stage.identity, "code_version": code_version}
        with store.build("imported_pool", fingerprint(identity), resumable=False) as building:
            assert building is not None
            building.publish(
                kind="imported_pool",
                identity=identity,
                result={**POOL, "name": "mine"},
                environment={},
                run={"finished": when},
            )

    now = KINDS["imported_pool"].code_version
    finish("old", 1.0, now)
    finish("new", 2.0, now)
    finish("newer, by other code", 3.0, now + 1)
    assert {key: one.spec.digest for key, one in imports_of(store).items()} == {("pool", "mine"): "new"}
    assert set(IMPORTED.values()) <= set(KINDS.values())

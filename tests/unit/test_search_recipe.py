"""Searches in recipes: every slip at once with its line, what makes trials comparable, what trials and the best are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli.workspace import load_checked
from harness.errors import PlanError, ProblemList
from harness.pipeline.counts import with_counts
from harness.plan.plan import make_plan
from harness.plan.trials import ARM_NAMES, TrialPlanner, arms_of
from harness.recipe.load import load_recipe
from harness.recipe.search import Choices, LogRatio, Range, applies, ends, overrides_of
from harness.search.confirm import name_of, study_name, with_chosen
from harness.search.state import SearchState, TrialState
from tests.conftest import RECIPE

SEARCH: dict[str, Any] = {
    "parameters": {
        "pretrain.loss.balance": {"log_ratio": [-4, 4]},
        "pretrain.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    },
    "objectives": [{"task": "sums", "evaluation": "best_of_n"}],
    "trials": 10,
}
Planner = Callable[..., TrialPlanner]


@pytest.fixture
def write(recipe: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Writes the recipe of these tests with a search, as YAML with a line a value."""

    def write(search: Mapping[str, Any] | None = None, **blocks: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**recipe, **blocks, "search": {**SEARCH, **(search or {})}}, sort_keys=False))
        return path

    return write


@pytest.fixture
def planner(write: Callable[..., Path]) -> Planner:
    return lambda search=None, **blocks: TrialPlanner(with_counts(load_recipe(write(search, **blocks))))


def told(path: Path) -> list[str]:
    with pytest.raises(ProblemList) as error:
        load_checked(path, [])
    lines = path.read_text().splitlines()
    found = []
    for problem in error.value.problems:
        _, _, number = problem.where.partition(".yaml:")
        found.append(f"{lines[int(number) - 1].strip()} | {problem.rule}, but {problem.value}")
    return found


def test_every_slip_of_a_search_is_told_at_once_where_it_stands(write: Callable[..., Path]) -> None:
    parameters = {
        "pretrain.loss.balance": {"log_ratio": [4, -4]},
        "pretrain.learning_rat": {"low": 1e-4, "high": 1e-2},
        "finetune.learning_rate": {"low": 1e-2, "high": 1e-3},
        "pretrain.global_batch": {"low": 0.5, "high": 8},
        "pairs.rejected.kinds": {"choices": [["arithmetic"], ["nonsense"]]},
        "pretrain.schedule.decay": {"low": 0.5, "high": 2.0},
        "evaluate.best_of_n.n": {"choices": [[1, 2]]},
    }
    objectives = [{"task": "sums", "evaluation": "best_of_n", "split": "test"}]
    found = told(write({"parameters": parameters, "objectives": objectives}))
    for line, rule in (
        ("log_ratio:", "`log_ratio` must be [low, high], but 4 > -4"),
        ("pretrain.learning_rat:", "unknown key `pretrain.learning_rat`"),
        ("low: 0.01", "`low` must not exceed `high`, but 0.01 > 0.001"),
        ("pretrain.global_batch:", "`pretrain.global_batch` expects a whole number, got 0.5"),
        ("pairs.rejected.kinds:", "got 'nonsense'"),
        ("pretrain.schedule.decay:", "expects at most 1, got 2.0"),
        ("evaluate.best_of_n.n:", "a search may not change `evaluate`, `tasks`"),
        ("split: test", "`search.objectives.0.split` expects 'dev'"),
    ):
        assert [one for one in found if one.startswith(line) and rule in one], (line, found)
    assert len(found) == 8


@pytest.mark.parametrize(
    ("search", "line", "rule"),
    [
        (
            {"pruner": {}, "objectives": [*SEARCH["objectives"], {"task": "logic", "evaluation": "best_of_n"}]},
            "pruner:",
            "`pruner` needs a single objective, but there are 2",
        ),
        ({"pruner": {}}, "pruner:", "`search.pruner` needs `evaluate.probes`, but there are none"),
        (
            {"objectives": [{"task": "code", "evaluation": "pair_accuracy"}]},
            "- task: code",
            "`search.objectives.0` needs code pairs for dev, but `corpus.dev` is empty",
        ),
        (
            {"objectives": [{"task": "sums", "evaluation": "choices"}]},
            "- task: sums",
            "must be an evaluation and task that `evaluate` asks about, but `evaluate.choices` does not name 'sums'",
        ),
        (
            {"objectives": [{"task": "sums", "evaluation": "best_of_n", "metric": "bon_aera"}]},
            "metric: bon_aera",
            "`search.objectives.0.metric` must be one of `best_of_n`, but it has no metric 'bon_aera'",
        ),
        (
            {"sampler": {"kind": "TPESampeler"}},
            "sampler:",
            "must be a class of optuna.samplers, but 'TPESampeler' is not one of BruteForceSampler",
        ),
        (
            {"sampler": {"kind": "TPESampler", "arguments": {"startup": 3}}},
            "sampler:",
            "`search.sampler.arguments` must be those of TPESampler",
        ),
        ({"trials": 3}, "trials: 3", "`search.trials` must leave room for the arms"),
        (
            {"parameters": {"pretrain.learning_rate": {"log_ratio": [-1, 1]}}},
            "parameters:",
            "`log_ratio` and `....loss.balance` go together",
        ),
        (
            {"parameters": {"pairs.count": {"low": 80, "high": 160, "when": {"pretrain.epochs": 1}}}},
            "parameters:",
            "`when` of `pairs.count` must name other parameters, but `pretrain.epochs` is none",
        ),
    ],
)
def test_a_slip_of_a_search(write: Callable[..., Path], search: dict[str, Any], line: str, rule: str) -> None:
    (found,) = told(write(search))
    assert rule in found
    assert found.startswith(line) or found.startswith("search:"), found


def test_a_value_becomes_overrides() -> None:
    balance = LogRatio(log_ratio=(-4, 4))
    assert overrides_of("pretrain.loss.balance", balance, 0.0) == {"pretrain.loss.rm": 1.0, "pretrain.loss.lm": 1.0}
    weights = overrides_of("pretrain.loss.balance", balance, 1.5)
    assert sum(weights.values()) == pytest.approx(2.0)
    assert weights["pretrain.loss.lm"] / weights["pretrain.loss.rm"] == pytest.approx(2.718281828**1.5)
    blocks = Choices(choices=({"kind": "cosine"}, "word", 3))
    assert list(ends(blocks)) == ['{"kind": "cosine"}', "word", 3]
    assert overrides_of("a.b", blocks, '{"kind": "cosine"}') == {"a.b": {"kind": "cosine"}}
    assert list(ends(Range(low=1, high=4))) == [1, 4]
    conditional = Range(low=1, high=2, when={"a.b": ["word", 3]})
    assert [applies(conditional, {"a.b": value}) for value in ("word", 3, "other")] == [True, True, False]
    assert not applies(conditional, {})


def test_parameters_are_named_by_what_tells_them_apart() -> None:
    parameters = {"pretrain.learning_rate": 0.00312, "finetune.learning_rate": 0.5, "pairs.count": 64}
    named = name_of(replace(trial(7, 0.1), parameters=parameters))
    assert named == "pretrain.learning_rate=0.00312, finetune.learning_rate=0.5, count=64 (trial 7)"


def test_a_trial_shares_what_the_grid_makes_and_makes_no_test_problem(planner: Planner) -> None:
    made = planner()
    grid = {stage.fingerprint for stage in make_plan(made.loaded).stages}
    same = made.plan(made.setting("as it is", {}, {}))
    alone = [stage.kind.name for stage in same.plan.stages if stage.fingerprint not in grid]
    assert set(alone) <= {"overlap", "best_of_n", "score", "encode", "candidates", "candidates_part", "problems"}
    assert not [stage for stage in same.plan.stages if getattr(stage.spec, "split", "") == "test"]
    other = made.plan(made.setting("other", {"pretrain.loss.lm": 0.5, "pretrain.loss.rm": 1.5}, {}))
    trained = [stage.kind.name for stage in other.plan.stages if stage.fingerprint not in grid and stage.kind.trains]
    assert set(trained) == {"trunk_state", "pretrain", "finetune"}
    assert [len(stages) for stages in other.values] == [1]


def test_the_study_is_named_by_what_makes_trials_comparable(planner: Planner) -> None:
    name = study_name(planner())
    assert name == study_name(planner({"trials": 20, "parallel": 3, "confirm": {"best": 1}}))
    assert name != study_name(planner({"seeds": {"finetune": 2}}))
    assert name != study_name(planner({"objectives": [{"task": "logic", "evaluation": "best_of_n"}]}))
    assert name != study_name(planner({"parameters": {"pretrain.learning_rate": {"low": 1e-4, "high": 1e-2}}}))
    assert name != study_name(planner(pretrain={**RECIPE["pretrain"], "weight_decay": 0.2}))


def test_more_pairs_than_the_recipe_has_change_the_order_of_no_other_trial(planner: Planner) -> None:
    """Later seeds read the beginning of a permutation of the most rows that any trial may ask for."""
    search = {"parameters": {"pairs.count": {"low": 80, "high": 320, "step": 8}}, "seeds": {"pretrain": 2}}
    made = planner(search)
    plans = [made.plan(made.setting("one", {"pairs.count": count}, {})).plan for count in (80, 320)]
    rows = [{stage.spec.order.rows for stage in plan.stages if stage.kind.name == "trunk_state"} for plan in plans]
    assert rows == [{None, 320}, {None, 320}]


def test_an_arm_without_a_trained_head_has_no_value_on_code(planner: Planner) -> None:
    corpus = {**RECIPE["corpus"], "dev": ["json"]}
    made = planner({"objectives": [{"task": "code", "evaluation": "pair_accuracy"}]}, corpus=corpus)
    arms, left_out = arms_of(made)
    assert arms == ["one_to_one", "rm_only"]
    assert list(left_out) == ["LM only", "no PMP"]
    assert "needs a reward head that PMP trained" in left_out["LM only"]
    with pytest.raises(PlanError):
        made.plan(made.setting("LM only", {"pretrain.loss.rm": 0.0}, {}))


def trial(number: int, learning_rate: float) -> TrialState:
    return TrialState(
        number=number,
        name=f"trial {number}",
        arm="",
        state="complete",
        parameters={"pretrain.learning_rate": learning_rate},
        overrides={"pretrain.learning_rate": learning_rate},
        values=(0.5,),
        intermediate=(),
        stages=((f"best_of_n/{number}",),),
        reason="",
        counted=True,
        started=1.0,
        finished=2.0,
    )


def test_the_best_are_confirmed_beside_1_to_1_with_seeds_that_no_trial_had(planner: Planner) -> None:
    made = planner({"seeds": {"pretrain": 1, "finetune": 2}, "confirm": {"best": 2}})
    state = SearchState(
        study="s",
        storage="",
        objectives=("sums/best_of_n",),
        directions=("maximize",),
        asked=10,
        trials=(trial(4, 0.004), trial(5, 0.001), trial(6, 0.006)),
        importances=(),
        best=(6, 5, 4),
        left_out={},
        ended=True,
    )
    # 0.001 is the recipe's own rate: trial 5 is 1:1 itself, trained once.
    chosen = with_chosen(made.loaded, made, state).settings
    assert [setting.name for setting in chosen] == [ARM_NAMES["one_to_one"], "learning_rate=0.006 (trial 6)"]
    seeds = chosen[0].experiment.seeds
    assert (list(seeds.pretrains), list(seeds.finetunes)) == ([2, 3, 4], [2, 3, 4])
    plan = make_plan(with_chosen(made.loaded, made, state))
    assert {variant.finetune_seed for variant in (*plan.variants, *plan.references[1:])} <= {2, 3, 4, None}
    assert all(len(variant.dev) == 1 for variant in plan.variants)

    unfinished = with_chosen(made.loaded, made, replace(state, ended=False)).settings
    assert [setting.name for setting in unfinished] == [ARM_NAMES["one_to_one"]]
    assert with_chosen(made.loaded, made, replace(state, asked=9)).settings == unfinished
    axes = {"axes": {"loss": {"rm+lm": {}, "no-pmp": {"pretrain": None}}}}
    beside = planner(ablations=axes)
    names = [setting.name for setting in with_chosen(beside.loaded, beside, None).settings]
    assert names == ["rm+lm", "no-pmp", ARM_NAMES["one_to_one"]]

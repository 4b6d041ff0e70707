"""`finetune.tune`: which stages it plans, that no test problem enters, what it refuses, and what it chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import DataError, ProblemList
from harness.events import EventLog
from harness.pipeline.graph import Stage
from harness.pipeline.tuning import TunedSpec, checkpoint_input, tries_of, values_input
from harness.plan.plan import Plan
from harness.plan.trials import TrialPlanner
from harness.stages import tuned
from harness.stages.context import Given, StageContext
from harness.stages.finetune import repeated
from harness.store.artifacts import Checkpoint, ProblemValues
from tests.conftest import Load, MakePlan

RATES = [0.0005, 0.001, 0.002]


def with_tune(recipe: dict[str, Any], **tune: Any) -> dict[str, Any]:
    return {**recipe, "finetune": {**recipe["finetune"], "select": None, "tune": tune}}


def of_kind(plan: Plan, kind: str) -> list[Stage]:
    return [stage for stage in plan.stages if stage.kind.name == kind]


def behind(stage: Stage) -> set[Stage]:
    return {stage}.union(*(behind(item.stage) for item in stage.inputs.values()))


# ------------------------------------------------------------------------------------------------------ planning


def test_each_try_is_the_fine_tuning_that_a_setting_of_its_own_makes(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe = with_tune(recipe, learning_rate=RATES, epochs=[1, 2])
    plan = planned(recipe)
    (chosen,) = of_kind(plan, "tuned")
    tries = tries_of(chosen)
    values = [(rate, epochs) for rate in RATES for epochs in (1, 2)]
    assert [tuple(one.values()) for one in chosen.spec.tries()] == values
    assert len({one.label for one in tries}) == len(values)
    (variant,) = plan.variants
    assert variant.finetuned is chosen
    for stage, (rate, epochs) in zip(tries, values, strict=True):
        alone = {**recipe["finetune"], "tune": None, "learning_rate": rate, "epochs": epochs}
        (own,) = of_kind(planned({**recipe, "finetune": alone}), "finetune")
        assert own.fingerprint == stage.fingerprint


def test_every_arm_and_run_chooses_for_itself_among_as_many(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe = with_tune(recipe, learning_rate=RATES, head=["carry", "reinit"])
    recipe["seeds"] = {"pretrain": 2, "finetune": 2}
    recipe["ablations"] = {"axes": {"pmp": {"rm+lm": {}, "none": {"pretrain": None}}}}
    plan = planned(recipe)
    assert [len(tries_of(one.finetuned)) for one in plan.variants if one.finetuned is not None] == [6] * (2 * 2 + 2)
    assert len({one.finetuned for one in plan.variants}) == 6
    without = [one.finetuned for one in plan.variants if one.pretrained is None and one.finetuned is not None]
    assert [len(set(tries_of(one))) for one in without] == [3, 3]  # without PMP there is no head to carry


@pytest.mark.parametrize("on", ["pair_accuracy", "best_of_n"])
def test_no_test_problem_is_available_and_a_recipe_on_dev_and_a_trial_choose_the_same(
    recipe: dict[str, Any], planned: MakePlan, load: Load, on: str
) -> None:
    recipe = with_tune(recipe, learning_rate=RATES, on=on)
    (chosen,) = of_kind(planned(recipe), "tuned")
    assert {stage.spec.split for stage in behind(chosen) if stage.kind.name == "problems"} == {
        "base",
        "finetune",
        "dev",
    }
    assert {stage.kind.name for name, item in chosen.inputs.items() if "values" in name for stage in [item.stage]} == {
        on
    }
    (on_dev,) = of_kind(planned(recipe, "evaluate.split=dev"), "tuned")
    assert on_dev.fingerprint == chosen.fingerprint
    objective = {"task": "sums", "evaluation": "best_of_n"}
    recipe["search"] = {
        "parameters": {"pretrain.loss.lm": {"low": 0.1, "high": 1.0}},
        "objectives": [objective],
        "trials": 4,
    }
    planner = TrialPlanner(load(recipe))
    trial = planner.plan(planner.setting("one", {}, {}))
    assert [stage.fingerprint for stage in of_kind(trial.plan, "tuned")] == [chosen.fingerprint]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tune": {"learning_rate": [0.001]}}, "two combinations at least"),
        ({"tune": {"learning_rate": [0.001, 0.001]}}, "a value must be tried once"),
        ({"tune": {"epochs": list(range(1, 18)), "global_batch": list(range(1, 17))}}, "17 × 16 is 272"),
        ({"tune": {"global_batch": [8, 64]}}, "48 pairs are fewer than `finetune.tune.global_batch` = 64"),
        ({"tune": {"epochs": [1, 2], "on": "choices"}}, "`evaluate.choices` does not name 'sums'"),
    ],
)
def test_grids_that_mean_nothing_are_refused(
    recipe: dict[str, Any], load: Load, changes: Mapping[str, Any], told: str
) -> None:
    recipe["finetune"] |= changes
    with pytest.raises(ProblemList) as raised:
        load(recipe)
    assert told in str(raised.value)


def test_a_setting_without_dev_problems_is_refused_where_it_is_asked_for(recipe: dict[str, Any], load: Load) -> None:
    recipe["finetune"]["select"] = None
    recipe["tasks"]["logic"]["problems"]["dev"] = 0
    recipe["ablations"] = {"axes": {"tuning": {"paper": {}, "tuned": {"finetune.tune": {"epochs": [1, 2]}}}}}
    with pytest.raises(ProblemList) as raised:
        load(recipe)
    (error,) = raised.value.problems
    assert "`finetune.tune` needs dev problems of every task" in error.rule
    assert "`tasks.logic.problems.dev` is 0" in error.value
    assert error.where.endswith("recipe.yaml:1")


def test_a_search_may_not_search_what_is_chosen(recipe: dict[str, Any], load: Load) -> None:
    recipe = with_tune(recipe, learning_rate=RATES)
    objective = {"task": "sums", "evaluation": "best_of_n"}
    parameters = {"finetune.learning_rate": {"low": 0.001, "high": 0.01}}
    recipe["search"] = {"parameters": parameters, "objectives": [objective], "trials": 4}
    with pytest.raises(ProblemList, match=r"may not search what `finetune.tune` chooses"):
        load(recipe)


# ------------------------------------------------------------------------------------------------------ choosing

Choose = Callable[..., tuple[dict[str, Any], Path]]


@pytest.fixture
def choose(tmp_path: Path) -> Choose:
    """Runs the stage on tries whose dev problems have these values, by task."""

    def choose(axes: Sequence[tuple[str, Sequence[Any]]], tries: Sequence[Mapping[str, Sequence[float]]]) -> Any:
        tasks = tuple(tries[0])
        spec = TunedSpec(axes=tuple((name, tuple(values)) for name, values in axes), metric="m", tasks=tasks)
        inputs = {}
        for number, by_task in enumerate(tries):
            folder = tmp_path / f"try-{number}"
            (folder / "model" / "below").mkdir(parents=True)
            (folder / "model" / "weights").write_text(str(number))
            (folder / "model" / "below" / "more").write_text(str(number))
            inputs[checkpoint_input(number)] = Given(directory=folder)
            for task, values in by_task.items():
                place = tmp_path / f"values-{number}-{task}"
                place.mkdir()
                rows = [
                    {"metric": "m", "problem": str(at), "cluster": "", "value": one} for at, one in enumerate(values)
                ]
                other = {"metric": "other", "problem": "0", "cluster": "", "value": 1.0 - number / 10}
                ProblemValues(place).write([*rows, other])
                inputs[values_input(number, task)] = Given(directory=place)
        out = tmp_path / "out"
        out.mkdir()
        with closing(EventLog(tmp_path / "events.jsonl")) as events:
            return tuned.run(StageContext(spec=spec.identity(), inputs=inputs, directory=out, events=events)), out

    return choose


def test_the_best_mean_over_tasks_wins_whatever_the_tasks_sizes_and_its_files_are_linked(
    choose: Choose, tmp_path: Path
) -> None:
    tries = [{"a": [1.0], "b": [0.0] * 9}, {"a": [0.5], "b": [0.6] * 9}, {"a": [0.0], "b": [1.0] * 9}]
    result, out = choose([("learning_rate", RATES)], tries)
    assert [one["value"] for one in result["tries"]] == [0.5, 0.55, 0.5]
    assert [one["learning_rate"] for one in result["tries"]] == RATES
    assert (result["chosen"], result["edges"]) == (1, {})
    for name in ("weights", "below/more"):
        assert (Checkpoint(out).model / name).samefile(tmp_path / "try-1" / "model" / name)


def test_of_equal_tries_the_earliest_wins_and_ends_are_told(choose: Choose) -> None:
    tries = [{"a": [value]} for value in (0.1, 0.2, 0.3, 0.7, 0.70000001, 0.1)]
    result, _ = choose([("learning_rate", (0.002, 0.001, 0.003)), ("head", ("carry", "reinit"))], tries)
    assert result["tries"][result["chosen"]] == {"learning_rate": 0.001, "head": "reinit", "value": 0.7}
    assert result["edges"] == {"learning_rate": "smallest"}


def test_a_task_without_a_value_is_an_error_that_names_it(choose: Choose) -> None:
    with pytest.raises(DataError, match="no dev problem of `b` has `m`"):
        choose([("epochs", (1, 2))], [{"a": [1.0], "b": []}, {"a": [1.0], "b": [1.0]}])


def test_epochs_read_the_same_pairs_in_other_orders_and_the_first_as_ever() -> None:
    order = np.array([[0, 3], [1, 1], [0, 0], [1, 2]])
    thrice = repeated(order, 5, 3)
    assert np.array_equal(repeated(order, 5, 1), order)
    assert np.array_equal(thrice[:8], repeated(order, 5, 2))
    epochs = thrice.reshape(3, 4, 2)
    assert np.array_equal(epochs[0], order)
    assert all(sorted(map(tuple, epoch.tolist())) == sorted(map(tuple, order.tolist())) for epoch in epochs)
    assert len({epoch.tobytes() for epoch in epochs}) > 1

"""Means of checkpoints: which stages they are planned from, and that they are means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.errors import DataError, ProblemList
from harness.pipeline.graph import Stage
from harness.plan.plan import Plan
from harness.stages.average import add_to_mean
from tests.toys.families import family_model

MakePlan = Callable[..., Plan]


def averages(plan: Plan) -> list[Stage]:
    return [stage for stage in plan.stages if stage.kind.name == "average"]


def with_average(recipe: dict[str, Any], **average: Any) -> dict[str, Any]:
    return {**recipe, "pretrain": {**recipe["pretrain"], "average": average}}


def test_a_mean_over_seeds_shares_their_runs_with_those_that_are_not_averaged(
    recipe: dict[str, Any], planned: MakePlan
) -> None:
    recipe["seeds"] = {"pretrain": 2}
    alone = {stage.fingerprint for stage in planned(recipe).stages if stage.kind.name == "pretrain"}
    plan = planned(with_average(recipe, over="seeds", count=2))
    (first, second) = averages(plan)
    assert {item.stage.fingerprint for item in first.inputs.values()} == alone
    assert [item.stage.identity["spec"]["order"]["seed"] for item in second.inputs.values()] == [2, 3]
    assert {stage.inputs["start"].stage for stage in plan.stages if stage.kind.name == "finetune"} == {first, second}


def test_a_mean_over_steps_takes_states_of_the_stable_path_and_no_decay(
    recipe: dict[str, Any], planned: MakePlan
) -> None:
    plan = planned(with_average(recipe, over="steps", count=3, every_pairs=20))
    (mean,) = averages(plan)
    assert [item.stage.identity["spec"]["step"] for item in mean.inputs.values()] == [
        20,
        18,
        16,
    ]  # 160 pairs, 8 a step, 2 steps
    assert {item.stage.kind.name for item in mean.inputs.values()} == {"trunk_state"}
    assert not [stage for stage in plan.stages if stage.kind.name == "pretrain"]
    other = with_average(recipe, over="steps", count=3, every_pairs=20)
    other["pretrain"]["schedule"] = {**recipe["pretrain"]["schedule"], "decay": 0.5}
    assert averages(planned(other))[0].fingerprint == mean.fingerprint  # there is no decay


@pytest.mark.parametrize(
    ("average", "told"),
    [
        ({"over": "steps", "count": 2}, "`every_pairs` goes with `over: steps`"),
        ({"over": "seeds", "count": 2, "every_pairs": 8}, "`every_pairs` goes with `over: steps`"),
        ({"over": "steps", "count": 2, "every_pairs": 7}, "must be a step at least"),
        ({"over": "steps", "count": 20, "every_pairs": 8}, "must lie after `warmup_pairs`"),
        ({"over": "steps", "count": 20, "every_pairs": 16}, "must lie after `warmup_pairs`"),
    ],
)
def test_means_that_cannot_be_are_refused(
    recipe: dict[str, Any], planned: MakePlan, average: dict[str, Any], told: str
) -> None:
    planned(with_average(recipe, over="steps", count=19, every_pairs=8))  # the first is where the warm-up ends
    with pytest.raises(ProblemList) as raised:
        planned(with_average(recipe, **average))
    assert told in str(raised.value)


def test_other_schedules_have_no_states(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["pretrain"]["schedule"] = {"kind": "cosine"}
    planned(with_average(recipe, over="seeds", count=2))
    with pytest.raises(ProblemList, match="has states to average"):
        planned(with_average(recipe, over="steps", count=2, every_pairs=16))


def test_the_mean_is_the_mean() -> None:
    models = [family_model("llama", tie=True, seed=seed) for seed in range(3)]
    expected = {
        name: torch.stack([dict(model.named_parameters())[name] for model in models]).double().mean(dim=0)
        for name, _ in models[0].named_parameters()
    }
    for number, model in enumerate(models[1:], start=2):
        add_to_mean(models[0], model, number)
    for name, parameter in models[0].named_parameters():
        torch.testing.assert_close(parameter.double(), expected[name], rtol=1e-5, atol=1e-7)


def test_models_of_other_shapes_have_no_mean() -> None:
    with pytest.raises(DataError, match="one shape"):
        add_to_mean(family_model("llama"), family_model("qwen2"), 2)

"""What `plan` says a search will cost, against what its trials really ask for."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from harness.cli.plan import search_price, search_words
from harness.cli.workspace import Workspace, open_workspace
from harness.plan.cost import estimate
from harness.plan.trials import TrialPlan
from harness.recipe.search import Choices, LogRatio, Range, overrides_of
from harness.search.price import SearchPrice, draw
from harness.search.state import SearchState
from tests.integration.pipelines import TINY
from tests.integration.shell import Shell

BALANCE = "pretrain.loss.balance"
PARAMETERS: dict[str, Any] = {
    BALANCE: {"log_ratio": [-4, 4]},
    "pretrain.schedule.decay": {"choices": [0.25, 0.5]},
}


def _recipe(folder: Path, **search: Any) -> Path:
    block = {
        "parameters": PARAMETERS,
        "objectives": [{"task": "logic", "evaluation": "best_of_n"}],
        "trials": 8,
        "confirm": {"best": 2, "seeds": {"pretrain": 1, "finetune": 1}},
    }
    path = folder / "recipe.yaml"
    content = {"extends": str(TINY), "name": "priced", "ablations": None, "search": {**block, **search}}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _opened(folder: Path, **search: Any) -> tuple[Workspace, SearchPrice]:
    workspace = open_workspace(_recipe(folder, **search), [], folder / "work")
    price = search_price(workspace)
    assert price is not None
    return workspace, price


def _trial(workspace: Workspace, balance: float, decay: float) -> TrialPlan:
    assert workspace.trials is not None
    parameters = workspace.trials.search.parameters
    overrides = overrides_of(BALANCE, parameters[BALANCE], balance) | {"pretrain.schedule.decay": decay}
    return workspace.trials.plan(workspace.trials.setting("unseen", overrides, {}))


def test_a_price_is_what_a_trial_adds_beyond_what_others_share(tmp_path: Path) -> None:
    workspace, price = _opened(tmp_path)
    _, more = _opened(tmp_path, trials=9)
    there = {stage.fingerprint for stage in workspace.plan.stages}
    other = {stage.fingerprint for stage in _trial(workspace, 1.0, 0.5).plan.stages}
    unseen = _trial(workspace, 0.123, 0.5).plan
    added = [stage for stage in unseen.stages if stage.fingerprint not in there | other]
    assert added
    assert more.stages - price.stages == len(added)
    costs = estimate(added, workspace.plan.stages, workspace.store, 1).costs
    flops, seconds = sum(cost.flops for cost in costs), sum(cost.seconds for cost in costs)
    assert price.flops.low < flops <= price.flops.high * 1.000001  # no PMP is the cheapest
    assert price.each.low <= seconds <= price.each.high * 1.000001
    assert more.together.high > price.together.high >= price.together.low > 0
    assert price.confirm.high >= price.confirm.low > 0
    assert (price.trials, price.left, price.settings, price.refused) == (8, 8, 2, 0)


def test_points_that_the_rules_refuse_are_counted_and_ended_trials_are_not(tmp_path: Path) -> None:
    """Warm-up and decay are each allowed and too long together."""
    parameters = {
        BALANCE: {"log_ratio": [-4, 4]},
        "pretrain.schedule.warmup_pairs": {"low": 8, "high": 48},
        "pretrain.schedule.decay": {"low": 0.25, "high": 0.75},
    }
    workspace, price = _opened(tmp_path, parameters=parameters)
    assert 0 < price.refused < price.drawn
    assert f"refuse {price.refused} of {price.drawn + price.refused} points drawn" in search_words(price)
    state = SearchState(
        study="", storage="", objectives=("",), directions=("maximize",), asked=8, trials=(), importances=(),
        best=(), left_out={}, ended=True,
    )  # fmt: skip
    done = search_price(Workspace(**{**vars(workspace), "search": state}))
    assert done == SearchPrice(trials=8, left=0)
    assert search_words(done) == "search: all 8 trials have ended"


def test_plan_prints_the_price_and_a_budget_counts_it(tmp_path: Path, shell: Shell) -> None:
    recipe, work = _recipe(tmp_path), tmp_path / "work"
    assert shell("plan", recipe, "--workdir", work, "--json") == 0
    found = shell.json()
    price = found["search"]
    assert price["left"] == 8
    whole = found["to_run"] + price["stages"]
    assert shell("run", recipe, "--workdir", work, "--dry-run", "--set", f"runtime.budget.stages={whole}") == 0
    assert shell("run", recipe, "--workdir", work, "--dry-run", "--set", f"runtime.budget.stages={whole - 1}") == 2
    assert f"{whole} stages to run with what the search may add" in shell.err
    hours = found["seconds"] / 3600
    assert shell("run", recipe, "--workdir", work, "--dry-run", "--set", f"runtime.budget.hours={hours}") == 2
    assert "with what the search may add" in shell.err


@pytest.mark.parametrize(
    ("parameter", "allowed"),
    [
        (Range(low=1, high=3), {1, 2, 3}),
        (Range(low=8, high=64, step=28), {8, 36, 64}),
        (Range(low=0.5, high=2.0, step=0.5), {0.5, 1.0, 1.5, 2.0}),
        (Choices(choices=("a", [1, 2])), {"a", "[1, 2]"}),
    ],
)
def test_points_are_drawn_from_the_whole_space(parameter: Range | Choices, allowed: set[object]) -> None:
    random = Random(0)
    assert {draw(parameter, random) for _ in range(200)} == allowed


def test_logarithmic_ranges_are_drawn_by_their_logarithm() -> None:
    random = Random(0)
    drawn = sorted(draw(Range(low=1.0e-4, high=1.0, log=True), random) for _ in range(400))
    assert 1.0e-4 <= drawn[0] <= drawn[-1] <= 1.0
    assert 5.0e-3 < drawn[200] < 2.0e-2
    assert all(-4 <= draw(LogRatio(log_ratio=(-4, 4)), random) <= 4 for _ in range(50))

"""Searches through the command line: trials on dev, the best confirmed on test, stopped and killed and gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli.search import run_search
from harness.cli.workspace import Workspace, open_workspace
from harness.search.driver import metric_of
from harness.search.state import SearchState, TrialState, folder_of, read_state
from tests.integration.pipelines import ROOT, harness
from tests.integration.shell import Shell

SEARCH = ROOT / "tests" / "recipes" / "search.yaml"
NAME = "tiny-search"
Make = Callable[..., Path]


@pytest.fixture
def workdir(finished: Workspace, tmp_path: Path) -> Path:
    """A copy of the finished one, whose corpus, pairs and base model a trial shares."""
    shutil.copytree(finished.workdir, tmp_path / "workdir")
    return tmp_path / "workdir"


@pytest.fixture
def recipe(tmp_path: Path) -> Make:
    """Writes the recipe with another search and other blocks."""

    def write(search: dict[str, Any] | None = None, **blocks: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"extends": str(SEARCH), "search": search or {}, **blocks}))
        return path

    return write


def state_of(workdir: Path) -> SearchState:
    state = read_state(folder_of(workdir, NAME))
    assert state is not None
    return state


def by_state(state: SearchState, *wanted: str) -> list[TrialState]:
    return [trial for trial in state.trials if trial.state in wanted]


def no_zombie(state: SearchState, trials: int) -> None:
    """As many trials as were asked for, each ended, and every point that was given up asked again."""
    assert len(state.counted) == trials
    assert not by_state(state, "running", "waiting")
    points = [json.dumps(trial.parameters, sort_keys=True) for trial in state.counted]
    for given_up in (trial for trial in state.trials if not trial.counted):
        assert json.dumps(given_up.parameters, sort_keys=True) in points


@pytest.mark.slow("a search, and what it confirms on a whole board")
def test_a_search_is_judged_on_dev_and_confirmed_on_test(workdir: Path, recipe: Make, shell: Shell) -> None:
    path = recipe()
    before = {entry.name for entry in (workdir / "store" / "pretrain").iterdir()}
    assert shell("run", path, "--workdir", workdir) == 0, shell.err
    state = state_of(workdir)
    no_zombie(state, 5)
    assert [trial.arm for trial in state.trials[:3]] == ["one_to_one", "no_pmp", ""]
    assert state.trials[0].parameters == {"pretrain.learning_rate": 0.003, "pretrain.loss.balance": 0.0}
    assert state.trials[1].parameters == {}
    for trial in state.trials[2:]:
        rm, lm = (trial.overrides[f"pretrain.loss.{weight}"] for weight in ("rm", "lm"))
        assert rm + lm == pytest.approx(2.0)

    workspace = open_workspace(path, [], workdir)
    assert workspace.trials is not None
    objective = workspace.trials.search.objectives[0]
    for trial in state.trials:
        ((stage,),) = trial.stages
        record = workspace.store.find(stage)
        assert trial.values == (pytest.approx(record.result["means"][metric_of(objective)]),)
    # 1:1 is what the tiny recipe trains: nothing was trained anew for it.
    one_to_one = workspace.trials.plan(workspace.trials.setting("1:1", state.trials[0].overrides, {}))
    assert {stage.fingerprint[:12] for stage in one_to_one.plan.stages if stage.kind.name == "pretrain"} <= before
    splits = {getattr(stage.spec, "split", "") for stage in one_to_one.plan.stages if "logic" in stage.label}
    assert "dev" in splits
    assert "test" not in splits

    names = [setting.name for setting in workspace.plan.settings]
    assert names[0] == "1:1"
    assert f"(trial {state.best[0]})" in names[-1] or state.best[0] == 0
    assert {variant.finetune_seed for variant in workspace.plan.variants} == {workspace.trials.search.fresh}
    assert all(outcome.stage.fingerprint in workspace.work().done for outcome in workspace.plan.outcomes)
    assert names[-1] in shell.out

    files = {file: file.stat().st_mtime_ns for file in (workdir / "store").glob("*/*/record.json")}
    assert shell("run", path, "--workdir", workdir) == 0
    assert state_of(workdir) == state
    assert {file: file.stat().st_mtime_ns for file in (workdir / "store").glob("*/*/record.json")} == files
    assert shell("run", recipe({"trials": 6}), "--workdir", workdir) == 0, shell.err
    more = state_of(workdir)
    assert more.study == state.study
    assert more.trials[:5] == state.trials
    no_zombie(more, 6)


def test_what_fails_or_is_refused_ends_its_trial_alone(workdir: Path, recipe: Make) -> None:
    """Points that diverge, and one that only its combination makes wrong."""
    search = {
        "parameters": {
            "pretrain.loss.balance": None,
            "pretrain.learning_rate": None,
            "pretrain.loss.margin": {"choices": [0.0, 1.0e38]},
            "pairs.count": {"choices": [32, 64]},
            "pretrain.schedule.warmup_pairs": {"choices": [16, 40], "when": {"pretrain.loss.margin": 0.0}},
        },
        "sampler": {"kind": "BruteForceSampler"},
        "arms": [],
        "trials": 8,  # and there are six points
    }
    run_search(open_workspace(recipe(search), [], workdir))
    state = state_of(workdir)
    no_zombie(state, 6)
    assert state.ended
    diverged = [trial for trial in by_state(state, "failed") if "stay finite" in trial.reason]
    refused = [trial for trial in by_state(state, "failed") if "must start after `warmup_pairs`" in trial.reason]
    assert len(diverged) == 2
    assert len(refused) == 1
    assert len(by_state(state, "complete")) == 3
    assert {trial.parameters["pretrain.loss.margin"] for trial in by_state(state, "complete")} == {0.0}
    assert all(len(trial.parameters) == 2 for trial in diverged)  # `when` asks for no warm-up there


def test_a_pruned_trial_keeps_what_it_finished(workdir: Path, recipe: Make) -> None:
    search = {
        "arms": [],
        "pruner": {"kind": "ThresholdPruner", "arguments": {"lower": 0.99}},
        "trials": 2,
    }
    path = recipe(search, evaluate={"probes": {"every_pairs": 16}})
    run_search(open_workspace(path, [], workdir))
    state = state_of(workdir)
    assert [trial.state for trial in state.trials] == ["pruned", "pruned"]
    workspace = open_workspace(path, [], workdir)
    assert workspace.trials is not None
    for trial in state.trials:
        ((pairs, _),) = trial.intermediate
        assert trial.reason == f"after {pairs} pairs, by ThresholdPruner"
        planned = workspace.trials.plan(workspace.trials.setting("again", trial.overrides, {}))
        has = {
            stage.kind.name: workspace.store.record(stage.kind.name, stage.fingerprint) is not None
            for stage in planned.plan.stages
            if stage.kind.trains
        }
        assert not has["pretrain"]
        assert not has["finetune"]
        first = next(one for one in planned.plan.stages if one.kind.name == "trunk_state")
        assert workspace.store.record("trunk_state", first.fingerprint) is not None


@pytest.mark.slow("starts a search, stops it, and goes on")
@pytest.mark.sampled("signals", ((signal.SIGKILL,), (signal.SIGINT, signal.SIGKILL)), ((signal.SIGKILL,),))
def test_a_search_that_is_killed_loses_and_doubles_no_trial(
    workdir: Path, recipe: Make, signals: tuple[signal.Signals, ...]
) -> None:
    path = recipe({"trials": 4 + len(signals)})
    for number, how in enumerate(signals):
        driver = harness("run", path, "--workdir", workdir)
        deadline = time.monotonic() + 60
        wanted = 1 + number  # so many trials ended, and others under way
        while driver.poll() is None and time.monotonic() < deadline:
            state = read_state(folder_of(workdir, NAME))
            if state is not None and by_state(state, "running") and len(by_state(state, "complete")) >= wanted:
                break
            time.sleep(0.02)
        os.killpg(driver.pid, how)
        _, said = driver.communicate()
        assert driver.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL), said
    assert not run_search(open_workspace(path, [], workdir)).interrupted
    state = state_of(workdir)
    no_zombie(state, 4 + len(signals))
    given_up = [trial for trial in state.trials if not trial.counted]
    told = {signal.SIGKILL: "its driver ended", signal.SIGINT: "interrupted"}
    assert {trial.reason for trial in given_up} == {told[how] for how in signals}
    assert [trial.arm for trial in state.counted].count("one_to_one") == 1

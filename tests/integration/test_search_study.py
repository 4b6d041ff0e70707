"""A study that a search made, as others open it: Optuna's own program, and MLflow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli.search import run_search
from harness.cli.tracking_worker import Worker
from harness.cli.workspace import Workspace, open_workspace
from harness.search.state import SearchState, folder_of, read_state, write_state
from tests.integration.pipelines import ROOT
from tests.toys.mlflow_servers import held, put_database
from tests.toys.shared import once_a_session

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow's own use of its libraries
NAME = "looked-at"
SEARCH: dict[str, Any] = {
    "extends": str(ROOT / "tests" / "recipes" / "search.yaml"),
    "name": NAME,
    "search": {
        "pruner": {"kind": "ThresholdPruner", "arguments": {"lower": 0.0}},
        "arms": ["one_to_one", "rm_only"],
        "trials": 2,
    },
    "evaluate": {"probes": {"every_pairs": 16}},
    "runtime": {"tracking": "mlflow"},
}


@pytest.fixture(scope="module")
def searched(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir in which a search has ended, below its recipe. Read only."""

    def make(folder: Path) -> None:
        shutil.copytree(finished.workdir, folder / "workdir")
        (folder / "recipe.yaml").write_text(yaml.safe_dump(SEARCH))
        run_search(open_workspace(folder / "recipe.yaml", [], folder / "workdir"))

    return once_a_session(tmp_path_factory, "searched", make) / "workdir"


def state_of(workdir: Path) -> SearchState:
    state = read_state(folder_of(workdir, NAME))
    assert state is not None
    return state


def optuna(storage: str, *arguments: str) -> Any:
    command = [str(Path(sys.executable).with_name("optuna")), *arguments, "--storage", storage, "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_optunas_own_program_opens_the_study(searched: Path) -> None:
    state = state_of(searched)
    storage = f"sqlite:///{folder_of(searched, NAME) / 'study.db'}"
    (study,) = optuna(storage, "studies")
    assert study["name"] == state.study
    assert study["user_attrs"]["recipe"] == NAME
    assert study["user_attrs"]["parameters"]["pretrain.loss.balance"] == {"log_ratio": [-4, 4]}
    told = optuna(storage, "trials", "--study-name", state.study)
    assert len(told) == len(state.trials) == 2
    for row, trial in zip(told, state.trials, strict=True):
        known = row["user_attrs"]
        assert known["name"] == trial.name
        assert known.get("arm", "") == trial.arm
        assert [tuple(stages) for stages in known["stages"]] == list(trial.stages)
        assert json.loads(known["overrides"]) == trial.overrides
        assert row["params"] == trial.parameters
        assert row["state"] == "COMPLETE"
        assert row["value"] == dict(zip(state.objectives, trial.values, strict=True))
    best = optuna(storage, "best-trial", "--study-name", state.study)
    assert best["number"] == state.best[0]


def test_intermediate_values_are_in_the_study(searched: Path) -> None:
    import optuna as library

    state = state_of(searched)
    storage = f"sqlite:///{folder_of(searched, NAME) / 'study.db'}"
    study = library.load_study(study_name=state.study, storage=storage)
    assert study.metric_names == list(state.objectives)
    for found, trial in zip(study.trials, state.trials, strict=True):
        assert found.intermediate_values == dict(trial.intermediate)
        assert [pairs for pairs, _ in trial.intermediate] == [16, 32, 48][: len(trial.intermediate)]
        assert trial.intermediate


@pytest.mark.server
def test_mlflow_shows_the_search_while_it_goes_on_and_in_the_end(
    searched: Path, migrated: Path, tmp_path: Path
) -> None:
    workdir, recipe = tmp_path / "workdir", searched.parent / "recipe.yaml"
    shutil.copytree(searched, workdir)
    put_database(migrated, workdir / "mlflow" / "mlflow.db")
    uri = f"sqlite:///{workdir / 'mlflow' / 'mlflow.db'}"
    found = state_of(workdir)
    folder = folder_of(workdir, NAME)
    pruned = replace(found.trials[0], state="pruned", values=(), reason="after 16 pairs, by ThresholdPruner")
    last = found.trials[1]
    ended = replace(found, trials=(pruned, last), best=(last.number,), analysis="")
    at_work = replace(last, state="running", values=(), intermediate=(), finished=0.0)
    write_state(folder, replace(ended, trials=(pruned, at_work), best=(), ended=False))
    open_again = partial(open_workspace, recipe, [], workdir)
    worker = Worker(open_again(), open_again)
    assert worker.answer({"do": "follow"})["runs"]["created"] >= 3
    shown = {one["name"]: one for one in held(uri, NAME).values()}
    study = shown[f"search: {ended.study}"]
    assert (study["status"], shown[last.name]["status"]) == ("RUNNING", "RUNNING")
    assert study["params"]["sampler.kind"] == "TPESampler"
    assert study["params"]["trials"] == "2"
    assert worker.answer({"do": "follow"})["runs"]["created"] == 0

    write_state(folder, ended)
    counts = worker.answer({"do": "follow"})["runs"]
    assert counts["updated"] == 2  # the study, and its last trial
    assert counts["replaced"] == 0
    shown = {one["name"]: one for one in held(uri, NAME).values()}
    study = shown[f"search: {ended.study}"]
    assert study["status"] == "FINISHED"
    assert study["tags"]["search.best"] == ended.trial(ended.best[0]).name
    for trial in ended.trials:
        run = shown[trial.name]
        assert run["status"] == ("KILLED" if trial is pruned else "FINISHED")
        assert run["parent"].startswith("study ")
        assert run["params"] == {path: str(value) for path, value in trial.parameters.items()}
        assert run["tags"]["search.trial"] == str(trial.number)
        assert run["tags"].get("search.arm", "") == trial.arm
        assert run["tags"]["search.state"] == trial.state
        assert run["tags"].get("search.reason", "") == trial.reason
        assert run["tags"]["stage.pair_accuracy.logic"] == trial.stages[0][0]
        values = run["metrics"].get("objective/logic/pair_accuracy", [])
        assert [float(value) for _, value, _ in values] == list(trial.values)
        points = [(step, float(value)) for step, value, _ in run["metrics"]["probe/logic"]]
        assert points == [(step, pytest.approx(value)) for step, value in trial.intermediate]
    assert sum(worker.answer({"do": "follow"})["runs"].values()) == len(shown)

"""Studies on Optuna's own database file: what is tried first, what a sampler proposes, and drivers that come and go."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.errors import MissingRequirement, RecipeError
from harness.recipe.search import ARMS, Search
from harness.search.sampling import make_sampler
from harness.search.state import SearchState
from harness.search.study import Point, Study

BALANCE, RATE, LAYERS = "pretrain.loss.balance", "pretrain.learning_rate", "model.layers"
SPACE: dict[str, Any] = {
    BALANCE: {"log_ratio": [-4, 4]},
    RATE: {"low": 1e-4, "high": 1e-2, "log": True},
    LAYERS: {"low": 2, "high": 10, "step": 4},
    "pairs.kinds": {"choices": ["plain", ["a", "b"]]},
    "pairs.flip": {"low": 0.0, "high": 0.5, "step": 0.25, "when": {"pairs.kinds": "plain"}},
}
BASE: Mapping[str, Any] = {RATE: 1e-3, LAYERS: 6, "pairs.kinds": "plain", "pairs.flip": 0.25}
Open = Callable[..., Study]


def search_of(**changes: Any) -> Search:
    return Search.model_validate(
        {
            "parameters": SPACE,
            "objectives": [{"task": "code", "evaluation": "pair_accuracy"}],
            "trials": 8,
            **changes,
        }
    )


def open_study(folder: Path, **changes: Any) -> Study:
    search = search_of(**changes)
    return Study(search, search.arms, folder, "study", {"recipe": "small"}, BASE.__getitem__)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where there is such a place: a disk takes most of a second for a trial's commits."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a driver's study in one folder."""
    made: list[Study] = []

    def make(**changes: Any) -> Study:
        made.append(open_study(tmp_path, **changes))
        return made[-1]

    yield make
    for study in made:
        study.close()


def claimed(study: Study) -> Point:
    point = study.claim()
    assert point is not None
    return point


def run(study: Study) -> list[Point]:
    """Try all points that are left; a trial is worth what its parameters say."""
    points = []
    while (point := study.claim()) is not None:
        points.append(point)
        study.note(point, f"trial {point.number}", study.overrides(point), ((f"end/{point.number}",),))
        study.complete(point, [math.tanh(point.parameters.get(BALANCE, 0.0)) + 0.01 * point.number])
    return points


def state_of(study: Study) -> SearchState:
    return study.state(ended=True, storage="", left_out={})


def test_arms_come_first_with_the_recipes_own_values(opened: Open) -> None:
    points = run(opened())
    assert [point.arm for point in points] == [*ARMS, None, None, None, None]
    one_to_one, rm_only, lm_only, no_pmp = (point.parameters for point in points[:4])
    assert one_to_one == {BALANCE: 0.0, **BASE}
    assert rm_only == lm_only == BASE
    assert no_pmp == {LAYERS: 6}


def test_an_arm_lacks_what_the_space_does_not_have(opened: Open) -> None:
    space = {BALANCE: SPACE[BALANCE], RATE: {"low": 1e-2, "high": 1.0}, "model.heads": {"choices": [1, 2]}}
    assert claimed(opened(parameters=space)).parameters == {BALANCE: 0.0}


def test_every_kind_of_parameter_is_asked_for_as_the_recipe_has_it(opened: Open) -> None:
    study = opened(trials=30, arms=[], sampler={"kind": "RandomSampler"})
    points = run(study)
    seen = {path: [point.parameters[path] for point in points if path in point.parameters] for path in SPACE}
    assert all(-4 <= value <= 4 for value in seen[BALANCE])
    assert sum(value < 1e-3 for value in seen[RATE]) in range(9, 22)  # evenly by the logarithm
    assert set(seen[LAYERS]) == {2, 6, 10}
    assert all(isinstance(value, int) for value in seen[LAYERS])
    assert set(seen["pairs.kinds"]) == {"plain", '["a", "b"]'}
    assert set(seen["pairs.flip"]) == {0.0, 0.25, 0.5}
    for point in points:
        assert ("pairs.flip" in point.parameters) == (point.parameters["pairs.kinds"] == "plain")
        overrides = study.overrides(point)
        weights = [overrides[f"pretrain.loss.{name}"] for name in ("rm", "lm")]
        assert sum(weights) == pytest.approx(2.0)
        assert math.log(weights[1] / weights[0]) == pytest.approx(point.parameters[BALANCE])
        assert overrides["pairs.kinds"] in ("plain", ["a", "b"])


@pytest.mark.parametrize("kind", ["TPESampler", "GPSampler", "GridSampler", "QMCSampler", "NSGAIISampler"])
def test_samplers_propose_points_beside_arms(opened: Open, kind: str) -> None:
    space = {BALANCE: SPACE[BALANCE], RATE: SPACE[RATE]}
    cells = {BALANCE: [-2.0, 0.0, 2.0], RATE: [1e-3, 1e-2]}
    arguments = {
        "GridSampler": {"search_space": cells},
        "NSGAIISampler": {"population_size": 4},
        "TPESampler": {"n_startup_trials": 4},
        "GPSampler": {"n_startup_trials": 4},
    }
    sampler = {"kind": kind, "arguments": arguments.get(kind, {})}
    asked: dict[str, Any] = {"parameters": space, "sampler": sampler, "trials": 11, "parallel": 2}
    points = run(opened(**asked))
    proposed = [point.parameters for point in points if point.arm is None]
    assert all(point.keys() == space.keys() for point in proposed)
    assert len({str(point) for point in proposed}) >= len(proposed) - 1  # GPSampler may end in a corner
    assert opened(**asked).claim() is None  # a driver that comes later, too
    if kind == "GridSampler":
        assert len(proposed) == 6
    else:
        assert len(points) == 11
    if kind == "QMCSampler":
        assert sorted({int(2 * point[BALANCE] // 4) for point in proposed[:4]}) == [-2, -1, 0, 1]  # from its first on


def test_a_sampler_whose_package_is_missing_is_one_clear_error() -> None:
    block = search_of(sampler={"kind": "CmaEsSampler"}).sampler
    with pytest.raises(RecipeError) as caught:
        make_sampler(block, 0)
    assert caught.value.value == "CmaEsSampler needs cmaes"
    assert "pip install cmaes" in caught.value.remedy


def test_a_driver_that_is_started_again_goes_on_and_repeats_no_draw(tmp_path: Path, opened: Open) -> None:
    whole = open_study(tmp_path / "whole", arms=[], trials=3)
    expected = [point.parameters for point in run(whole)]
    whole.close()
    found = []
    for _ in range(3):
        study = opened(arms=[], trials=3)
        point = claimed(study)
        study.note(point, "", {}, ((f"end/{point.number}",),))
        study.complete(point, [math.tanh(point.parameters[BALANCE]) + 0.01 * point.number])
        study.close()
        found.append(point.parameters)
    assert found == expected
    assert opened(arms=[], trials=3).claim() is None


def test_a_stopped_driver_gives_its_points_back_and_another_asks_them(opened: Open) -> None:
    first = opened(trials=5)
    kept = [claimed(first) for _ in range(5)]
    assert first.claim() is None
    first.complete(kept[0], [0.5])
    first.give_back(kept[1])
    first.give_back(kept[4])
    assert first.others_run()
    second = opened(trials=5)
    again = [claimed(second), claimed(second)]
    assert second.claim() is None
    assert [(point.arm, point.parameters) for point in again] == [
        (point.arm, point.parameters) for point in (kept[1], kept[4])
    ]
    for study, points in ((first, kept[2:4]), (second, again)):
        for point in points:
            study.complete(point, [0.5])
    assert not second.others_run()
    state = state_of(second)
    assert len(state.counted) == 5
    assert [trial.reason for trial in state.trials if not trial.counted] == ["interrupted", "interrupted"]


def test_what_was_taken_over_meanwhile_is_not_changed_by_its_first_driver(opened: Open, tmp_path: Path) -> None:
    """As where a machine slept: everyone else thinks that the driver ended."""
    sleeper, other = opened(trials=2, arms=[]), opened(trials=2, arms=[])
    point = claimed(sleeper)
    for lease in tmp_path.glob("driver-*.lease"):
        if f'"owner": "{sleeper._lease.owner}"' in lease.read_text():
            lease.unlink()
    again = claimed(other)
    assert again.parameters == point.parameters
    sleeper.note(point, "late", {}, ())
    assert not sleeper.look(point, 16, 0.5)
    sleeper.complete(point, [0.9])
    sleeper.give_back(point)
    other.complete(again, [0.4])
    trials = state_of(other).trials
    assert [(trial.state, trial.reason, trial.values) for trial in trials] == [
        ("failed", "its driver ended", ()),
        ("complete", "", (0.4,)),
    ]


def work_and_die(folder: Path, trials: int, dies: bool) -> None:
    study = open_study(folder, trials=trials)
    if dies:
        for _ in range(2):
            study.claim()
        os.kill(os.getpid(), signal.SIGKILL)
    run(study)
    study.close()


def test_many_processes_share_the_trials_and_take_each_dead_drivers_over_once(tmp_path: Path, opened: Open) -> None:
    fork = multiprocessing.get_context("fork")
    trials = 8
    for number in (2, 3):  # who dies, then who goes on
        drivers = [fork.Process(target=work_and_die, args=(tmp_path, trials, number == 2)) for _ in range(number)]
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join(60)
            assert driver.exitcode == (-signal.SIGKILL if number == 2 else 0)
    state = state_of(opened(trials=trials))
    assert len(state.counted) == trials
    assert {trial.state for trial in state.counted} == {"complete"}
    left = [trial for trial in state.trials if not trial.counted]
    assert [trial.reason for trial in left] == ["its driver ended"] * 4
    assert sorted(trial.arm for trial in state.counted if trial.arm) == sorted(ARMS)


def test_drivers_that_share_no_lock_ask_for_nothing_twice(tmp_path: Path) -> None:
    """Drivers of several workdirs may do the same at one moment; here the second does it right after the first."""
    address = f"sqlite:///{tmp_path / 'shared.db'}"
    one, other = (open_study(tmp_path / name, trials=6, storage=address) for name in ("one", "other"))
    for arm in ARMS:  # as if both had found no arm yet
        one._study.enqueue_trial({}, user_attrs={"arm": arm})
    point = claimed(one)
    one.give_back(point)
    one._study.enqueue_trial(dict(point.parameters), user_attrs={"arm": "one_to_one", "asked again": point.number})
    points = [*run(one), *run(other)]
    assert sorted(filter(None, (point.arm for point in points))) == sorted(ARMS)
    assert len(points) == 6
    state = state_of(other)
    assert len(state.counted) == 6
    assert not {trial.state for trial in state.trials} & {"running", "waiting"}
    assert not one.others_run()
    one.close()
    other.close()


def test_fewer_trials_than_arms_leave_none_waiting_and_more_trials_ask_the_rest(opened: Open) -> None:
    study = opened(trials=2)
    assert [point.arm for point in run(study)] == list(ARMS[:2])
    assert not study.others_run()
    assert [point.arm for point in run(opened(trials=5))] == [*ARMS[2:], None]


def test_a_study_is_kept_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%20{e}"
    study = open_study(folder, trials=1)
    assert len(run(study)) == 1
    study.close()
    assert (folder / "study.db").exists()


def test_a_damaged_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"not a database" * 100)
    with pytest.raises(MissingRequirement) as caught:
        open_study(tmp_path)
    assert "file is not a database" in caught.value.value


def test_the_database_of_another_program_is_one_clear_error(tmp_path: Path) -> None:
    """MLflow's, for one, which keeps its version in a table of the same name."""
    with closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        database.execute("INSERT INTO alembic_version VALUES ('0584bdc529eb')")
        database.commit()
    with pytest.raises(MissingRequirement) as caught:
        open_study(tmp_path)
    assert "a database of its own" in caught.value.rule


def test_a_value_that_is_no_number_fails_its_trial_alone(opened: Open) -> None:
    study = opened(trials=1)
    study.complete(claimed(study), [math.nan])
    (trial,) = state_of(study).trials
    assert (trial.state, trial.reason) == ("failed", "an objective is not a number")


def test_importances_and_the_best_leave_arms_that_are_no_points_out(opened: Open) -> None:
    study = opened(trials=10, parameters={BALANCE: SPACE[BALANCE], RATE: SPACE[RATE]})
    run(study)
    state = state_of(study)
    (shares,) = state.importances
    assert shares.keys() == {BALANCE, RATE}
    best = [trial.values[0] for trial in map(state.trial, state.best)]
    assert best == sorted(best, reverse=True)
    assert len(best) == 10

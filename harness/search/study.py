"""A study of Optuna's: trials are claimed, told and taken over. It, `sampling.py` and `trials.py` alone import Optuna.

Several drivers may work on one study, in one workdir or, through a database, in several. What must not happen twice is
left to the storage: a trial has one number, and ends once. A driver that ended leaves its trials running: who finds
them fails them and asks for their parameters again, by a trial that takes their place. Which trials count follows from
what all drivers see alike, by the trials' numbers: drivers in several workdirs share no lock.
"""

from __future__ import annotations

import json
import math
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as Optuna
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from harness.errors import MissingRequirement
from harness.recipe.search import BALANCE, Arm, Search, applies, label_of, overrides_of
from harness.search.sampling import (
    AT,
    FIXED,
    LAID_OUT,
    Points,
    Seeded,
    lies_in,
    make_pruner,
    make_sampler,
    quiet,
    suggest,
)
from harness.search.state import STUDY, SearchState
from harness.search.trials import (
    AGAIN,
    ARM,
    DRIVER,
    ENDED,
    GRID,
    INTERRUPTED,
    NAME,
    OVERRIDES,
    REASON,
    STAGES,
    SURPLUS,
    is_given_up,
    places_of,
    plain,
)
from harness.store.lease import Lease, is_held

HEARTBEAT_SECONDS, SILENT_SECONDS = 30, 180
MOST_OPENINGS, OPENING_SECONDS = 8, 0.5  # of a new database, whose tables several drivers may create at once


@dataclass(frozen=True, kw_only=True)
class Point:
    """A trial that is ours to run."""

    trial: Trial
    number: int
    arm: Arm | None
    parameters: Mapping[str, Any]


class Study:
    """The study of a recipe's search, opened by one driver.

    Args:
        arms: what is tried first.
        folder: of this workdir, for its lock, its driver's lease and its database.
        name: says what makes trials comparable.
        about: user attributes of the study.
        base: the recipe's own value at a path, for what an arm leaves as it is; KeyError where there is none.

    Raises:
        MissingRequirement: the storage does not answer.
        RecipeError: no such sampler or pruner.
    """

    def __init__(
        self,
        search: Search,
        arms: Sequence[Arm],
        folder: Path,
        name: str,
        about: Mapping[str, Any],
        base: Callable[[str], Any],
    ) -> None:
        self.search, self.name, self._arms, self._base = search, name, arms, base
        folder.mkdir(parents=True, exist_ok=True)
        self.address = search.storage or URL.create("sqlite", database=str(folder / STUDY)).render_as_string()
        self._lock = FileLock(folder / "study.lock")
        self._lease = Lease(folder / f"driver-{uuid.uuid4().hex}.lease")
        self._lease.acquire()
        self._folder, self._beat = folder, 0.0
        self._seen: dict[int, float] = {}
        seed, parallel = search.sampler.seed, search.parallel > 1
        self._sampler = Seeded(
            lambda drawn: make_sampler(search.sampler, drawn, parallel=parallel),
            seed,
            laid_out=search.sampler.kind in LAID_OUT,
        )
        with self._told(), self._lock:
            self._storage = _opened(self.address)
            self._study = optuna.create_study(
                study_name=name,
                storage=self._storage,
                sampler=self._sampler,
                pruner=make_pruner(search.pruner),
                directions=[objective.direction for objective in search.objectives],
                load_if_exists=True,
            )
            self._study.set_metric_names([objective.name for objective in search.objectives])
            for key, value in about.items():
                self._study.set_user_attr(key, value)
            self._enqueue_arms()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What a storage says, in the house form."""
        try:
            with quiet():
                yield
        except (SQLAlchemyError, StorageInternalError, ImportError) as error:
            told = str(error.__cause__ if isinstance(error, StorageInternalError) else error).splitlines()[0]
            raise MissingRequirement("`search.storage` must answer", told, "see that the database runs") from None

    # ------------------------------------------------------------------------------------------------- points

    def _enqueue_arms(self) -> None:
        trials = self._trials()
        places = places_of(trials)
        asked = {trial.user_attrs.get(ARM) for trial in trials if trial.number in places}
        room = max(0, self.search.trials - len(set(places.values())))
        for arm in [arm for arm in self._arms if arm not in asked][:room]:
            at = dict(self._arm_parameters(arm))
            whole = arm == "one_to_one" and at.keys() == self.search.parameters.keys()
            self._study.enqueue_trial(at, user_attrs={ARM: arm} | ({} if whole else {AT: sorted(at)}))

    def _arm_parameters(self, arm: Arm) -> Iterator[tuple[str, Any]]:
        """What an arm is in the study's parameters: the recipe's own values, as far as they lie in the space."""
        for path, parameter in self.search.parameters.items():
            if arm == "no_pmp" and path.split(".")[0] in ("pretrain", "pairs"):
                continue
            if path == f"pretrain{BALANCE}":
                value: Any = 0.0
                if arm != "one_to_one":
                    continue
            else:
                try:
                    value = self._base(path)
                except KeyError:
                    continue
            if lies_in(parameter, value):
                yield path, label_of(value)

    def claim(self) -> Point | None:
        """The next point to try; None where none is left, or others are trying the last."""
        with self._told(), self._lock:
            self._take_over()
            while True:
                trials = self._trials()
                places, within = self._within(trials)
                waits = any(one.state == Optuna.WAITING and places.get(one.number) in within for one in trials)
                if not waits and (len(within) >= self.search.trials or self._sampler.is_exhausted(self._study)):
                    return None
                trial = self._study.ask()
                self._storage.record_heartbeat(trial._trial_id)
                trial.set_user_attr(DRIVER, self._lease.path.name)
                places, within = self._within(self._trials())
                if places.get(trial.number) in within:
                    break
                self._end(trial, Optuna.FAIL, SURPLUS)  # a driver elsewhere asked at the same moment
        known = trial.user_attrs
        asked = known.get(AT)
        parameters: dict[str, Any] = {}
        for path, parameter in self.search.parameters.items():
            if (asked is None or path in asked) and applies(parameter, parameters):
                with quiet():
                    parameters[path] = suggest(trial, path, parameter)
        return Point(trial=trial, number=trial.number, arm=known.get(ARM), parameters=parameters)

    def overrides(self, point: Point) -> dict[str, Any]:
        """What a point overrides in the recipe, beside what its arm does."""
        found: dict[str, Any] = {}
        for path, value in point.parameters.items():
            found |= overrides_of(path, self.search.parameters[path], value)
        return found

    def _within(self, trials: Sequence[FrozenTrial]) -> tuple[Mapping[int, int], set[int]]:
        """The places of trials, and which of them are within `search.trials`."""
        places = places_of(trials)
        return places, set(sorted(set(places.values()))[: self.search.trials])

    # --------------------------------------------------------------------------------------------------- ends

    def note(self, point: Point, name: str, overrides: Mapping[str, Any], stages: Sequence[Sequence[str]]) -> None:
        """What a trial is, for whoever opens the study."""
        with self._told(), suppress(UpdateFinishedTrialError):  # taken over while we were silent
            point.trial.set_user_attr(NAME, name)
            point.trial.set_user_attr(OVERRIDES, json.dumps(dict(overrides)))
            point.trial.set_user_attr(STAGES, [list(one) for one in stages])

    def look(self, point: Point, pairs: int, value: float) -> bool:
        """Report a value on the way; whether the trial is to be stopped."""
        with self._told(), suppress(UpdateFinishedTrialError):
            point.trial.report(value, pairs)
            return bool(point.trial.should_prune())
        return False

    def complete(self, point: Point, values: Sequence[float]) -> None:
        if any(map(math.isnan, values)):
            self.fail(point, "an objective is not a number")
            return
        with self._told():
            self._end(point.trial, Optuna.COMPLETE, "", values)

    def prune(self, point: Point, reason: str) -> None:
        with self._told():
            self._end(point.trial, Optuna.PRUNED, reason)

    def fail(self, point: Point, reason: str) -> None:
        with self._told():
            self._end(point.trial, Optuna.FAIL, reason)

    def give_back(self, point: Point) -> None:
        """End a trial that we cannot go on with, and have its parameters asked again."""
        with self._told(), self._lock:
            self._again(self._storage.get_trial(point.trial._trial_id), INTERRUPTED)

    def _end(self, trial: Trial, state: Optuna, reason: str, values: Sequence[float] | None = None) -> None:
        with suppress(UpdateFinishedTrialError):  # taken over while we were silent; what was computed is in the store
            if reason:
                trial.set_user_attr(REASON, reason)
            self._study.tell(trial, values, state, skip_if_finished=True)

    # ----------------------------------------------------------------------------------------------- drivers

    def beat(self) -> None:
        """Say that this driver lives."""
        if time.monotonic() - self._beat > HEARTBEAT_SECONDS / 2:
            self._beat = time.monotonic()
            with self._told():
                for trial in self._trials():
                    if trial.state == Optuna.RUNNING and trial.user_attrs.get(DRIVER) == self._lease.path.name:
                        self._storage.record_heartbeat(trial._trial_id)

    def _take_over(self) -> None:
        """Fail the trials of drivers that ended, and have their parameters asked again; and what waits in vain."""
        trials = self._trials()
        places, within = self._within(trials)
        replaced = {trial.user_attrs.get(AGAIN) for trial in trials}
        for trial in trials:
            place = places.get(trial.number)
            if trial.state == Optuna.RUNNING and self._is_left(trial):
                self._again(trial, ENDED)
            elif trial.state == Optuna.WAITING and (place is None or (place == trial.number and place not in within)):
                with suppress(UpdateFinishedTrialError):
                    self._storage.set_trial_user_attr(trial._trial_id, REASON, SURPLUS)
                    self._storage.set_trial_state_values(trial._trial_id, state=Optuna.FAIL)
            elif is_given_up(trial) and place is not None and trial.number not in replaced and self._is_silent(trial):
                self._ask_again(trial)  # a driver ended between failing it and this

    def _is_left(self, trial: FrozenTrial) -> bool:
        driver = trial.user_attrs.get(DRIVER)
        if driver is not None and (self.search.storage is None or (self._folder / driver).exists()):
            return not is_held(self._folder / driver)
        if driver is None:  # it ended between asking and saying who it is
            return self._is_silent(trial)
        return trial._trial_id in self._storage._get_stale_trial_ids(self._study._study_id)

    def _is_silent(self, trial: FrozenTrial) -> bool:
        """Whether nobody is about to change a trial: at once where all drivers take our lock, else after a while."""
        if self.search.storage is None:
            return True
        return time.monotonic() - self._seen.setdefault(trial.number, time.monotonic()) > SILENT_SECONDS

    def _again(self, trial: FrozenTrial, reason: str) -> None:
        try:
            self._storage.set_trial_user_attr(trial._trial_id, REASON, reason)
            self._storage.set_trial_state_values(trial._trial_id, state=Optuna.FAIL)
        except UpdateFinishedTrialError:
            return  # another driver was first
        self._ask_again(trial)

    def _ask_again(self, trial: FrozenTrial) -> None:
        kept = {key: trial.user_attrs[key] for key in (ARM, AT) if key in trial.user_attrs}
        # A driver may have ended before it asked for all the parameters that an arm fixes.
        point = {**trial.system_attrs.get(FIXED, {}), **trial.params}
        known = {key: trial.system_attrs[key] for key in GRID if key in trial.system_attrs}
        self._study.add_trial(
            optuna.trial.create_trial(
                state=Optuna.WAITING,
                system_attrs=known | ({FIXED: point} if point else {}),
                user_attrs={**kept, AGAIN: trial.number},
            )
        )

    def others_run(self) -> bool:
        """Whether trials are under way or to be asked again, of whichever driver; one that ended is noticed here."""
        with self._told(), self._lock:
            self._take_over()
            trials = self._trials()
            places, within = self._within(trials)
            replaced = {trial.user_attrs.get(AGAIN) for trial in trials}
            return any(
                trial.state in (Optuna.RUNNING, Optuna.WAITING) or (is_given_up(trial) and trial.number not in replaced)
                for trial in trials
                if places.get(trial.number) in within
            )

    def close(self) -> None:
        self._lease.release()

    # ------------------------------------------------------------------------------------------------- state

    def state(self, *, ended: bool, storage: str, left_out: Mapping[str, str]) -> SearchState:
        """What there is, as plain data.

        Args:
            storage: its address as it may be shown.
            left_out: arms that are not tried -> why.
        """
        with self._told():
            trials = self._trials()
            places = places_of(trials)
            return SearchState(
                study=self.name,
                storage=storage,
                objectives=tuple(objective.name for objective in self.search.objectives),
                directions=tuple(objective.direction for objective in self.search.objectives),
                asked=self.search.trials,
                trials=tuple(plain(trial, placed=trial.number in places) for trial in trials),
                importances=self._importances() if ended else (),
                best=self._best() if ended else (),
                left_out=left_out,
                ended=ended,
            )

    def _best(self) -> tuple[int, ...]:
        """Numbers of complete trials, or of the Pareto front, the best first; of the same stages, the first alone."""
        if len(self.search.objectives) > 1:
            found = self._study.best_trials
        else:
            found = [trial for trial in self._trials() if trial.state == Optuna.COMPLETE]
        sign = -1.0 if self.search.objectives[0].direction == "maximize" else 1.0
        distinct: dict[str, FrozenTrial] = {}
        for trial in sorted(found, key=lambda one: (sign * one.values[0], one.number)):
            distinct.setdefault(str(trial.user_attrs.get(STAGES)), trial)
        return tuple(trial.number for trial in distinct.values())

    def _importances(self) -> tuple[Mapping[str, float], ...]:
        """What each parameter decides, one an objective; none where all complete trials are the same."""
        points = Points(self.name, self._storage)
        found: list[Mapping[str, float]] = []
        for number in range(len(self.search.objectives)):
            try:
                shares = optuna.importance.get_param_importances(
                    points,
                    evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                    target=_value(number),
                )
            except (ValueError, RuntimeError):  # Optuna's own words for too few trials, or all alike
                shares = {}
            found.append({name: float(share) for name, share in shares.items()})
        return tuple(found)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


def _value(objective: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(trial.values[objective])


def _opened(address: str) -> RDBStorage:
    for number in range(MOST_OPENINGS):
        try:
            return RDBStorage(address, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=SILENT_SECONDS)
        except (IntegrityError, ProgrammingError):  # another driver creates its tables at this moment
            if number == MOST_OPENINGS - 1:
                raise
            time.sleep(random.uniform(0.0, OPENING_SECONDS))
        except RuntimeError as error:  # another version's tables, or those of a program that counts versions alike
            rule = "`search.storage` must be a database of its own, made by this version of Optuna"
            raise MissingRequirement(rule, str(error).splitlines()[0], "name another database") from None
    raise AssertionError

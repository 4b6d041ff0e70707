"""What the trials of a study say: which count, and each as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as Optuna

from harness.search.state import State, TrialState

DRIVER, ARM, NAME, OVERRIDES, STAGES, REASON, AGAIN = (
    "driver",
    "arm",
    "name",
    "overrides",
    "stages",
    "reason",
    "asked again",
)
STATES: Mapping[Optuna, State] = {
    Optuna.WAITING: "waiting",
    Optuna.RUNNING: "running",
    Optuna.COMPLETE: "complete",
    Optuna.PRUNED: "pruned",
    Optuna.FAIL: "failed",
}
GRID = ("grid_id", "search_space")  # what GridSampler calls a point by
ENDED, INTERRUPTED, SURPLUS = "its driver ended", "interrupted", "more than `search.trials`"


def is_given_up(trial: FrozenTrial) -> bool:
    return trial.state == Optuna.FAIL and trial.user_attrs.get(REASON) in (ENDED, INTERRUPTED)


def places_of(trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """{number of a trial: of the trial whose place in `search.trials` it has}, itself or one that was given up.

    A surplus trial has none. Nor has the later of two by which drivers asked for one thing at the same moment.
    """
    places: dict[int, int] = {}
    asked: set[tuple[str, Any]] = set()
    for trial in trials:
        known = trial.user_attrs
        if trial.state == Optuna.FAIL and known.get(REASON) == SURPLUS:
            continue
        what = next(((key, known[key]) for key in (AGAIN, ARM) if key in known), (NAME, trial.number))
        place = places.get(known[AGAIN]) if AGAIN in known else trial.number
        if place is not None and what not in asked:
            places[trial.number] = place
            asked.add(what)
    return places


def plain(trial: FrozenTrial, *, placed: bool) -> TrialState:
    known = trial.user_attrs
    started, finished = trial.datetime_start, trial.datetime_complete
    return TrialState(
        number=trial.number,
        name=known.get(NAME, f"trial {trial.number}"),
        arm=known.get(ARM, ""),
        state=STATES[trial.state],
        parameters=dict(trial.params),
        overrides=json.loads(known.get(OVERRIDES, "{}")),
        values=tuple(trial.values or ()) if trial.state == Optuna.COMPLETE else (),
        intermediate=tuple(sorted(trial.intermediate_values.items())),
        stages=tuple(tuple(one) for one in known.get(STAGES, ())),
        reason="" if trial.state == Optuna.COMPLETE else known.get(REASON, ""),
        counted=placed and trial.state != Optuna.WAITING and not is_given_up(trial),
        started=started.timestamp() if started else 0.0,
        finished=finished.timestamp() if finished else 0.0,
    )

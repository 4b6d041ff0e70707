"""A search as a tracker shows it: a run of the study, and one of each trial below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.recipe.search import Search
from harness.report.curves import Point
from harness.search.state import SearchState, State, TrialState
from harness.store.identity import fingerprint
from harness.tracking.view import RunView, Status
from harness.tracking.words import POINT, SEARCH, clipped, key, parameters

LONGEST_REASON = 2_000
STATUSES: Mapping[State, Status] = {
    "waiting": "SCHEDULED",
    "running": "RUNNING",
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
}


def search_runs(recipe: str, search: Search, state: SearchState) -> Iterator[RunView]:
    """The study, and the trials that began."""
    trials = [trial for trial in state.trials if trial.started]
    if not trials:
        return
    study = fingerprint({"recipe": recipe, "kind": "study", "study": state.study})
    yield RunView(
        kind="study",
        key=study,
        name=f"search: {state.study}",
        status="FINISHED" if state.ended else "RUNNING",
        start=_milliseconds(min(trial.started for trial in trials)),
        end=_milliseconds(max(max(trial.started, trial.finished) for trial in trials)),
        params=_params(search),
        tags=_about(recipe, state) | {f"{SEARCH}best": _best(state), f"{SEARCH}storage": state.storage},
        metrics={},
    )
    for trial in trials:
        yield _trial(recipe, search, state, trial, study)


def _trial(recipe: str, search: Search, state: SearchState, trial: TrialState, study: str) -> RunView:
    lacks = any(path not in trial.parameters for path, one in search.parameters.items() if one.when is None)
    tags = {
        POINT: "no" if trial.arm and lacks else "yes",
        f"{SEARCH}trial": str(trial.number),
        f"{SEARCH}arm": trial.arm,
        f"{SEARCH}state": trial.state,
        f"{SEARCH}reason": clipped(trial.reason, LONGEST_REASON),
        f"{SEARCH}counted": "yes" if trial.counted else "no",
    }
    tasks = [name.split("/") for name in state.objectives]
    for (task, evaluation, *_), stages in zip(tasks, trial.stages, strict=False):
        tags[key(f"stage.{evaluation}.{task}")] = ", ".join(stages)
    ended = trial.finished or trial.started
    metrics: dict[str, tuple[Point, ...]] = {
        objective_key(name): (Point(step=0, value=value, time=_milliseconds(ended)),)
        for name, value in zip(state.objectives, trial.values, strict=False)
    }
    if trial.intermediate:
        points = [Point(step=pairs, value=value, time=_milliseconds(ended)) for pairs, value in trial.intermediate]
        metrics[key(f"probe/{tasks[0][0]}")] = tuple(points)
    return RunView(
        kind="trial",
        key=fingerprint({"study": study, "trial": trial.number}),
        parent=study,
        name=trial.name,
        status=STATUSES[trial.state],
        start=_milliseconds(trial.started),
        end=_milliseconds(ended),
        params=parameters(trial.parameters),
        tags=_about(recipe, state) | {name: value for name, value in tags.items() if value},
        metrics=metrics,
    )


def objective_key(name: str) -> str:
    """The metric of an objective: not that of settings, which are judged on other problems."""
    return key(f"objective/{name.replace('@', '_at_')}")


def _about(recipe: str, state: SearchState) -> dict[str, str]:
    return {"harness.compared": "no", "mlflow.source.name": recipe, f"{SEARCH}study": state.study}


def _best(state: SearchState) -> str:
    """The best by dev, or the Pareto front."""
    shown = state.best if len(state.objectives) > 1 else state.best[:1]
    return ", ".join(state.trial(number).name for number in shown)


def _params(search: Search) -> dict[str, str]:
    """How it is searched, without the storage, whose address may hold a password."""
    asked: dict[str, Any] = search.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"storage"})
    return parameters({"sampler": asked.pop("sampler"), "pruner": "none", **asked})


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)

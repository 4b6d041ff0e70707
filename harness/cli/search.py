"""The search of a recipe, run under a live view that shows its trials beside their stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from harness.cli.environment import gpus_of
from harness.cli.live import LiveView
from harness.cli.workspace import Workspace, slots_and_threads
from harness.execution.local import LocalExecutor
from harness.execution.runner import Runner, Summary, how_of
from harness.plan.cost import Estimate
from harness.plan.trials import arms_of
from harness.report.words import duration, plural
from harness.search.confirm import comparison_of, name_of, study_name
from harness.search.state import STUDY, SearchState, TrialState, folder_of, write_state
from harness.store.store import Store
from harness.tracking.places import without_secrets

MOST_SHOWN = 12  # trials on a terminal


def run_search(workspace: Workspace) -> Summary:
    """Run trials until there are as many as the recipe asks for; an earlier run's are gone on with.

    Raises:
        MissingRequirement: the storage does not answer.
    """
    from harness.search.driver import Driver
    from harness.search.study import Study

    planner, recipe = workspace.trials, workspace.plan.loaded.recipe
    assert planner is not None
    folder, name = folder_of(workspace.workdir, recipe.name), study_name(planner)
    about = {
        "recipe": recipe.name,
        "notes": recipe.notes,
        "parameters": planner.search.model_dump(mode="json", by_alias=True, exclude_none=True)["parameters"],
    }
    arms, left_out = arms_of(planner)
    study = Study(planner.search, arms, folder, name, about, _values(planner.loaded.data))
    own = f"sqlite:///{folder.relative_to(workspace.workdir)}/{STUDY}"  # wherever the workdir may lie
    shown = own if planner.search.storage is None else without_secrets(planner.search.storage)
    stages = planner.plan(planner.setting(recipe.name, {}, {})).plan.stages
    slots, threads = slots_and_threads(workspace.runtime)
    executor = LocalExecutor(
        slots=slots,
        threads=threads,
        gpus=gpus_of(workspace.runtime, stages),
        preload=sorted({stage.kind.module for stage in stages}),
    )
    how = how_of(workspace.runtime)

    def save() -> SearchState:
        state = study.state(ended=False, storage=shown, left_out=left_out)
        write_state(folder, state)
        return state

    try:
        with SearchView(workspace.store, planner.search.trials) as live:
            driver = Driver(planner, study, workspace.store, live, save)
            runner = Runner(workspace.store, executor, driver, how)
            try:
                summary = runner.run((), (), lambda: driver.turn(runner))
            finally:
                driver.give_back()
        state = study.state(ended=not summary.interrupted, storage=shown, left_out=left_out)
        compared = comparison_of(planner, state) if state.ended else None
        if compared is not None:
            Runner(workspace.store, executor, live, how).run([compared], [compared])
            state = replace(state, analysis=compared.fingerprint)
        write_state(folder, state)
        return summary
    finally:
        executor.close()
        study.close()


def _values(data: Mapping[str, Any]) -> Any:
    def value(path: str) -> Any:
        """The recipe's own value at a path; KeyError where it has none."""
        here: Any = data
        for key in path.split("."):
            if not isinstance(here, Mapping):
                raise KeyError(path)
            here = here[key]
        return here

    return value


class SearchView(LiveView):
    """Trials that run, the best so far, and their stages; off a terminal a line when a trial ends."""

    def __init__(self, store: Store, trials: int) -> None:
        super().__init__(store, Estimate(costs=(), seconds=0.0, speed_basis="assumed"))
        self._asked = trials
        self._state: SearchState | None = None
        self._told: set[int] = set()

    def trials(self, state: SearchState) -> None:
        """Take in what became of trials."""
        self._show(lambda: self._take(state))

    def _take(self, state: SearchState) -> None:
        first = self._state is None
        self._state = state
        for trial in state.trials:
            if trial.finished and trial.number not in self._told:
                self._told.add(trial.number)
                if not first and self._live is None:
                    self._console.print(_line(state, trial, self._asked), soft_wrap=True, markup=False)
        if first and self._told and self._live is None:
            done = sum(trial.finished for trial in state.counted)
            self._console.print(f"{done} of {plural(self._asked, 'trial')} finished before")

    def _begin(self) -> None:
        if self._console.is_terminal:
            super()._begin()
        else:
            self._console.print(f"searching, {plural(self._asked, 'trial')}")

    def _tell_end(self, outcome: Any) -> None:
        if self._live is None and outcome.status == "done":
            return  # a trial is a line, its stages are not
        super()._tell_end(outcome)

    def _picture(self) -> Group:
        state = self._state
        if state is None:
            return Group(super()._picture())
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("trial", "state", *state.objectives, "parameters"):
            table.add_column(column, no_wrap=column != "parameters")
        shown = [trial for trial in state.trials if trial.state == "running"][-MOST_SHOWN:]
        best = _best(state)
        for trial in [*shown, *([best] if best else [])]:
            values = [f"{value:.4f}" for value in trial.values] or [""] * len(state.objectives)
            word = "best so far" if trial is best else trial.state
            table.add_row(str(trial.number), word, *values, Text(_parameters(trial)))
        ended = [trial for trial in state.counted if trial.finished]
        pruned = sum(trial.state == "pruned" for trial in ended)
        failed = sum(trial.state == "failed" for trial in ended)
        head = f"{len(ended)}/{self._asked} trials  {pruned} pruned  {failed} failed"
        return Group(Text(head, style="bold"), table, super()._picture())

    def _remaining(self) -> str:
        return ""


def _best(state: SearchState) -> TrialState | None:
    """The best complete trial by the first objective."""
    found: TrialState | None = None
    for trial in state.trials:
        if trial.values and (found is None or state.better(trial.values[0], found.values[0])):
            found = trial
    return found


def _line(state: SearchState, trial: TrialState, asked: int) -> str:
    ended = sum(bool(one.finished) for one in state.counted if one.finished <= trial.finished)
    values = ", ".join(f"{name} {value:.4f}" for name, value in zip(state.objectives, trial.values, strict=False))
    best = _best(state)
    told = [f"[{ended}/{asked}] trial {trial.number} {trial.state}", values or trial.reason, _parameters(trial)]
    told += [f"best so far: trial {best.number}" if best is not None and best.number != trial.number else ""]
    told += [duration(trial.finished - trial.started)]
    return "; ".join(filter(None, told))


def _parameters(trial: TrialState) -> str:
    return name_of(trial).rpartition(" (trial")[0]

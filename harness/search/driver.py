"""Runs a search: claims trials, adds their stages to the run, and tells what became of them.

Trials are independent: each goes on when its own stages are done, whatever the others do. Their stages share the
executor's slots, and a stage that several need is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.errors import HarnessError, ProblemList
from harness.execution.executor import Outcome, StageTask
from harness.execution.runner import Listener, Runner
from harness.pipeline.evaluations import evaluation_named
from harness.pipeline.graph import Stage
from harness.plan.plan import Plan
from harness.plan.trials import ARM_NAMES, TrialPlan, TrialPlanner, part_of
from harness.plan.work import work_left
from harness.recipe.search import Objective, arm_overrides
from harness.search.state import SearchState
from harness.search.study import Point, Study
from harness.store.store import Store


class Shown(Listener, Protocol):
    """Who is told how trials go, beside stages."""

    def trials(self, state: SearchState) -> None: ...


@dataclass(kw_only=True)
class _Active:
    """A trial under way: `rungs` are what it is still to compute, each with the look that ends it."""

    point: Point
    trial: TrialPlan
    rungs: list[tuple[int, tuple[Stage, ...]]]
    stages: set[str] = field(default_factory=set)


class Driver:
    """Drives a study until its trials have ended; a listener of the runner that computes their stages.

    Args:
        save: keeps and shows the state of the search, after everything that changed it.
    """

    def __init__(
        self, planner: TrialPlanner, study: Study, store: Store, shown: Shown, save: Callable[[], SearchState]
    ) -> None:
        self._planner, self._study, self._store = planner, study, store
        self._shown, self._save = shown, save
        self._active: list[_Active] = []
        self._reasons: dict[str, str] = {}
        self._changed = True

    # ---------------------------------------------------------------------------------------------- listener

    def started(self, task: StageTask) -> None:
        self._shown.started(task)

    def finished(self, outcome: Outcome) -> None:
        if outcome.status in ("failed", "corrupt"):
            self._reasons[outcome.task.fingerprint] = f"{outcome.task.label}: {outcome.reason}"
        self._shown.finished(outcome)

    def tick(self) -> None:
        self._study.beat()
        self._shown.tick()

    # ------------------------------------------------------------------------------------------------- turns

    def turn(self, runner: Runner) -> bool:
        """Go on with every trial that can; whether any is still under way, here or elsewhere."""
        for active in list(self._active):
            self._go_on(active, runner)
        while len(self._active) < self._study.search.parallel and (point := self._study.claim()) is not None:
            self._begin(point, runner)
        if self._changed:
            self._changed = False
            self._shown.trials(self._save())
        return bool(self._active) or self._study.others_run()

    def give_back(self) -> None:
        """End what is under way, so that the next driver asks for it at once."""
        for active in self._active:
            self._study.give_back(active.point)
        self._active = []

    def _begin(self, point: Point, runner: Runner) -> None:
        self._changed = True
        overrides: dict[str, Any] = self._study.overrides(point)
        if point.arm is not None:
            overrides |= arm_overrides(point.arm)
        name = f"trial {point.number}" + (f" ({ARM_NAMES[point.arm]})" if point.arm else "")
        values = {path: str(value) for path, value in point.parameters.items()}
        try:
            trial = self._planner.plan(self._planner.setting(name, overrides, values))
        except HarnessError as error:
            self._study.note(point, name, overrides, ())
            self._study.fail(point, _told(error))
            return
        self._study.note(point, name, overrides, [[stage.name for stage in stages] for stages in trial.values])
        ends = tuple(stage for stages in trial.values for stage in stages)
        rungs = [*((look.pairs, look.stages) for look in trial.looks), (0, ends)]
        active = _Active(point=point, trial=trial, rungs=rungs)
        self._active.append(active)
        self._add(active, runner)
        self._go_on(active, runner)  # what was computed before costs no turn

    def _add(self, active: _Active, runner: Runner) -> None:
        _, targets = active.rungs[0]
        plan: Plan = part_of(active.trial, targets)
        to_run = work_left(plan, self._store, self._planner.loaded.recipe.runtime).to_run
        active.stages |= {stage.fingerprint for stage in to_run}
        runner.add(to_run, plan.stages)

    def _go_on(self, active: _Active, runner: Runner) -> None:
        lost = [key for key in active.stages if key in runner.lost]
        if lost:
            reasons = [self._reasons[key] for key in lost if key in self._reasons]
            self._end(active, runner)
            self._study.fail(active.point, "; ".join(reasons) or "a stage failed")
            return
        while all(runner.is_settled(key) for key in active.stages):
            pairs, targets = active.rungs.pop(0)
            if not active.rungs:
                self._end(active, runner)
                objectives = zip(self._study.search.objectives, active.trial.values, strict=True)
                self._study.complete(active.point, [self._value(one, stages) for one, stages in objectives])
                return
            looked = Objective(task=self._study.search.objectives[0].task, evaluation="pair_accuracy")
            if self._study.look(active.point, pairs, self._value(looked, targets)):
                self._end(active, runner)
                self._study.prune(active.point, f"after {pairs:,} pairs, by {self._pruner}")
                return
            self._changed = True
            self._add(active, runner)

    @property
    def _pruner(self) -> str:
        pruner = self._study.search.pruner
        return "" if pruner is None else pruner.kind

    def _end(self, active: _Active, runner: Runner) -> None:
        """Take a trial out; stages that no other needs are not begun."""
        self._active.remove(active)
        self._changed = True
        wanted = {key for other in self._active for key in other.stages}
        runner.drop(active.stages - wanted)

    def _value(self, objective: Objective, stages: Sequence[Stage]) -> float:
        """The mean over seeds of a metric's mean over problems."""
        found = []
        for stage in stages:
            record = self._store.record(stage.kind.name, stage.fingerprint)
            assert record is not None
            found.append(float(record.result["means"][metric_of(objective)]))
        return sum(found) / len(found)


def metric_of(objective: Objective) -> str:
    """The metric that an objective is the mean of."""
    return objective.metric or evaluation_named(objective.evaluation).headline


def _told(error: HarnessError) -> str:
    """What is wrong with a point, without the place in the recipe, which is the search's own."""
    problems = error.problems if isinstance(error, ProblemList) else (error,)
    return "; ".join(HarnessError(one.rule, one.value).one_line() for one in problems)

"""What a recipe's search has come to, as plain data for every form of the report: reads `SearchState`, no Optuna.

Intervals of trials come from the stage that compared them on dev, those of confirmed settings from the board.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.pipeline.comparing import ANALYSIS
from harness.pipeline.evaluations import headline, metric_label
from harness.plan.analysis import baseline_of
from harness.plan.plan import Plan, PlannedSetting
from harness.plan.trials import ARM_NAMES
from harness.recipe.fields import CODE
from harness.recipe.search import Objective, Parameter, Search
from harness.report.comparison import SETTING, AnalysisIndex, Difference, Estimate
from harness.report.facts import Facts
from harness.report.methods import covers
from harness.report.overview import Overview
from harness.report.render import paragraphs
from harness.report.status import Statuses
from harness.report.words import RETRACTED, interval, listing, score, share, signed, signed_interval, value_text
from harness.search.confirm import name_of
from harness.search.state import SearchState, TrialState
from harness.store.artifacts import Analysis
from harness.store.store import Store

FEWEST_TRIALS = 30
"""Complete ones: with fewer, importances are mostly noise."""

MOST_ROWS = 50
"""Of a table of trials; `search.json` has all."""


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A setting that was trained anew with fresh seeds, by one objective.

    Attributes:
        name: as the board calls it; `trial` is the number of the trial that it was, None for one that no trial was.
        objective: index in the recipe.
        selected: on dev when it was chosen, the mean over the search's seeds; `fresh` on dev with fresh seeds.
        test: None while it is not done. `difference` is from the baseline of the board, by what the board ranks by.
        baseline: whether it is what the board compares others with.
        doubt: why its test result is not to be trusted, "" where it is.
    """

    name: str
    trial: int | None
    objective: int
    selected: float | None
    fresh: float | None
    test: Estimate | None
    difference: Difference | None
    baseline: bool
    doubt: str

    @property
    def optimism(self) -> float | None:
        """Dev when it was chosen minus dev with fresh seeds."""
        return None if self.selected is None or self.fresh is None else self.selected - self.fresh


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """A search, for reading.

    Attributes:
        space: parameters by path, as the recipe has them.
        labels: what each objective is called.
        answer: which setting is best by dev, what it reached on test, and the optimism of the selection.
        best: number of the best complete trial by the first objective so far, or among the front; None without any.
        intervals: trial -> its estimate on dev by each objective; empty until all trials have ended.
        warnings: what limits the section, in sentences.
        importances, trials, failures: tables, empty where there is nothing to show.
    """

    state: SearchState
    space: Mapping[str, Parameter]
    labels: tuple[str, ...]
    answer: tuple[str, ...]
    best: int | None
    confirmed: tuple[Confirmed, ...]
    intervals: Mapping[int, tuple[Estimate | None, ...]]
    warnings: tuple[str, ...]
    confirmation: Facts
    importances: Facts
    trials: Facts
    failures: Facts


def search_report(plan: Plan, store: Store, seen: Overview, state: SearchState) -> SearchReport:
    """Gather the section from the search's state, the records of what it confirmed, and the board."""
    search = plan.loaded.recipe.search
    assert search is not None
    objectives = search.objectives
    labels = tuple(map(label_of_objective, objectives))
    intervals, missing = trial_intervals(state, objectives, store)
    best = best_trial(state)
    confirmed = _confirmed(plan, seen, state, search) if state.has_ended(search.trials) else ()
    return SearchReport(
        state=state,
        space=search.parameters,
        labels=labels,
        answer=_answer(seen, state, search, best, confirmed),
        best=None if best is None else best.number,
        confirmed=confirmed,
        intervals=intervals,
        warnings=tuple(_warnings(state, missing)),
        confirmation=_confirmation_table(confirmed, labels),
        importances=_importance_table(state, labels),
        trials=_trials_table(state, search.parameters, labels, intervals),
        failures=_failures_table(state),
    )


def search_answer(plan: Plan, seen: Overview, state: SearchState) -> tuple[str, ...]:
    """Which setting is best by dev, what it reached on test, and the optimism of the selection: sentences."""
    search = plan.loaded.recipe.search
    assert search is not None
    confirmed = _confirmed(plan, seen, state, search) if state.has_ended(search.trials) else ()
    return _answer(seen, state, search, best_trial(state), confirmed)


def label_of_objective(objective: Objective) -> str:
    """`BoN area on dev problems of arithmetic`."""
    where = "dev code pairs" if objective.task == CODE else f"dev problems of {objective.task}"
    return f"{metric_label(_metric(objective))} on {where}"


def _metric(objective: Objective) -> str:
    return objective.metric or headline(objective.evaluation)


def complete(state: SearchState) -> list[TrialState]:
    """Trials with values, in order of number."""
    return [trial for trial in state.counted if trial.values]


def best_trial(state: SearchState) -> TrialState | None:
    """The best by the first objective; once all have ended the one that the study names first."""
    if state.best:
        return state.trial(state.best[0])
    found: TrialState | None = None
    for trial in complete(state):
        if found is None or state.better(trial.values[0], found.values[0]):
            found = trial
    return found


# ----------------------------------------------------------------------------------------------- intervals


def trial_intervals(
    state: SearchState, objectives: Sequence[Objective], store: Store
) -> tuple[dict[int, tuple[Estimate | None, ...]], str]:
    """Estimates of trials on dev, and why there are none.

    Trials with the same stages have the estimate of the first of them. Problems that not all trials are judged on are
    left out, so that an estimate may differ from the trial's value.
    """
    if not state.analysis:
        return {}, "Trials have intervals once all have ended." if not state.ended else ""
    record = store.record(ANALYSIS.name, state.analysis)
    if record is None or store.damage(record) or not store.has_payload(record):
        return {}, f"Trials have no intervals: the files of {ANALYSIS.name}/{state.analysis} are gone or damaged."
    path = Analysis(store.directory(ANALYSIS.name, state.analysis)).path
    index = AnalysisIndex(json.loads(path.read_text(encoding="utf-8")))
    rows: dict[tuple[tuple[str, ...], ...], str] = {}
    found = {}
    for trial in complete(state):
        row = rows.setdefault(trial.stages, trial.name)
        estimates = [index.estimates((objective.task, SETTING, row)) for objective in objectives]
        found[trial.number] = tuple(
            mine.get(_metric(objective)) for objective, mine in zip(objectives, estimates, strict=True)
        )
    return found, ""


# ----------------------------------------------------------------------------------------------- confirmed


def _confirmed(plan: Plan, seen: Overview, state: SearchState, search: Search) -> tuple[Confirmed, ...]:
    """What the search confirms, the best by dev first and then 1:1."""
    chosen = [setting for setting in plan.settings if setting.setting.chosen]
    trials = _trials_of(chosen, state, search.confirm.best)
    found = []
    for setting in sorted(chosen, key=lambda one: _place(trials.get(one.name), state)):
        trial = trials.get(setting.name)
        for at, objective in enumerate(search.objectives):
            metric = _metric(objective)
            row = next(
                row
                for board in seen.boards
                if board.task == objective.task
                for row in board.settings
                if row.name == setting.name
            )
            compared = metric == headline(objective.evaluation)
            found.append(
                Confirmed(
                    name=setting.name,
                    trial=None if trial is None else trial.number,
                    objective=at,
                    selected=trial.values[at] if trial is not None and trial.values else None,
                    fresh=_fresh(setting, objective, seen.statuses),
                    test=row.estimates.get(metric),
                    difference=row.differences.get(objective.evaluation) if compared else None,
                    baseline=setting.name == baseline_of(plan),
                    doubt=row.doubt(metric),
                )
            )
    return tuple(found)


def _trials_of(chosen: Sequence[PlannedSetting], state: SearchState, most: int) -> dict[str, TrialState]:
    """Which trial each chosen setting was; the first, 1:1, also stands for a trial that is the same setting."""
    rows = {name: setting.name for setting in chosen for name in setting.names}
    named = {name_of(trial): trial for trial in complete(state)}
    found = {rows[name]: trial for name, trial in named.items() if name in rows}
    first = chosen[0].name
    arm = [trial for trial in complete(state) if trial.arm == "one_to_one" and ARM_NAMES["one_to_one"] in rows]
    without_row = [state.trial(number) for number in state.best[:most] if name_of(state.trial(number)) not in rows]
    for trial in (*arm, *without_row):
        found.setdefault(first, trial)
    return found


def _place(trial: TrialState | None, state: SearchState) -> int:
    return state.best.index(trial.number) if trial is not None and trial.number in state.best else len(state.best)


def _fresh(setting: PlannedSetting, objective: Objective, statuses: Statuses) -> float | None:
    """The mean over fresh seeds of the objective on dev; None until all are done."""
    stages = {
        outcome.stage.fingerprint
        for variant in setting.variants
        for outcome in variant.dev
        if (outcome.task, outcome.metric) == (objective.task, objective.evaluation)
    }
    records = [statuses[key].record for key in stages]
    values = [float(one.result["means"][_metric(objective)]) for one in records if one is not None]
    return sum(values) / len(values) if values and len(values) == len(stages) else None


# -------------------------------------------------------------------------------------------------- words


def _answer(
    seen: Overview, state: SearchState, search: Search, best: TrialState | None, confirmed: Sequence[Confirmed]
) -> tuple[str, ...]:
    first = search.objectives[0]
    board = next(board for board in seen.boards if board.task == first.task)
    return paragraphs(
        "search.txt",
        state=state,
        asked=search.trials,
        ended=state.has_ended(search.trials),
        finished=sum(bool(trial.finished) for trial in state.counted),
        complete=len(complete(state)),
        label=label_of_objective(first),
        best=best,
        name="" if best is None else name_of(best),
        confirmed=next((one for one in confirmed if best is not None and one.trial == best.number), None),
        split="held-out code pairs" if board.task == CODE else f"{board.split} problems of {board.task}",
    )


def _warnings(state: SearchState, missing: str) -> list[str]:
    left_out = [f"{arm} is not tried: {why}." for arm, why in state.left_out.items()]
    again = sum(not trial.counted and trial.state != "waiting" for trial in state.trials)
    if again:
        left_out.append(f"{again:,} interrupted attempts do not count; their parameters were tried again.")
    return [*left_out, *([missing] if missing else [])]


def few_trials(state: SearchState) -> str:
    """The warning beside importances, "" where there are trials enough."""
    done = len(complete(state))
    if done >= FEWEST_TRIALS:
        return ""
    return f"Only {done} complete trials: with fewer than {FEWEST_TRIALS}, importances are mostly noise."


# -------------------------------------------------------------------------------------------------- tables


def _confirmation_table(confirmed: Sequence[Confirmed], labels: Sequence[str]) -> Facts:
    several = len(labels) > 1
    against = listing(list(dict.fromkeys(one.difference.against for one in confirmed if one.difference)))
    lacking = listing(sorted({one.difference.lacking for one in confirmed if one.difference} - {""}))
    rows = []
    for one in confirmed:
        test = "" if one.test is None else f"{score(one.test.estimate)} {interval(one.test.low, one.test.high)}"
        gap = one.difference
        told = "" if gap is None else f"{signed(gap.estimate)} {signed_interval(gap.low, gap.high)}"
        numbers = [
            "" if one.selected is None else score(one.selected),
            "" if one.fresh is None else score(one.fresh),
            "" if one.optimism is None else signed(one.optimism),
            f"{test} ({RETRACTED})" if one.doubt else test,
            told,
        ]
        rows.append((one.name, *([labels[one.objective]] if several else []), *numbers))
    return Facts(
        title="Confirmed settings",
        columns=(
            *("setting", *(["objective"] if several else [])),
            *("dev when selected", "dev, fresh seeds", "optimism", "test, fresh seeds"),
            f"difference from {against}" if against else "difference",
        ),
        rows=tuple(rows),
        words=(0, 1) if several else (0,),
        note=f"With {lacking} the differences claim nothing about other runs." if lacking else "",
    )


def _importance_table(state: SearchState, labels: Sequence[str]) -> Facts:
    paths = sorted(
        {path for shares in state.importances for path in shares},
        key=lambda path: -sum(shares.get(path, 0.0) for shares in state.importances),
    )
    return Facts(
        title="Importances of parameters",
        columns=("parameter", *labels),
        rows=tuple(
            (path, *(share(one[path], 1) if path in one else "" for one in state.importances)) for path in paths
        ),
        note=few_trials(state),
    )


def _trials_table(
    state: SearchState,
    space: Mapping[str, Parameter],
    labels: Sequence[str],
    intervals: Mapping[int, tuple[Estimate | None, ...]],
) -> Facts:
    sign = -1.0 if state.directions[0] == "maximize" else 1.0
    order = sorted(
        state.counted, key=lambda one: (not one.values, sign * one.values[0] if one.values else 0, one.number)
    )
    rows = []
    for trial in order[:MOST_ROWS]:
        estimates = intervals.get(trial.number, (None,) * len(labels))
        cells = [
            score(value) + (f" {interval(one.low, one.high)}" if one is not None else "")
            for value, one in zip(trial.values, estimates, strict=False)
        ] or [""] * len(labels)
        kind = f"{trial.number} ({ARM_NAMES[trial.arm]})" if trial.arm else str(trial.number)
        point = [value_text(trial.parameters[path]) if path in trial.parameters else "" for path in space]
        rows.append((kind, trial.state, *cells, *point))
    more = f"{len(order) - MOST_ROWS:,} further trials are in search.json. " if len(order) > MOST_ROWS else ""
    known = [one for many in intervals.values() for one in many if one is not None]
    note = f"Intervals are over {covers(known)}; they do not cover the choice of the best among many." if known else ""
    return Facts(
        title="Trials, the best by dev first",
        columns=("trial", "state", *labels, *space),
        rows=tuple(rows),
        words=(0, 1),
        note=f"{more}{note}".strip(),
    )


def _failures_table(state: SearchState) -> Facts:
    failed = [trial for trial in state.counted if trial.state == "failed"]
    more = f"{len(failed) - MOST_ROWS:,} further ones are in search.json." if len(failed) > MOST_ROWS else ""
    return Facts(
        title="Failed trials",
        columns=("trial", "reason", "parameters"),
        rows=tuple(
            (str(trial.number), trial.reason, name_of(trial).rpartition(" (trial")[0]) for trial in failed[:MOST_ROWS]
        ),
        words=range(3),
        note=more,
    )

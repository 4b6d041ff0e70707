"""What a search shows in the report: its numbers are those of its state, of records and of the board."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml
from markupsafe import escape

from harness.cli.computed import compute
from harness.execution.runner import make_task
from harness.execution.worker import run_task
from harness.pipeline.evaluations import headline
from harness.pipeline.graph import Stage
from harness.plan.effects import effects_stage
from harness.plan.plan import Plan, make_plan
from harness.plan.trials import ARM_NAMES, TrialPlanner
from harness.recipe.load import load_recipe
from harness.recipe.search import Arm, arm_overrides, overrides_of
from harness.report.collect import collect
from harness.report.comparison import Difference
from harness.report.joint import Joint, Part
from harness.report.joint_data import joint_overview
from harness.report.overview import overview
from harness.report.render import paragraphs
from harness.report.search import Confirmed, SearchReport
from harness.report.search_figures import search_figures
from harness.report.write import ReportFiles, write_joint_report, write_report
from harness.search.confirm import comparison_of, with_chosen
from harness.search.state import SearchState, State, TrialState, read_state
from harness.store.artifacts import Analysis
from harness.store.store import Store
from tests.report_store import HOSTILE, SMALL, analyse, fill

BALANCE, RATE = "pretrain.loss.balance", "pretrain.learning_rate"
SEARCH: dict[str, Any] = {
    "parameters": {BALANCE: {"log_ratio": [-4, 4]}, RATE: {"low": 1.0e-4, "high": 1.0e-2, "log": True}},
    "objectives": [{"task": "logic", "evaluation": "best_of_n"}, {"task": "arithmetic", "evaluation": "pair_accuracy"}],
    "trials": 7,
    "confirm": {"best": 2, "seeds": {"pretrain": 3, "finetune": 1}},
}
POINTS: list[tuple[Arm | None, State, dict[str, float]]] = [
    ("one_to_one", "complete", {BALANCE: 0.0, RATE: 2.0e-3}),
    ("rm_only", "complete", {RATE: 2.0e-3}),
    ("lm_only", "complete", {RATE: 2.0e-3}),
    ("no_pmp", "complete", {}),
    (None, "complete", {BALANCE: 1.5, RATE: 1.0e-3}),
    (None, "failed", {BALANCE: -1.5, RATE: 1.0e-3}),
    (None, "pruned", {BALANCE: 3.0, RATE: 1.0e-4}),
]


@dataclass
class Case:
    planner: TrialPlanner
    store: Store
    state: SearchState
    plan: Plan
    analysis: Stage | None
    files: ReportFiles

    @cached_property
    def report(self) -> SearchReport:
        data = collect(self.plan, self.store, overview(self.plan, self.store, self.analysis), self.state)
        assert data.search is not None
        return data.search

    def mean(self, stages: list[Stage], metric: str) -> float:
        records = [self.store.record(stage.kind.name, stage.fingerprint) for stage in stages]
        return sum(float(one.result["means"][metric]) for one in records if one is not None) / len(stages)


def _fill(plan: Plan, store: Store) -> None:
    fill(plan, store, wanted=lambda stage: store.record(stage.kind.name, stage.fingerprint) is None)


def _trial(planner: TrialPlanner, store: Store, number: int) -> TrialState:
    arm, status, point = POINTS[number]
    overrides: dict[str, Any] = {} if arm is None else arm_overrides(arm)
    for path, value in point.items():
        overrides |= overrides_of(path, planner.search.parameters[path], value) if arm is None else {}
    name = f"trial {number}" + (f" ({ARM_NAMES[arm]})" if arm else "")
    trial = planner.plan(planner.setting(name, overrides, {}))
    values: tuple[float, ...] = ()
    if status == "complete":
        _fill(trial.plan, store)
        records = [[store.record(one.kind.name, one.fingerprint) for one in stages] for stages in trial.values]
        metrics = [headline(objective.evaluation) for objective in planner.search.objectives]
        values = tuple(
            sum(one.result["means"][metric] for one in found if one) / len(found)
            for found, metric in zip(records, metrics, strict=True)
        )
    return TrialState(
        number=number,
        name=name,
        arm=arm or "",
        state=status,
        parameters=point,
        overrides=overrides,
        values=values,
        intermediate=(),
        stages=tuple(tuple(stage.name for stage in stages) for stages in trial.values),
        reason=f"finetune: {HOSTILE}" if status == "failed" else "",
        counted=True,
        started=1.0,
        finished=2.0,
    )


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A search that has ended, with its best confirmed."""
    folder = tmp_path_factory.mktemp("search")
    recipe = folder / "recipe.yaml"
    base = {"extends": str(SMALL), "name": "searched", "ablations": None, "search": SEARCH}
    recipe.write_text(yaml.safe_dump(base), encoding="utf-8")
    loaded, store = load_recipe(recipe), Store(folder / "store")
    planner = TrialPlanner(loaded)
    trials = tuple(_trial(planner, store, number) for number in range(len(POINTS)))
    best = sorted((trial for trial in trials if trial.values), key=lambda one: -one.values[0])
    state = SearchState(
        study="searched-0123456789ab",
        storage="sqlite:///study.db",
        objectives=tuple(one.name for one in planner.search.objectives),
        directions=("maximize", "maximize"),
        asked=len(POINTS),
        trials=trials,
        importances=({BALANCE: 0.75, RATE: 0.25}, {BALANCE: 0.5, RATE: 0.5}),
        best=tuple(one.number for one in best),
        left_out={},
        ended=True,
    )
    compared = comparison_of(planner, state)
    assert compared is not None
    outcome = run_task(make_task(compared, store, {}), device="cpu", threads=1, held={})
    assert outcome.status == "done", outcome.reason
    state = replace(state, analysis=compared.fingerprint)
    plan = make_plan(with_chosen(loaded, planner, state))
    _fill(plan, store)
    analysis = analyse(plan, store)
    files = write_report(plan, store, analysis, folder / "report", search=state)
    return Case(planner=planner, store=store, state=state, plan=plan, analysis=analysis, files=files)


def _analysis(store: Store, fingerprint: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(Analysis(store.directory("analysis", fingerprint)).path.read_text("utf-8"))
    return found


def test_confirmed_numbers_are_those_of_state_records_and_board(case: Case) -> None:
    found = json.loads(case.files.json.read_text("utf-8"))["search"]
    assert case.analysis is not None
    board = _analysis(case.store, case.analysis.fingerprint)
    names = list(dict.fromkeys(one["name"] for one in found["confirmed"]))
    assert set(names) == {setting.name for setting in case.plan.settings}
    assert found["confirmed"][0]["trial"] == case.state.best[0]
    for one in found["confirmed"]:
        objective = case.planner.search.objectives[one["objective"]]
        metric = headline(objective.evaluation)
        setting = next(setting for setting in case.plan.settings if setting.name == one["name"])
        dev = {
            outcome.stage
            for variant in setting.variants
            for outcome in variant.dev
            if (outcome.task, outcome.metric) == (objective.task, objective.evaluation)
        }
        assert len(dev) == (3 if setting.setting.experiment.pretrain else 1)
        assert one["fresh"] == pytest.approx(case.mean(list(dev), metric))
        assert one["selected"] == case.state.trial(one["trial"]).values[one["objective"]]
        (estimate,) = [
            row
            for row in board["estimates"]
            if (row["task"], row["metric"], row["row"]) == (objective.task, metric, one["name"])
        ]
        assert (one["test"]["estimate"], one["test"]["low"]) == (estimate["estimate"], estimate["low"])
        against = [
            row
            for row in board["differences"]
            if (row["task"], row["evaluation"], row["row"]) == (objective.task, objective.evaluation, one["name"])
        ]
        assert [row["against"] for row in against] == ([] if one["name"] == "1:1" else ["1:1"])
        assert bool(one["difference"]) == bool(against)
    optimism = case.report.confirmed[0].optimism
    assert optimism is not None
    answer = " ".join(found["answer"])
    assert f"Optimism of the selection: {optimism:+.3f}".replace("-", "\N{MINUS SIGN}") in answer
    assert case.report.best == case.state.best[0]


def test_trials_have_the_intervals_of_the_stage_that_compared_them(case: Case) -> None:
    rows = {
        (row["row"], row["metric"]): row
        for row in _analysis(case.store, case.state.analysis)["estimates"]
        if row["task"] == "logic"
    }
    intervals = case.report.intervals
    assert set(intervals) == {0, 1, 2, 3, 4}
    for number, estimates in intervals.items():
        first = estimates[0]
        assert first is not None
        row = rows[case.state.trial(number).name, headline("best_of_n")]
        assert (first.low, first.high) == (row["low"], row["high"])
        assert first.estimate == pytest.approx(case.state.trial(number).values[0], abs=1.0e-6)  # as records round


def test_every_file_has_the_search_and_escapes_it(case: Case) -> None:
    assert case.files.search is not None
    assert read_state(case.files.search.parent) == case.state
    page, text = case.files.html.read_text("utf-8"), case.files.markdown.read_text("utf-8")
    assert 'id="search"' in page
    assert HOSTILE not in page
    assert HOSTILE not in text
    for written in (page, text):
        assert "mostly noise" in written  # five complete trials
        assert "search.json" in written
        assert case.report.answer[0][:40] in written
    assert case.files.search in case.files.paths


def test_the_loss_balance_has_the_arms_at_its_ends(case: Case) -> None:
    figures = {figure.title: figure for figure in search_figures(case.report)}
    assert len(figures) == 2 + 1 + 4 + 1  # histories, importances, slices, the front
    balance = next(figure for title, figure in figures.items() if title.startswith("Loss balance"))
    sampled, arms, ends = balance.plot["data"]
    assert sampled["x"] == [1.5]
    assert arms["x"] == [0.0]
    assert ends["x"][0] < -4 < 4 < ends["x"][1]
    assert ends["y"] == [case.state.trial(1).values[0], case.state.trial(2).values[0]]
    assert balance.plot["layout"]["shapes"][0]["y0"] == case.state.trial(3).values[0]
    without = replace(case.report, state=replace(case.state, trials=case.state.trials[:2], left_out={"LM only": "why"}))
    captions = [figure.caption for figure in search_figures(without) if figure.title.startswith("Loss balance")]
    assert "LM only is not drawn: why." in captions[0]


def test_a_search_that_goes_on_is_shown_and_shown_again_when_it_changes(case: Case, tmp_path: Path) -> None:
    def shown(count: int) -> tuple[ReportFiles, str]:
        trials = case.state.trials[:count]
        state = replace(case.state, trials=trials, ended=False, best=(), analysis="", importances=())
        files = write_report(plan, store, None, tmp_path / "report", search=state)
        return files, files.markdown.read_text("utf-8")

    loaded = case.planner.loaded
    plan, store = make_plan(with_chosen(loaded, case.planner, None)), Store(tmp_path / "store")
    store.create()
    assert [setting.name for setting in plan.settings] == ["1:1"]
    files, text = shown(2)
    assert files.rendered
    assert "The search goes on: 2 of 7 trials have ended." in text
    assert "### Confirmed" not in text
    assert not shown(2)[0].rendered
    files, text = shown(5)
    assert files.rendered
    assert "5 of 7" in text
    assert "none is complete" in shown(0)[1]


def test_a_search_that_is_asked_for_more_trials_confirms_nothing_yet(case: Case) -> None:
    more = case.planner.loaded.recipe.model_copy(
        update={"search": case.planner.search.model_copy(update={"trials": 20})}
    )
    plan = replace(case.plan, loaded=replace(case.plan.loaded, recipe=more))
    found = replace(case, plan=plan).report
    assert found.confirmed == ()
    assert "7 of 20" in found.answer[0]


@pytest.mark.parametrize(
    ("low", "lacking", "told"),
    [
        (0.01, "", "excludes 0"),
        (-0.01, "", "does not exclude 0"),
        (0.01, "1 PMP seed", "with 1 PMP seed this claims nothing"),
    ],
)
def test_the_answer_claims_no_more_than_its_interval(case: Case, low: float, lacking: str, told: str) -> None:
    gap = Difference(against="1:1", estimate=0.05, low=low, high=0.1, covers="problems", lacking=lacking)
    one: Confirmed = replace(case.report.confirmed[0], difference=gap)
    context: dict[str, Any] = {
        "state": case.state,
        "asked": 7,
        "ended": True,
        "finished": 7,
        "complete": 5,
        "label": "BoN area",
        "best": case.state.trial(4),
        "name": "balance=1.5",
        "confirmed": one,
        "split": "test problems of logic",
    }
    (first, _) = paragraphs("search.txt", **context)
    assert told in first
    assert ("excludes 0" in first) == (told == "excludes 0")


def test_a_joint_report_shows_searches_and_figures_along_axes_under_their_recipes(case: Case, tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    axes = {"loss": None, "finetune.samples": [16, 32, 64]}
    grid.write_text(yaml.safe_dump({"extends": str(SMALL), "name": "grid", "ablations": {"axes": axes}}))
    plan = make_plan(load_recipe(grid))
    _fill(plan, case.store)
    analysis = analyse(plan, case.store)
    effects = None if analysis is None else effects_stage(plan, analysis)
    assert effects is not None
    compute(case.store, effects)
    parts = [
        Part(name="grid", plan=plan, store=case.store, seen=overview(plan, case.store, analysis)),
        Part(
            name="searched",
            plan=case.plan,
            store=case.store,
            seen=overview(case.plan, case.store, case.analysis),
            search=case.state,
        ),
    ]
    alone = write_report(plan, case.store, analysis, tmp_path / "alone")
    files = write_joint_report(Joint(parts), joint_overview(Joint(parts), {}), "both", tmp_path / "both")
    page, text = files.html.read_text(), files.markdown.read_text()
    along = re.findall("<h3>([^<]* against samples)</h3>", alone.html.read_text())
    assert along
    for title in along:
        assert f"<h3>grid: {title}</h3>" in page
    (label, *_) = case.report.labels
    assert f"<h3>searched: Search history: {label}</h3>" in page
    assert "## Search of searched" in text
    for sentence in case.report.answer:
        assert escape(sentence) in page
    assert json.loads(files.json.read_text())["search"]["searched"]["answer"] == list(case.report.answer)
    assert not write_joint_report(Joint(parts), joint_overview(Joint(parts), {}), "both", tmp_path / "both").rendered
    later = [parts[0], replace(parts[1], search=replace(case.state, study="another"))]
    assert write_joint_report(Joint(later), joint_overview(Joint(later), {}), "both", tmp_path / "both").rendered

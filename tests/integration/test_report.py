"""Whole reports over stores in every state: what is in the files, what may never be, and when they are made again."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.cli.report import Report, print_report, report_on
from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace
from harness.events import Metrics, read_events
from harness.pipeline.comparing import ANALYSIS, AnalysisSpec
from harness.pipeline.graph import Stage
from harness.plan.plan import Plan
from harness.report.collect import collect
from harness.report.curves import MOST_POINTS
from harness.report.figures import best_of_n_figure
from harness.report.overview import overview
from harness.report.words import FEW_SEEDS
from harness.report.write import ReportFiles, write_report
from harness.store.artifacts import Analysis, PairQuality, ProblemValues
from harness.store.record import EVENTS
from harness.store.store import Store
from tests import report_store
from tests.report_store import HOSTILE, SMALL, analyse, fail, fill, first, publish, small, with_axes
from tests.toys.mlflow_servers import put_database

FORBIDDEN = ("torch", "transformers", "scipy", "sklearn", "tokenizers", "reasoning_gym")


@dataclass
class Case:
    """A plan, its store and the report of it."""

    plan: Plan
    store: Store
    analysis: Stage | None
    files: ReportFiles

    @property
    def page(self) -> Page:
        page = Page()
        page.feed(self.html)
        return page

    @property
    def html(self) -> str:
        return self.files.html.read_text(encoding="utf-8")

    @property
    def json(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.files.json.read_text(encoding="utf-8"))
        return data

    @property
    def lines(self) -> list[dict[str, str]]:
        with self.files.csv.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


@dataclass
class Page(HTMLParser):
    """What a browser would see of a page: elements, ids, links, scripts, text."""

    tags: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    policy: str = ""
    library: str = ""
    _inside: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags[tag] += 1
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "srcset", "data")]
        assert not any(name.startswith("on") for name in found), found
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""
        if tag in ("script", "style"):
            self._inside = {"application/json": "data", "application/gzip": "library"}.get(found.get("type") or "", tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "library":
            self.library += data
        else:
            {"script": self.scripts, "data": self.data, "style": []}.get(self._inside, self.text).append(data)


def _case(folder: Path, plan: Plan, store: Store, analysis: Stage | None) -> Case:
    files = write_report(plan, store, analysis, folder / "report")
    return Case(plan=plan, store=store, analysis=analysis, files=files)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("full")
    plan, store = small(), Store(folder / "store")
    fill(plan, store)
    return _case(folder, plan, store, analyse(plan, store))


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One fine-tuning seed of `rm` failed, `lm` was never begun."""
    folder = tmp_path_factory.mktemp("half")
    plan, store = small("seeds.pretrain=3", "seeds.finetune=3"), Store(folder / "store")
    failed = first(plan, "finetune", "rm pretrain 0 seed 1")
    fill(plan, store, wanted=lambda stage: stage is not failed and " lm " not in stage.label)
    fail(store, failed, "TrainingDiverged: loss ran away at step 40")
    return _case(folder, plan, store, analyse(plan, store))


# ------------------------------------------------------------------------------------------------ the numbers


def test_every_estimate_of_the_analysis_is_in_csv_and_json_unchanged(full: Case) -> None:
    assert full.analysis is not None
    path = Analysis(full.store.directory("analysis", full.analysis.fingerprint)).path
    analysis = json.loads(path.read_text(encoding="utf-8"))
    wanted = {
        (one["task"], one["kind"], one["row"], one["metric"]): (one["estimate"], one["low"], one["high"])
        for one in analysis["estimates"]
    }
    assert len(wanted) > 100
    from_csv = {
        (line["task"], line["kind"], line["row"], line["metric"]): tuple(
            float(line[name]) for name in ("estimate", "low", "high")
        )
        for line in full.lines
        if line["state"] == "done"
    }
    from_json = {
        (board["task"], row["kind"], row["row"], metric): (one["estimate"], one["low"], one["high"])
        for board in full.json["boards"]
        for row in board["rows"]
        for metric, one in row["estimates"].items()
    }
    assert from_csv == wanted
    assert from_json == wanted


def test_the_page_shows_the_numbers_of_the_leaderboard(full: Case) -> None:
    text = "".join(full.page.text)
    for line in full.lines:
        if line["metric"] in ("area", "bon@16", "pair_accuracy") and line["state"] == "done":
            assert f"{float(line['estimate']):.3f}[{float(line['low']):.3f}, {float(line['high']):.3f}]" in text


def test_every_number_names_records_that_are_in_the_store(full: Case) -> None:
    for line in full.lines:
        names = line["records"].split()
        assert names or line["state"].startswith("not asked")
        for name in names:
            assert full.store.find(name).kind == name.split("/")[0]
    chains = [chain for origin in full.json["origins"] for chain in origin["chains"]]
    kinds = {tuple(link["name"].split("/")[0] for link in chain) for chain in chains}
    assert ("best_of_n", "score", "finetune", "pretrain", "trunk_state", "base") in kinds
    assert ("best_of_n", "score", "finetune", "base") in kinds  # the arm without PMP


def test_settings_come_before_references_and_nobody_is_averaged_over_tasks(full: Case) -> None:
    for board in full.json["boards"]:
        kinds = [row["kind"] for row in board["rows"]]
        assert kinds == sorted(kinds, key=lambda kind: kind != "setting")
    assert {line["task"] for line in full.lines} == {"arithmetic", "logic", "code"}


def test_points_beyond_a_quarter_of_the_pool_are_marked(tmp_path: Path) -> None:
    plan, store = small("evaluate.best_of_n.n=[1, 4, 16, 64]"), Store(tmp_path / "store")
    fill(plan, store)
    case = _case(tmp_path, plan, store, analyse(plan, store))
    flags = {line["metric"]: line["beyond_quarter_of_pool"] for line in case.lines if line["metric"].startswith("bon@")}
    assert flags == {"bon@1": "False", "bon@4": "False", "bon@16": "False", "bon@64": "True"}
    assert "64†" in case.html
    assert "16†" not in case.html


def test_figures_draw_the_analysis_and_say_where_their_axis_begins(full: Case) -> None:
    seen = overview(full.plan, full.store, full.analysis)
    for board in seen.boards[:2]:
        figure = best_of_n_figure(board)
        assert figure is not None
        lines = [trace for trace in figure.plot["data"] if trace.get("name")]
        assert [trace["name"] for trace in lines[-4:]] == [row.label for row in board.settings]
        for trace, row in zip(lines[-4:], board.settings, strict=True):
            assert trace["y"] == [row.estimates[f"bon@{size}"].estimate for size in trace["x"]]
        low, high = figure.plot["layout"]["yaxis"]["range"]
        drawn = [value for trace in figure.plot["data"] for value in trace["y"]]
        assert low <= min(drawn) <= max(drawn) <= high
        assert (f"begins at {low:.1f}, not at 0" in figure.caption) == (low > 0)


def test_a_pmp_curve_runs_through_its_trunk_into_its_branch(full: Case) -> None:
    data = collect(full.plan, full.store, overview(full.plan, full.store, full.analysis))
    curve = next(one for one in data.curves if one.phase == "pmp" and one.setting == "rm" and one.metric == "loss_rm")
    branch = first(full.plan, "pretrain", "rm=1 lm=0")
    trunk = branch.inputs["trunk"].stage
    events = [
        event
        for stage in (trunk, branch)
        for event in read_events(full.store.directory(stage.kind.name, stage.fingerprint) / EVENTS)
        if isinstance(event, Metrics)
    ]
    assert list(curve.steps) == [event.step for event in events]
    assert list(curve.values) == [event.values["loss_rm"] for event in events]
    assert max(len(one.steps) for one in data.curves) <= MOST_POINTS
    assert not any(one.metric == "loss_rm" and one.setting == "lm" and one.phase == "pmp" for one in data.curves)


# --------------------------------------------------------------------------------------------------- caution


def test_few_seeds_put_nothing_in_order_anywhere_and_enough_are_not_warned_of(full: Case, tmp_path: Path) -> None:
    markdown = full.files.markdown.read_text(encoding="utf-8")
    assert FEW_SEEDS in full.html
    assert FEW_SEEDS in markdown
    assert ">Order<" not in full.html
    assert "| order |" not in markdown
    assert not full.json["ranks_something"]
    for row in (row for board in full.json["boards"] for row in board["rows"]):
        assert not row["order"]
        assert not any(one["above"] for one in row["above_chance"].values())
    plan, store = small("seeds.pretrain=3", "seeds.finetune=3"), Store(tmp_path / "store")
    fill(plan, store)
    case = _case(tmp_path, plan, store, analyse(plan, store))
    assert FEW_SEEDS not in case.html
    assert case.json["ranks_something"]
    assert ">Order<" in case.html
    assert "| order |" in case.files.markdown.read_text(encoding="utf-8")
    assert "3 × 3" in case.html


def test_the_answer_comes_first_and_is_the_same_everywhere(full: Case, half: Case) -> None:
    for case in (full, half):
        page, markdown = case.html, case.files.markdown.read_text(encoding="utf-8")
        assert page.index('aria-label="Answer"') < page.index('aria-label="Cautions"') < page.index("<nav")
        text = "".join(case.page.text)
        for sentence in case.json["answer"]:
            assert sentence in text
            assert f"- {sentence}" in markdown
    assert [sentence.partition(":")[0] for sentence in full.json["answer"]] == ["No answer yet"]
    first = half.json["answer"][0]
    assert first.startswith("arithmetic, BoN area: ")
    assert first.endswith("No numbers yet for rm and lm."), first


def _headings(case: Case) -> dict[str, list[str]]:
    return {
        "html": re.findall(r"<(?:h[1-4]|caption)[^>]*>(.*?)</", case.html, re.DOTALL),
        "markdown": re.findall(r"^#+ .*$", case.files.markdown.read_text(encoding="utf-8"), re.MULTILINE),
    }


def test_every_section_stands_once(full: Case) -> None:
    for found in _headings(full).values():
        assert len(found) > 10
        assert [heading for heading, times in Counter(found).items() if times > 1] == []


def test_sections_of_several_pair_sets_stand_once(tmp_path: Path) -> None:
    plan = with_axes(
        tmp_path, {"edits": {"one": {"pairs.rejected.edits": [1, 1]}, "two": {"pairs.rejected.edits": [2, 2]}}}
    )
    assert len([stage for stage in plan.stages if stage.kind.name == "pair_quality"]) == 2
    store = Store(tmp_path / "store")
    fill(plan, store)
    for found in _headings(_case(tmp_path, plan, store, None)).values():
        assert sum("Pair quality" in heading for heading in found) == 2
        assert [heading for heading, times in Counter(found).items() if times > 1] == []


@pytest.mark.parametrize(
    "assignment",
    [
        "name=plain",
        "pretrain.average={over: seeds, count: 2}",
        "pretrain.average={over: steps, count: 2, every_pairs: 64}",
        "finetune.select={every_steps: 1}",
    ],
)
def test_every_chain_of_provenance_ends_at_a_base_model(tmp_path: Path, assignment: str) -> None:
    plan, store = small(assignment), Store(tmp_path / "store")
    fill(plan, store)
    origins = _case(tmp_path, plan, store, analyse(plan, store)).json["origins"]
    trained = [origin for origin in origins if len(origin["chains"][0]) > 2]
    assert trained
    for origin in trained:
        for chain in origin["chains"]:
            assert chain[-1]["label"].startswith("base"), [link["label"] for link in chain]
            assert len({link["name"] for link in chain}) == len(chain)


def test_stale_code_and_warnings_are_said(tmp_path: Path) -> None:
    plan, store = small(), Store(tmp_path / "store")
    corpus = first(plan, "corpus")
    store.create()
    publish(store, corpus, text="the corpus is small", stale=True)
    case = _case(tmp_path, plan, store, None)
    titles = [caution["title"] for caution in case.json["cautions"]]
    assert "1 stage made by other code" in titles
    assert "1 warning" in titles
    assert "corpus: the corpus is small" in "".join(case.page.text)


def test_what_does_not_fit_is_said_in_every_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, store = small(), Store(tmp_path / "store")
    store.create()
    encodes = [stage for stage in plan.stages if stage.kind.name == "encode"]
    for stage in encodes:
        publish(store, stage, text="cut")
    case = _case(tmp_path, plan, store, None)
    print_report(Report(files=case.files, overview=overview(plan, store, None)))
    outputs = {
        "page": "".join(case.page.text),
        "markdown": case.files.markdown.read_text(encoding="utf-8").replace("\\_", "_"),
        "json": case.files.json.read_text(encoding="utf-8"),
        "terminal": capsys.readouterr().out,
    }
    said = (
        "candidates logic: 11 of 1,000 candidates (1.1 %) were cut (4 lost the beginning of their prompt, 11 their "
        "own end) at 512 tokens; max_tokens: 900 would fit all"
    )
    for name, text in outputs.items():
        assert said in text, name
        assert "preferences logic finetune: 11 of 21 pairs (52.4 %) were left out" in text, name
    (caution,) = [one for one in case.json["cautions"] if "fit max_tokens" in one["title"]]
    replaced = [
        stage
        for stage in encodes
        if stage.identity["spec"]["limit"] is not None or stage.identity["spec"]["content"] == "texts"
    ]
    assert replaced
    assert len(caution["items"]) == len(encodes) - len(replaced)


def test_what_fits_is_not_warned_of(full: Case) -> None:
    assert not [one for one in full.json["cautions"] if "fit max_tokens" in one["title"]]
    assert "Tokens, and what did not fit" in full.html


def test_failed_and_unfinished_settings_stay_in_every_output(half: Case, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(Report(files=half.files, overview=overview(half.plan, half.store, half.analysis)))
    outputs = {
        "page": "".join(half.page.text),
        "markdown": half.files.markdown.read_text(encoding="utf-8").replace("\\_", "_"),
        "csv": half.files.csv.read_text(encoding="utf-8"),
        "json": half.files.json.read_text(encoding="utf-8"),
        "terminal": capsys.readouterr().out,
    }
    for name, text in outputs.items():
        assert "TrainingDiverged: loss ran away at step 40" in text, name
        assert "not done" in text, name
    lines = {(line["task"], line["row"], line["metric"]): line for line in half.lines}
    assert lines[("logic", "rm", "area")]["estimate"] == ""
    assert lines[("logic", "rm", "area")]["state"].startswith("8 of 9 evaluations done; waits for finetune rm")
    assert lines[("logic", "lm", "area")]["state"] == "not done"
    assert lines[("logic", "rm+lm", "area")]["state"] == "done"
    assert {line["row"] for line in half.lines if line["kind"] == "setting"} == {"rm+lm", "rm", "lm", "no-pmp"}


def test_an_unfinished_setting_is_not_ranked_among_the_finished(half: Case) -> None:
    logic = next(board for board in half.json["boards"] if board["task"] == "logic")
    places = {row["row"]: row["order"] for row in logic["rows"] if row["kind"] == "setting"}
    assert places["rm"] == {}
    assert places["lm"] == {}
    assert places["rm+lm"]["best_of_n"]["of"] == 2


def test_nothing_done_still_reports(tmp_path: Path) -> None:
    plan, store = small(), Store(tmp_path / "store")
    case = _case(tmp_path, plan, store, analyse(plan, store))
    assert case.analysis is None
    assert {line["state"] for line in case.lines} <= {"not done", "not asked: no reward head before fine-tuning"}
    assert case.files.html.stat().st_size < 500_000  # no figure, so no plotly
    assert len(case.json["unfinished"]["rows"]) == len(plan.stages)


def test_a_failed_comparison_is_said_and_breaks_nothing(tmp_path: Path) -> None:
    plan, store = small(), Store(tmp_path / "store")
    fill(plan, store)
    stage = plan.graph.stage(ANALYSIS, AnalysisSpec(rows=(), baseline="", seed=0), {}, label="analysis")
    fail(store, stage, "an interval needs at least two clusters")
    case = _case(tmp_path, plan, store, stage)
    text = "".join(case.page.text)
    assert "an interval needs at least two clusters" in text
    assert {line["state"] for line in case.lines if line["kind"] == "setting"} >= {"done, not yet compared"}


def test_settings_that_coincide_are_one_row_with_all_names(tmp_path: Path) -> None:
    axes = {"loss": {"both": {}, "same": {"pretrain.loss.rm": 1.0}, "rm": {"pretrain.loss": {"rm": 1.0, "lm": 0.0}}}}
    plan, store = with_axes(tmp_path, axes), Store(tmp_path / "store")
    fill(plan, store)
    case = _case(tmp_path, plan, store, analyse(plan, store))
    names = [row["row"] for row in case.json["boards"][0]["rows"] if row["kind"] == "setting"]
    assert names == ["both = same", "rm"]
    assert any("both and same come to the same stages" in sentence for sentence in case.json["shared"])


# -------------------------------------------------------------------------------------------------- the page


def test_the_page_needs_nothing_else_and_runs_only_its_own_scripts(full: Case) -> None:
    page = full.page
    assert all(link.startswith("#") or "/" not in link for link in page.links), page.links
    assert page.tags["link"] == page.tags["img"] == page.tags["iframe"] == 0
    (script,) = page.scripts
    library = gzip.decompress(base64.b64decode(page.library)).decode()
    assert "plotly.js v" in library
    for allowed in (script, library):
        digest = base64.b64encode(hashlib.sha256(allowed.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page.policy
    assert "default-src 'none'" in page.policy
    assert "'unsafe-inline'" not in page.policy.split("script-src")[1].split(";")[0]


def test_links_inside_the_page_lead_somewhere(full: Case) -> None:
    page = full.page
    assert len(page.ids) == len(set(page.ids))
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= set(page.ids)
    assert len([name for name in anchors if name.startswith("origin-")]) > 20
    for link in page.links:
        assert link.startswith("#") or (full.files.html.parent / link).is_file()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("hostile")
    plan = small(f"notes={json.dumps(HOSTILE)}", f"tags={json.dumps({'a': HOSTILE})}")
    store = Store(folder / "store")
    failed = first(plan, "finetune", "rm pretrain 0 seed 1")
    fill(plan, store, wanted=lambda stage: stage is not failed, text=HOSTILE)
    fail(store, failed, HOSTILE)
    return _case(folder, plan, store, analyse(plan, store))


def test_texts_from_outside_are_shown_and_never_run(hostile: Case, full: Case) -> None:
    page = hostile.page
    assert len(page.scripts) == len(full.page.scripts)  # not one more than the page's own
    assert len(page.data) == len(full.page.data)
    for data in page.data:
        json.loads(data)
    shown = "".join(page.text)
    assert shown.count(HOSTILE) > 25  # notes, tags, pairs, their quality, candidates, warning, failure
    assert f"degenerate pairs: {HOSTILE}" in shown
    assert f"language: {HOSTILE}" in shown
    assert f"preferred, wrong: reward \N{MINUS SIGN}1.5, answer 1{HOSTILE}" in shown
    assert "the static judge prefers the rejected side" in shown
    assert "<script>alert" not in hostile.html
    assert "<script>alert" not in hostile.files.markdown.read_text(encoding="utf-8")


def test_the_quality_of_pairs_is_told_with_examples(full: Case) -> None:
    [table] = [one for one in full.json["data"] if one["title"] == "Pair quality"]
    cells = {row[0]: row[1:] for row in table["rows"]}
    assert cells["verdict"][0] == "passes at 0.7"
    assert cells["static judge: agreement where it has a preference"] == ["0.750", "[0.720, 0.780]", "", ""]
    assert cells["static judge: preference for the first place"] == ["+0.125", "[+0.100, +0.150]", "", ""]
    assert cells["area by unigrams, within pairs"] == ["0.750", "[0.720, 0.780]", "", ""]
    assert cells["area by n-grams of 1 to 3"] == ["too few pairs", "", "", ""]
    assert cells["cut off by a limit"] == ["", "", "unknown", "unknown"]
    assert cells["near-identical sides"][0] == "60.0 %"
    shown = "".join(full.page.text)
    assert "PMP pairs worth a look" in shown
    assert "the static judge prefers the rejected side" in shown
    assert "static judge: agreement" in full.files.markdown.read_text(encoding="utf-8")


def test_where_models_fail_is_told_by_task_and_signatures_at_the_top(full: Case) -> None:
    shown = "".join(full.page.text)
    markdown = full.files.markdown.read_text(encoding="utf-8")
    assert shown.index("2 failure signatures") < shown.index("Fewer than 3 seeds")
    assert "rm+lm on arithmetic: BoN@16 lies 0.125 [0.062, 0.250] below the curve's peak" in shown
    assert "no-pmp on arithmetic: BoN" not in shown  # p = .03, one of eight looks
    assert markdown.index("2 failure signatures") < markdown.index("Settings: 4")
    for text in (shown, markdown):
        assert "logic: errors by difficulty" in text
        assert "no temperature is fitted" in text
    assert "rm+lm: the worst problems (1)" in shown
    [table] = [one for one in full.json["failures"]["logic"] if one["title"] == "logic: margins of right over wrong"]
    assert table["rows"][0] == ["rm+lm", "0.250 [0.125, 0.375]", "+0.750"]


def test_training_behind_a_closed_gate_says_what_it_waits_for(tmp_path: Path) -> None:
    plan, store = small("pairs.quality.on_fail=stop"), Store(tmp_path / "store")
    gate = first(plan, "pair_gate")
    fill(plan, store, wanted=lambda stage: stage.kind.name not in ("pair_gate", "trunk_state", "pretrain"))
    fail(store, gate, "pairs must be worth training on")
    case = _case(tmp_path, plan, store, analyse(plan, store))
    told = {row[0]: (row[1], row[2]) for row in case.json["unfinished"]["rows"]}
    assert told[gate.label][0] == "failed"
    for stage in plan.stages:
        if stage.kind.name in ("trunk_state", "pretrain"):
            reason = f"waits for {gate.label}: pairs must be worth training on"
            assert told[stage.label] == ("blocked", reason)
    assert {row["row"] for row in case.json["boards"][0]["rows"] if row["estimates"]} >= {"no-pmp"}


# ------------------------------------------------------------------------------------------------ made once


def test_a_report_is_made_again_only_when_something_changed(tmp_path: Path) -> None:
    plan, store = small(), Store(tmp_path / "store")
    parts = [stage for stage in plan.stages if stage.kind.name in ("corpus", "problems")]
    store.create()
    publish(store, parts[0])
    directory = tmp_path / "report"
    assert write_report(plan, store, None, directory).rendered
    assert not write_report(plan, store, None, directory).rendered
    publish(store, parts[1])
    assert write_report(plan, store, None, directory).rendered
    assert not write_report(plan, store, None, directory).rendered
    fail(store, first(plan, "base"), "it failed")
    assert write_report(plan, store, None, directory).rendered
    fail(store, first(plan, "base"), "it failed otherwise")
    assert write_report(plan, store, None, directory).rendered
    assert write_report(small("notes=other"), store, None, directory).rendered
    (directory / "report.md").unlink()
    assert write_report(small("notes=other"), store, None, directory).rendered


def test_a_report_that_stands_is_told_without_plotly_or_anything_heavy(full: Case) -> None:
    """In a fresh process: rendering stays light of models and statistics, showing it again also of what renders."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from harness.cli.report import report_on, print_report\n"
        "from harness.cli.workspace import Workspace\n"
        "from harness.plan.plan import make_plan\n"
        "from harness.recipe.load import load_recipe\n"
        "from harness.store.store import Store\n"
        "plan = make_plan(load_recipe(Path(sys.argv[1])))\n"
        "workspace = Workspace(plan=plan, store=Store(Path(sys.argv[2]) / 'store'), workdir=Path(sys.argv[2]))\n"
        "report = report_on(workspace)\n"
        "print_report(report)\n"
        "print('rendered', report.files.rendered, sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    told = []
    for _ in range(2):
        command = [sys.executable, "-c", program, str(SMALL), str(full.store.root.parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        told.append(done.stdout.splitlines()[-1])
    assert told[0].startswith("rendered True")
    assert told[1].startswith("rendered False")
    for name in FORBIDDEN:
        assert f"'{name}'" not in told[0], name
        assert f"'{name}'" not in told[1], name
    assert "'plotly'" in told[0]
    assert "'plotly'" not in told[1]


def test_the_terminal_leaderboard_fits_80_columns(full: Case, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(Report(files=full.files, overview=overview(full.plan, full.store, full.analysis)))
    told = capsys.readouterr().out
    tables = [line.rstrip() for line in told.splitlines() if "[" in line]
    assert len(tables) > 20
    assert max(map(len, tables)) <= 80
    assert not any("…" in line for line in tables)
    assert FEW_SEEDS in told
    assert str(full.files.html) in told


def test_reporting_compares_with_the_real_executor_and_recomputes_nothing_that_was_dropped(tmp_path: Path) -> None:
    plan, store = small("evaluate.code_pairs=null"), Store(tmp_path / "store")
    fill(plan, store)
    dropped = first(plan, "best_of_n", "rm+lm pretrain 0 finetune 0 on logic")
    record = store.record(dropped.kind.name, dropped.fingerprint)
    assert record is not None
    store.drop_payload(record)
    report = report_on(Workspace(plan=plan, store=store, workdir=tmp_path))
    logic = next(board for board in report.overview.boards if board.task == "logic")
    gaps = {row.name: row.gaps for row in logic.settings}
    assert gaps["rm+lm"] == {"best_of_n": "done, not yet compared"}
    assert gaps["rm"] == {}
    assert not store.has_payload(record)  # still as it was: a report computes no experiment


def test_a_comparison_is_made_again_after_what_it_compares_was(tmp_path: Path) -> None:
    """A stage computed again keeps its fingerprint; a comparison of its old values must not stand."""
    plan, store = small("evaluate.code_pairs=null"), Store(tmp_path / "store")
    fill(plan, store)
    workspace = Workspace(plan=plan, store=store, workdir=tmp_path)
    before = report_on(workspace)
    changed = first(plan, "best_of_n", "no-pmp finetune 0 on logic")
    publish(store, replace(changed, label="best-of-N better on logic"), finished=time.time())
    after = report_on(workspace)

    def area(report: Report) -> float:
        logic = next(board for board in report.overview.boards if board.task == "logic")
        return next(row.estimates["area"].estimate for row in logic.settings if row.name == "no-pmp")

    assert after.files.rendered
    assert area(after) > area(before) + 0.1
    assert not report_on(workspace).files.rendered


# --------------------------------------------------------------------------------------------------- damage


def _changed(text: str) -> str:
    """Another digit in a number, at equal length."""
    return re.sub(r'("estimate": 0\.)(\d)', lambda found: found[1] + str((int(found[2]) + 1) % 10), text)


@pytest.mark.parametrize("damage", [_changed, lambda text: "{" * len(text)], ids=["digit", "no JSON"])
def test_a_damaged_comparison_is_said_and_made_again(
    tmp_path: Path, damage: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    plan, store = small("evaluate.code_pairs=null"), Store(tmp_path / "store")
    fill(plan, store)
    workspace = Workspace(plan=plan, store=store, workdir=tmp_path)
    analysis = report_on(workspace).overview.analysis
    assert analysis is not None
    path = Analysis(store.directory("analysis", analysis.fingerprint)).path
    whole = path.read_text(encoding="utf-8")
    path.write_text(damage(whole), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != whole
    capfd.readouterr()
    report = report_on(workspace)
    assert f"{path} is not as its record has it" in capfd.readouterr().err.replace("\n", "")
    assert path.read_text(encoding="utf-8") == whole
    assert not report.failure


def test_damaged_examples_are_said_and_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, store = small("evaluate.code_pairs=null"), Store(tmp_path / "store")
    fill(plan, store)
    stage = first(plan, "pair_quality")
    path = PairQuality(store.directory(stage.kind.name, stage.fingerprint)).path
    path.write_text("{" * path.stat().st_size, encoding="utf-8")
    case = _case(tmp_path, plan, store, None)
    print_report(Report(files=case.files, overview=overview(plan, store, None)))
    said = f"{path} is not as its record has it; discarded, the next run that needs it computes it again"
    assert said in capsys.readouterr().out
    assert said in "".join(case.page.text)
    assert "PMP pairs worth a look" not in case.html
    record = store.record(stage.kind.name, stage.fingerprint)
    assert record is not None
    assert not store.has_payload(record)  # so that a run makes it again


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow's own use of its libraries
def test_a_failed_comparison_is_the_exit_code_of_report_run_and_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], migrated: Path
) -> None:
    def no_numbers(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
        rows = [{"metric": "pair_accuracy", "problem": name, "cluster": name, "value": float("nan")} for name in "ab"]
        ProblemValues(directory).write(rows)
        return {"pairs": 2, "means": {"pair_accuracy": 0.5}, "margin": 0.4}

    monkeypatch.setattr(report_store, "_MAKERS", {**report_store._MAKERS, "pair_accuracy": no_numbers})
    settings = ["evaluate.code_pairs=null", "runtime.tracking=none", "seeds.finetune=1"]
    fill(small(*settings), Store(tmp_path / "store"))
    put_database(migrated, tmp_path / "mlflow" / "mlflow.db")
    for command in ("report", "run", "sync"):
        arguments = [part for one in settings for part in ("--set", one)]
        assert run_command([command, str(SMALL), *arguments, "--workdir", str(tmp_path)]) == 1, command
        told = "".join(capfd.readouterr()).replace("\n", " ")
        assert "not compared: " in told
        assert "values must be finite numbers" in told
        assert "nothing to compare yet" not in told

"""MLflow as a view of a real workdir: what it shows, that it can be rebuilt, that it harms no run when away."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import signal
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli.report import report_on
from harness.cli.run_command import run_command
from harness.cli.sync import TrackingWorker, finish, sync_order
from harness.cli.tracking_worker import Worker
from harness.cli.workspace import Workspace, open_workspace
from harness.errors import MissingRequirement
from harness.events import EventLog, Metrics, read_events
from harness.pipeline.kinds import KINDS
from harness.plan.plan import make_plan
from harness.recipe.load import load_recipe
from harness.report.curves import MOST_POINTS
from harness.report.status import look
from harness.report.words import REFERENCES
from harness.store.record import EVENTS
from harness.tracking.build import build_view
from harness.tracking.places import place_of
from tests.integration.pipelines import TINY, everything, folder_of, harness, of_kind, only, record_of, run_up_to, tiny
from tests.integration.told import shown_metrics, told_by_the_store
from tests.toys.mlflow_servers import ENOUGH_SECONDS, Server, held, put_database, runs_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow's own use of its libraries

NAME = "tiny"
ASKED: list[bytes] = []  # by whoever asked a server below
Runs = dict[str, dict[str, Any]]
Copy = Callable[..., Workspace]


@pytest.fixture(scope="module")
def compared(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the finished workdir with its report. Read only."""
    workdir = tmp_path_factory.mktemp("compared") / "workdir"
    shutil.copytree(finished.workdir, workdir)
    workspace = tiny(workdir)
    report_on(workspace)
    return workspace


@pytest.fixture
def bare(compared: Workspace, tmp_path: Path) -> Workspace:
    """A copy of that, the test's own."""
    shutil.copytree(compared.workdir, tmp_path / "own")
    return tiny(tmp_path / "own")


@pytest.fixture
def workspace(bare: Workspace, migrated: Path) -> Workspace:
    """The same with an empty database."""
    put_database(migrated, bare.workdir / "mlflow" / "mlflow.db")
    return bare


def database(workspace: Workspace) -> str:
    return place_of(None, workspace.workdir).uri


def recipe_for(uri: str, folder: Path) -> Path:
    """The tiny recipe, tracked elsewhere."""
    path = folder / "elsewhere.yaml"
    runtime = {"tracking": "mlflow", "tracking_uri": uri}
    path.write_text(yaml.safe_dump({"extends": str(TINY), "runtime": runtime}), encoding="utf-8")
    return path


def sync(recipe: Path, workspace: Workspace) -> int:
    return run_command(["sync", str(recipe), "--workdir", str(workspace.workdir)])


@pytest.fixture(scope="module")
def synced(compared: Workspace, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workdir with its database. Read only."""
    workdir = tmp_path_factory.mktemp("synced") / "workdir"
    shutil.copytree(compared.workdir, workdir)
    put_database(migrated, workdir / "mlflow" / "mlflow.db")
    workspace = tiny(workdir)
    assert "runs" in Worker(workspace).answer(sync_order(report_on(workspace)))
    return workspace


@pytest.fixture(scope="module")
def shown(synced: Workspace) -> Runs:
    return held(database(synced), NAME)


def of(shown: Runs, kind: str, name: str = "") -> dict[str, Any]:
    (run,) = [run for key, run in shown.items() if key.startswith(f"{kind} ") and name in run["name"]]
    return run


def last(run: dict[str, Any], metric: str) -> float:
    ((_, value, _),) = run["metrics"][metric]
    return float(value)


# --------------------------------------------------------------------------------------------------- what is shown

REFERENCE_ROWS = {label for (_, name), (label, _) in REFERENCES.items() if name not in ("source_prior", "logprob")}
"""Of the tiny recipe, whose candidates one engine writes, without log-probabilities."""


def test_a_run_a_setting_and_one_below_it_a_variant(shown: Runs) -> None:
    found = Counter(key.partition(" ")[0] for key in shown)
    assert found == {"setting": 2, "variant": 2, "reference": len(REFERENCE_ROWS), "report": 1}
    assert {run["status"] for run in shown.values()} == {"FINISHED"}
    parents = {run["name"]: shown[run["parent"]]["name"] for run in shown.values() if run["parent"]}
    assert parents == {"rm+lm pretrain 0 finetune 0": "rm+lm", "no-pmp finetune 0": "no-pmp"}


def test_a_setting_shows_the_analysis(shown: Runs, synced: Workspace) -> None:
    (path,) = (synced.store.root / "analysis").glob("*/analysis.json")
    estimates = json.loads(path.read_text())["estimates"]
    (area,) = [one for one in estimates if (one["kind"], one["row"], one["metric"]) == ("setting", "rm+lm", "area")]
    setting = of(shown, "setting", "rm+lm")
    assert last(setting, "logic/bon_area") == area["estimate"]
    assert last(setting, "logic/bon_area_low") == area["low"]
    assert last(setting, "logic/bon_area_high") == area["high"]
    assert area["covers"] in setting["tags"]["interval.logic.best_of_n"]
    assert "logic/bon_at_4" in setting["metrics"]
    assert "logic/bon_area_minus_baseline" in setting["metrics"]
    references = {run["name"] for key, run in shown.items() if key.startswith("reference")}
    assert references == {f"reference: {name}" for name in REFERENCE_ROWS}
    for one in estimates:
        assert sum(abs(one["estimate"] - last(run, metric)) == 0.0 for run, metric in _parents(shown, one["metric"]))


def _parents(shown: Runs, metric: str) -> list[tuple[dict[str, Any], str]]:
    name = {"area": "bon_area"}.get(metric, metric.replace("@", "_at_"))
    found = []
    for key, run in shown.items():
        if key.startswith(("setting", "reference")):
            found += [(run, one) for one in run["metrics"] if one.endswith(f"/{name}")]
    return found


def test_parameters_tags_and_files_say_what_was_run(shown: Runs) -> None:
    setting = of(shown, "setting", "rm+lm")
    assert setting["params"] == {"axis.loss": "rm+lm"}  # of the rest nothing differs that both settings have
    assert setting["tags"]["mlflow.note.content"].startswith(
        "Setting `rm+lm` of the recipe `tiny`, compared with `no-pmp`"
    )
    assert re.search(r"\(#/experiments/\d+/runs/\w+/artifacts/report.md\)$", setting["tags"]["mlflow.note.content"])
    assert setting["tags"]["axis.loss"] == "rm+lm"
    assert setting["tags"]["code.finetune"] == str(KINDS["finetune"].code_version)
    assert setting["tags"]["environment.torch"].startswith("2.")
    assert setting["tags"]["harness.compared"] == "yes"
    assert sorted(setting["files"]) == ["recipe.yaml", "report.md", "stages.csv"]
    assert of(shown, "variant", "rm+lm")["params"]["seed.pretrain"] == "0"
    report = of(shown, "report")
    page = ["report.html", "report.json", "report.md", "report.tex"]
    assert sorted(report["files"]) == ["leaderboard.csv", "recipe.yaml", *page]


def test_a_variant_has_its_curves_those_of_shared_stages_too(shown: Runs, synced: Workspace) -> None:
    phases = {"base": "base", "finetune": "finetune rm+lm"}
    variant = of(shown, "variant", "rm+lm")
    for phase, label in phases.items():
        (stage,) = [stage for stage in of_kind(synced, phase) if stage.label.startswith(label)]
        events = [one for one in read_events(folder_of(synced.store, stage) / EVENTS) if isinstance(one, Metrics)]
        want = [(event.step, repr(event.values["loss"]), round(event.time * 1000)) for event in events]
        assert variant["metrics"][f"{phase}/loss"] == want
    steps = [step for step, _, _ in variant["metrics"]["pretrain/loss_rm"]]
    assert steps == list(range(1, 9))  # 64 pairs in batches of 8: trunk and branch are one curve
    assert not [name for name in of(shown, "variant", "no-pmp")["metrics"] if name.startswith("pretrain/")]
    assert last(variant, "logic/pair_accuracy") == pytest.approx(
        last(of(shown, "setting", "rm+lm"), "logic/pair_accuracy")
    )


def test_data_sets_are_inputs_with_the_digests_of_their_records(shown: Runs, synced: Workspace) -> None:
    known = {
        (stage.label, record_of(synced.store, stage).output_digest[:12])
        for kind in ("corpus", "pairs", "preferences", "candidates")
        for stage in of_kind(synced, kind)
    }
    variant = of(shown, "variant", "rm+lm")
    assert {one[:2] for one in variant["datasets"]} == known
    contexts = {one[0]: one[4] for one in variant["datasets"]}
    assert contexts["candidates logic"] == "evaluation"
    assert contexts["preferences logic finetune"] == "training"
    assert len(of(shown, "variant", "no-pmp")["datasets"]) < len(variant["datasets"])


def test_time_and_memory_are_system_metrics(shown: Runs, synced: Workspace) -> None:
    (stage,) = [stage for stage in of_kind(synced, "finetune") if "rm+lm" in stage.label]
    facts = synced.store.run_facts(record_of(synced.store, stage))
    variant = of(shown, "variant", "rm+lm")
    assert last(variant, "system/peak_memory_bytes/all_stages") >= facts["peak_memory_bytes"]
    assert last(variant, "system/seconds/all_stages") > facts["seconds"]
    assert sum(name.startswith("system/") for name in variant["metrics"]) == 2


def test_what_is_the_same_for_all_settings_is_left_out_of_them(shown: Runs) -> None:
    settings = [run for key, run in shown.items() if key.startswith("setting")]
    assert all("logic/bon_at_4" in run["metrics"] for run in settings)
    assert not [name for run in settings for name in run["metrics"] if name.endswith("bon_at_1")]


def test_a_long_curve_is_thinned_and_keeps_its_ends(workspace: Workspace) -> None:
    (stage,) = [stage for stage in of_kind(workspace, "finetune") if "rm+lm" in stage.label]
    log = EventLog(folder_of(workspace.store, stage) / EVENTS)
    for step in range(1_000, 6_000):
        log.emit(Metrics(step=step, values={"loss": float(step)}))
    log.close()
    states = {key: status.state for key, status in look(workspace.plan.stages, workspace.store).items()}
    view = build_view(workspace.plan, workspace.store, states, None)
    (points,) = [run.metrics["finetune/loss"] for run in view.runs if run.kind == "variant" and "rm+lm" in run.name]
    assert MOST_POINTS // 2 <= len(points) <= MOST_POINTS
    assert points[0].step == 1
    assert points[-1].step == 5_999
    assert all(len(points) <= MOST_POINTS for run in view.runs for points in run.metrics.values())


def test_further_seeds_belong_to_the_same_setting(compared: Workspace) -> None:
    """Their runs are added below it; nothing is shown twice."""
    keys = []
    for seeds in (1, 3):
        workspace = tiny(compared.workdir, "name=tiny", f"seeds.finetune={seeds}")
        states = {key: status.state for key, status in look(workspace.plan.stages, workspace.store).items()}
        view = build_view(workspace.plan, workspace.store, states, None)
        keys.append({(run.kind, run.key, run.parent) for run in view.runs})
    assert keys[0] < keys[1]
    assert {kind for kind, _, _ in keys[1] - keys[0]} == {"variant"}


# ------------------------------------------------------------------------------------------------------------- again


def test_syncing_again_changes_nothing(synced: Workspace, shown: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    before = {run.info.run_id for run in runs_of(database(synced), NAME)}
    assert sync(TINY, synced) == 0
    assert re.search(r"runs \d+ unchanged\n", capsys.readouterr().out)
    assert held(database(synced), NAME) == shown
    assert {run.info.run_id for run in runs_of(database(synced), NAME)} == before


# --------------------------------------------------------------------------------------------------------- in a run


def undo(workspace: Workspace, kind: str) -> None:
    for stage in of_kind(workspace, kind):
        workspace.store.discard(record_of(workspace.store, stage))


def test_while_a_run_goes_on_what_is_finished_is_shown_and_in_the_end_everything(
    workspace: Workspace, shown: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    undo(workspace, "pair_accuracy")
    undo(workspace, "best_of_n")
    worker = Worker(workspace)
    worker.follow()
    early = held(database(workspace), NAME)
    assert Counter(key.partition(" ")[0] for key in early) == {"setting": 2, "variant": 2}
    assert {run["status"] for run in early.values()} == {"RUNNING"}
    curve = "finetune/loss"
    assert of(early, "variant", "rm+lm")["metrics"][curve] == of(shown, "variant", "rm+lm")["metrics"][curve]
    assert not of(early, "setting", "rm+lm")["metrics"]
    assert run_command(["run", str(TINY), "--workdir", str(workspace.workdir), "--set", "runtime.tracking=mlflow"]) == 0
    after = held(database(workspace), NAME)
    assert after.keys() == shown.keys()
    assert {run["status"] for run in after.values()} == {"FINISHED"}
    assert {key: run["params"] for key, run in after.items()} == {key: run["params"] for key, run in shown.items()}
    assert f"{len(shown) - len(early)} created, {len(early)} replaced" in capfd.readouterr().err


def test_curves_of_a_running_training_are_shown_and_go_on(workspace: Workspace) -> None:
    """Also where it began again from an earlier step; and when all is done, what the records and events say."""
    stage = only(workspace, "finetune", "rm+lm")
    events = list(read_events(folder_of(workspace.store, stage) / EVENTS))
    logged = [event for event in events if isinstance(event, Metrics)]
    assert len(logged) == 4
    workspace.store.discard(record_of(workspace.store, stage))
    for kind in ("score", "pair_accuracy", "best_of_n"):
        undo(workspace, kind)
    worker = Worker(workspace)

    def look_again() -> tuple[list[int], str]:
        worker.follow()
        variant = of(held(database(workspace), NAME), "variant", "rm+lm")
        assert variant["status"] == "RUNNING"
        runs = {run.info.run_name: run.info.run_id for run in runs_of(database(workspace), NAME)}
        return [step for step, _, _ in variant["metrics"].get("finetune/loss", [])], runs[variant["name"]]

    with workspace.store.build(stage.kind.name, stage.fingerprint, resumable=True) as building:
        assert building is not None
        log = EventLog(building.directory / EVENTS)
        first, known = look_again()
        assert first == []
        for event in logged[:2]:
            log.emit(event)
        assert look_again() == ([1, 2], known)
        log.emit(logged[2])
        assert look_again() == ([1, 2, 3], known)
        log.forget_steps_after(1)
        for event in logged[1:]:
            log.emit(replace(event, values={**event.values, "tokens_per_second": 1.0}))
        assert look_again() == ([1, 2, 3, 4], known)
        log.close()
    run_up_to(workspace, everything(workspace))
    assert "runs" in worker.answer(sync_order(report_on(workspace)))
    assert shown_metrics(database(workspace), NAME) == told_by_the_store(workspace)


def test_a_look_at_a_damaged_workdir_ends_nothing(bare: Workspace) -> None:
    stage = only(bare, "finetune", "rm+lm")
    bare.store.discard(record_of(bare.store, stage))
    partial = bare.store.partial(stage.kind.name, stage.fingerprint)
    partial.mkdir()
    (partial / EVENTS).write_text("no event\n")
    worker = Worker(bare)
    worker.follow()
    assert "every line of an events file must be an event" in worker.answer({"do": "follow"})["problem"]


def test_nothing_is_made_where_nothing_is_to_run(bare: Workspace) -> None:
    before = sorted(path.name for path in bare.workdir.iterdir())
    began = time.monotonic()
    process = harness("run", TINY, "--workdir", bare.workdir, "--set", "runtime.tracking=mlflow")
    process.communicate(timeout=ENOUGH_SECONDS)
    assert process.returncode == 0
    assert time.monotonic() - began < 20.0
    assert sorted(path.name for path in bare.workdir.iterdir()) == before


def test_without_tracking_a_run_makes_nothing(bare: Workspace) -> None:
    undo(bare, "pair_accuracy")
    assert run_command(["run", str(TINY), "--workdir", str(bare.workdir)]) == 0
    assert not (bare.workdir / "mlflow").exists()


class Slow(socketserver.BaseRequestHandler):
    """Answers a byte at a time, for ever."""

    def handle(self) -> None:
        with suppress(OSError):
            ASKED.append(self.request.recv(65_536))
            for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX: ", itertools.repeat(ord("x"))):
                self.request.sendall(bytes([byte]))
                time.sleep(0.1)


def respond(request: socket.socket, status: str, body: object) -> None:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
    request.sendall(f"{head}Connection: close\r\n\r\n".encode() + text)


class Sure(socketserver.BaseRequestHandler):
    """Answers every request, but there is always one more page of runs."""

    def handle(self) -> None:
        with suppress(OSError):
            ASKED.append(self.request.recv(65_536))
            time.sleep(0.1)
            experiment = {"experiment_id": "1", "name": NAME, "lifecycle_stage": "active"}
            respond(self.request, "200 OK", {"experiment": experiment, "runs": [], "next_page_token": "more"})


class Rude(socketserver.BaseRequestHandler):
    """Refuses, in words that would steer a terminal."""

    def handle(self) -> None:
        with suppress(OSError):
            self.request.recv(65_536)
            respond(self.request, "400 Bad", {"error_code": "BAD_REQUEST", "message": "\x1b[31mred\x07 no"})


@contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """The address of a server that is not one of MLflow's."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("handler", "requests"), [(Slow, 1), (Sure, 10)])
def test_a_server_that_answers_slowly_keeps_no_run_waiting(
    compared: Workspace,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    handler: type[socketserver.BaseRequestHandler],
    requests: int,
) -> None:
    ASKED.clear()
    with listening(handler) as address:
        recipe = recipe_for(f"{address}?token=secret", tmp_path)
        workspace = open_workspace(recipe, [], compared.workdir)
        with TrackingWorker(workspace, recipe, [], live=False) as worker:
            with pytest.raises(MissingRequirement, match="is not complete after"):
                worker.ask({"do": "addresses", "base": ""}, 0.0)
            deadline = time.monotonic() + ENOUGH_SECONDS
            while len(ASKED) < requests:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            finish(worker, report_on(workspace), workspace, recipe, 0.5)
    told = capfd.readouterr().err
    assert told.count("is not complete after") == 1
    assert f"{address}?token=***) is not complete after 0.5 seconds" in told
    assert f"`harness sync {recipe}` completes MLflow" in told
    assert "secret" not in told


def test_what_a_server_answers_steers_no_terminal(
    compared: Workspace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with listening(Rude) as address:
        assert sync(recipe_for(address, tmp_path), compared) == 2
    told = capfd.readouterr().err
    assert "\\x1b[31mred\\x07 no" in told
    assert "\x1b" not in told


def test_a_database_that_cannot_be_opened_is_made_again_and_that_is_said(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    path = place_of(None, workspace.workdir).database
    assert path is not None
    path.unlink()
    path.mkdir()
    assert run_command(["ui", str(TINY), "--workdir", str(workspace.workdir)]) == 2
    assert "`harness sync` makes it anew" in capfd.readouterr().err
    assert sync(TINY, workspace) == 0
    assert "the database could not be opened: it is now" in capfd.readouterr().out


# ------------------------------------------------------------------------------------------------------ harness ui


def test_ui_serves_the_database_at_the_addresses_it_prints(synced: Workspace, tmp_path: Path) -> None:
    port = Server(tmp_path).port
    process = harness("ui", TINY, "--workdir", synced.workdir, "--port", str(port))
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("serving"):
                break
        told = "\n".join(lines)
        assert f"http://127.0.0.1:{port}/#/compare-runs?runs=" in told
        assert "viewStateShareKey=" in told
        assert len(runs_of(f"http://127.0.0.1:{port}", NAME)) == 5 + len(REFERENCE_ROWS)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    with pytest.raises(ConnectionRefusedError):  # the server and its workers ended with it
        socket.create_connection(("127.0.0.1", port), 1.0)


def test_ui_without_a_database_says_what_makes_one(compared: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["ui", str(TINY), "--workdir", str(compared.workdir)]) == 2
    assert "harness sync" in capsys.readouterr().err
    assert not (compared.workdir / "mlflow").exists()


def test_sync_of_nothing_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["sync", str(TINY), "--workdir", str(tmp_path / "new")]) == 0
    assert "nothing" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------------------------------------------------- places


def test_the_plan_of_a_tracked_recipe_is_the_same(tmp_path: Path) -> None:
    """Tracking is no part of any identity."""
    elsewhere = make_plan(load_recipe(recipe_for("http://there:1", tmp_path)))
    here = make_plan(load_recipe(TINY))
    assert [stage.fingerprint for stage in elsewhere.stages] == [stage.fingerprint for stage in here.stages]

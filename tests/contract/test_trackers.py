"""What the tracker is given it shows, once, however often and however interrupted: on a database and a real server."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from harness.errors import MissingRequirement
from harness.report.curves import MOST_POINTS, Point
from harness.tracking.mlflow_tracker import MlflowTracker
from harness.tracking.view import Dataset, File, RunView, View
from harness.tracking.words import key
from tests.toys.mlflow_servers import held, name_of, put_database, runs_of

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of mlflow's own use of its libraries
]

NewTracker = Callable[[], MlflowTracker]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Path:
    folder = tmp_path_factory.mktemp("database")
    put_database(migrated, folder / "mlflow.db")
    return folder


@pytest.fixture(params=("database", "server"))
def uri(request: pytest.FixtureRequest, database: Path) -> str:
    if request.param == "database":
        return f"sqlite:///{database / 'mlflow.db'}"
    return str(request.getfixturevalue("mlflow_server"))


@pytest.fixture
def new_tracker(uri: str, database: Path) -> NewTracker:
    """Makes trackers as further processes have them, which remember nothing."""
    return lambda: MlflowTracker(uri, database / "artifacts" if uri.startswith("sqlite") else None)


@pytest.fixture
def tracker(new_tracker: NewTracker) -> MlflowTracker:
    return new_tracker()


@pytest.fixture
def experiment() -> str:
    return f"experiment-{uuid.uuid4().hex}"


def points(*values: float) -> tuple[Point, ...]:
    return tuple(Point(step=10 * index, value=value, time=1_000_000 + index) for index, value in enumerate(values))


def run(kind: Any, key: str, **changes: Any) -> RunView:
    made = RunView(
        kind=kind,
        key=key,
        name=f"the {key}",
        status="FINISHED",
        start=1_000_000,
        end=2_000_000,
        params={"pairs.count": "5000", "note": ""},
        tags={"axis.loss": "rm+lm"},
        metrics={"logic/bon_area": points(0.5), "pretrain/loss_rm": points(0.7, 0.6, 0.5)},
        datasets=(Dataset(name="pairs", digest="0123456789ab", source="store/pairs/1", rows=7, context="training"),),
        files=(File(name="recipe.yaml", content="name: x\n"),),
    )
    return replace(made, **changes)


def view(experiment: str, *runs: RunView, whole: bool = True) -> View:
    axes, columns = ("axis.loss",), ("logic/bon_area",)
    return View(experiment=experiment, note="why", runs=runs, whole=whole, columns=columns, axes=axes)


def family(experiment: str) -> View:
    return view(experiment, run("setting", "s"), run("variant", "v", parent="s"), run("reference", "r"))


def ids(uri: str, experiment: str) -> dict[str, str]:
    return {name_of(one): one.info.run_id for one in runs_of(uri, experiment)}


def changes(counts: Mapping[str, int]) -> int:
    return sum(counts.values()) - counts["unchanged"]


def test_it_shows_what_it_is_given(tracker: MlflowTracker, uri: str, experiment: str) -> None:
    assert tracker.show(family(experiment))["created"] == 3
    shown = held(uri, experiment)
    assert sorted(shown) == ["reference r", "setting s", "variant v"]
    variant = shown["variant v"]
    assert variant["name"] == "the v"
    assert variant["status"] == "FINISHED"
    assert variant["times"] == (1_000_000, 2_000_000)
    assert variant["parent"] == "setting s"
    assert variant["params"] == {"pairs.count": "5000", "note": ""}
    assert variant["tags"]["axis.loss"] == "rm+lm"
    assert variant["metrics"]["pretrain/loss_rm"] == [
        (0, "0.7", 1_000_000),
        (10, "0.6", 1_000_001),
        (20, "0.5", 1_000_002),
    ]
    assert [one[:2] for one in variant["datasets"]] == [("pairs", "0123456789ab")]
    assert list(variant["files"]) == ["recipe.yaml"]
    assert shown["setting s"]["parent"] == ""


def test_showing_it_twice_changes_nothing(new_tracker: NewTracker, uri: str, experiment: str) -> None:
    new_tracker().show(family(experiment))
    before = held(uri, experiment), ids(uri, experiment)
    assert changes(new_tracker().show(family(experiment))) == 0
    assert (held(uri, experiment), ids(uri, experiment)) == before


def test_what_grows_is_added_to_and_not_doubled(tracker: MlflowTracker, uri: str, experiment: str) -> None:
    early = run("variant", "v", status="RUNNING", metrics={"pretrain/loss_rm": points(0.7)}, datasets=(), files=())
    tracker.show(view(experiment, early, whole=False))
    before = ids(uri, experiment)
    assert tracker.show(view(experiment, run("variant", "v")))["updated"] == 1
    assert ids(uri, experiment) == before
    other = f"{experiment}-at-once"
    tracker.show(view(other, run("variant", "v")))
    assert held(uri, experiment) == held(uri, other)


CHANGES: tuple[dict[str, Any], ...] = (
    {"params": {"pairs.count": "9"}},
    {"params": {}},
    {"metrics": {"logic/bon_area": points(0.6), "pretrain/loss_rm": points(0.7, 0.6, 0.5)}},
    {"metrics": {"logic/bon_area": points(0.5)}},
    {"metrics": {"logic/bon_area": points(0.5), "pretrain/loss_rm": points(0.7, 0.6)}},
    {"datasets": ()},
    {"tags": {"axis.size": "big"}},
    {"status": "FAILED", "name": "another", "files": (File(name="recipe.yaml", content="name: y\n"),)},
)


def test_what_changed_is_shown_as_it_is_now(tracker: MlflowTracker, uri: str, experiment: str) -> None:
    """Nothing of what was before stays, no run is there twice, and a parent is the one there is now."""

    def everything(settings: Sequence[dict[str, Any]]) -> View:
        parents = [run("setting", f"s{index}", **change) for index, change in enumerate(settings)]
        ends = (parents[0], parents[-1])
        return view(experiment, *parents, *(run("variant", f"v{one.key}", parent=one.key) for one in ends))

    tracker.show(everything([{}] * len(CHANGES)))
    now = everything(CHANGES)
    counts = tracker.show(now)
    assert (counts["replaced"], counts["updated"]) == (len(CHANGES), 2)
    at_once = f"{experiment}-at-once"
    tracker.show(replace(now, experiment=at_once))
    assert held(uri, experiment) == held(uri, at_once)
    assert changes(tracker.show(now)) == 0


def test_a_run_no_longer_asked_for_stays_but_is_not_compared(tracker: MlflowTracker, uri: str, experiment: str) -> None:
    compared = {"harness.compared": "yes"}
    both = view(experiment, run("setting", "s", tags=compared), run("setting", "t", tags=compared))
    tracker.show(both)
    assert tracker.show(view(experiment, run("setting", "t", tags=compared)))["retired"] == 1
    assert held(uri, experiment)["setting s"]["tags"]["harness.compared"] == "no"
    assert changes(tracker.show(view(experiment, run("setting", "t", tags=compared)))) == 0
    assert tracker.show(both)["replaced"] == 1
    assert held(uri, experiment)["setting s"]["tags"]["harness.compared"] == "yes"


def test_while_a_run_goes_on_what_is_shown_beyond_is_left_alone(
    tracker: MlflowTracker, uri: str, experiment: str
) -> None:
    tracker.show(family(experiment))
    before = held(uri, experiment), ids(uri, experiment)
    less = run("variant", "v", parent="s", metrics={"pretrain/loss_rm": points(0.9)})
    tracker.show(view(experiment, run("setting", "s", metrics={}, params={}), less, whole=False))
    assert (held(uri, experiment), ids(uri, experiment)) == before


def test_a_curve_that_began_again_is_carried_on_and_set_right_in_the_end(
    tracker: MlflowTracker, uri: str, experiment: str
) -> None:
    """A training went on from an earlier step and repeats some with other values: no new run until all is shown."""
    curve = "pretrain/loss_rm"
    tracker.show(
        view(experiment, run("variant", "v", status="RUNNING", metrics={curve: points(0.7, 0.6)}), whole=False)
    )
    before = ids(uri, experiment)
    again = run("variant", "v", status="RUNNING", metrics={curve: points(0.7, 0.65)})
    assert changes(tracker.show(view(experiment, again, whole=False))) == 0
    further = replace(again, metrics={curve: points(0.7, 0.65, 0.5)})
    assert tracker.show(view(experiment, further, whole=False))["updated"] == 1
    assert ids(uri, experiment) == before
    assert [step for step, _, _ in held(uri, experiment)["variant v"]["metrics"][curve]] == [0, 10, 20]
    ended = replace(further, status="FINISHED")
    assert tracker.show(view(experiment, ended))["replaced"] == 1
    assert held(uri, experiment)["variant v"]["metrics"][curve] == [
        (0, "0.7", 1_000_000),
        (10, "0.65", 1_000_001),
        (20, "0.5", 1_000_002),
    ]
    assert changes(tracker.show(view(experiment, ended))) == 0


def test_who_created_a_run_last_goes_on_showing_it(new_tracker: NewTracker, uri: str, experiment: str) -> None:
    """As when a recipe is run again after it was stopped, or twice at once."""
    curve = "pretrain/loss_rm"

    def growing(*values: float, status: Any = "RUNNING") -> View:
        variant = run("variant", "v", status=status, metrics={curve: points(*values)})
        return view(experiment, variant, whole=status == "FINISHED")

    def steps() -> list[int]:
        return [step for step, _, _ in held(uri, experiment)["variant v"]["metrics"][curve]]

    first, second = new_tracker(), new_tracker()
    first.show(growing(0.7))
    assert second.show(growing(0.7, 0.6))["replaced"] == 1
    known = ids(uri, experiment)
    assert changes(first.show(growing(0.7, 0.6, 0.5))) == 0
    assert second.show(growing(0.7, 0.6, 0.5))["updated"] == 1
    assert ids(uri, experiment) == known
    assert steps() == [0, 10, 20]
    ended = growing(0.7, 0.6, 0.5, 0.4, status="FINISHED")
    assert first.show(ended)["replaced"] == 1
    assert changes(second.show(ended)) == 0
    assert steps() == [0, 10, 20, 30]
    assert changes(new_tracker().show(growing(0.7))) == 0  # what ended stays until all is shown


def test_much_is_shown_in_full(tracker: MlflowTracker, uri: str, experiment: str) -> None:
    """More than one request may hold of everything, and texts at their limits."""
    many = run(
        "variant",
        "v",
        params={f"p{index}": "x" * 6_000 for index in range(130)},
        tags={f"axis.{index}": "y" * 7_000 for index in range(130)},
        metrics={f"base/m{index}": points(*(float(step) for step in range(MOST_POINTS))) for index in range(3)},
    )
    tracker.show(view(experiment, many))
    shown = held(uri, experiment)["variant v"]
    assert len(shown["params"]) == 130
    assert {len(value) for value in shown["params"].values()} == {6_000}
    assert sum(name.startswith("axis.") for name in shown["tags"]) == 130
    assert {len(history) for history in shown["metrics"].values()} == {MOST_POINTS}
    assert changes(tracker.show(view(experiment, many))) == 0


def test_values_that_are_no_numbers_are_kept_and_not_doubled(tracker: MlflowTracker, uri: str, experiment: str) -> None:
    odd = run("variant", "v", metrics={"base/loss": points(0.1, math.nan, math.inf, -math.inf, 1e-300)})
    tracker.show(view(experiment, odd))
    assert len(held(uri, experiment)["variant v"]["metrics"]["base/loss"]) == 5
    tracker.show(view(experiment, replace(odd, name="another")))
    assert len(held(uri, experiment)["variant v"]["metrics"]["base/loss"]) == 5


def test_axes_of_any_name_are_shown(new_tracker: NewTracker, uri: str, experiment: str) -> None:
    axes = ("../../x", "a//b", "/etc", "x/", "..", "a/./b", "größe?", "損失", "a:b\\c")
    names = [f"axis.{key(axis)}" for axis in axes]
    odd = view(
        experiment,
        *(
            run("setting", str(index), params={name: "1"}, tags={name: "1"}, metrics={f"{name}/loss": points(0.5)})
            for index, name in enumerate(names)
        ),
    )
    new_tracker().show(odd)
    shown = held(uri, experiment)
    for index, name in enumerate(names):
        assert shown[f"setting {index}"]["params"] == {name: "1"}
        assert shown[f"setting {index}"]["tags"][name] == "1"
        assert list(shown[f"setting {index}"]["metrics"]) == [f"{name}/loss"]
    assert changes(new_tracker().show(odd)) == 0


def test_a_run_left_half_written_is_replaced(tracker: MlflowTracker, uri: str, experiment: str) -> None:
    tracker.show(family(experiment))
    client = MlflowClient(tracking_uri=uri)
    known = client.get_experiment_by_name(experiment)
    (setting,) = (one for one in runs_of(uri, experiment) if name_of(one) == "setting s")
    tags = {"harness.kind": "variant", "harness.variant": "w", "mlflow.parentRunId": setting.info.run_id}
    client.create_run(known.experiment_id, start_time=1_000_000, tags=tags, run_name="half")
    whole = replace(family(experiment), runs=(*family(experiment).runs, run("variant", "w", parent="s")))
    assert tracker.show(whole)["replaced"] == 1
    shown = held(uri, experiment)
    same = {"params", "metrics", "datasets", "files", "status", "times", "parent"}
    assert {name: shown["variant w"][name] for name in same} == {name: shown["variant v"][name] for name in same}


def test_a_description_links_the_report_and_one_that_somebody_wrote_stays(
    new_tracker: NewTracker, uri: str, experiment: str
) -> None:
    report = File(name="report.md", content="# Report")

    def shown(note: str) -> str:
        new_tracker().show(view(experiment, run("setting", "s", note=note, files=(report,))))
        (found,) = runs_of(uri, experiment)
        text = str(found.data.tags["mlflow.note.content"])
        assert text == "mine" or f"/runs/{found.info.run_id}/artifacts/report.md)" in text
        return text

    assert shown("first").startswith("first")
    assert shown("second").startswith("second")
    MlflowClient(tracking_uri=uri).set_tag(ids(uri, experiment)["setting s"], "mlflow.note.content", "mine")
    assert shown("third") == "mine"
    assert shown("fourth") == "mine"


def test_comparing_settings_leaves_out_those_without_a_place_on_every_axis(
    tracker: MlflowTracker, uri: str, experiment: str
) -> None:
    compared = {"harness.compared": "yes"}
    places: dict[str, dict[str, str]] = {"s": {"axis.count": "320"}, "t": {"axis.count": "640"}, "u": {}}
    runs = [run("setting", name, tags=compared, params=params) for name, params in places.items()]
    tracker.show(view(experiment, *runs))
    comparison, known = tracker.addresses(experiment, "http://there:5000/").comparison, ids(uri, experiment)
    assert sorted(name for name in known if known[name] in comparison) == ["setting s", "setting t"]


def test_runs_of_others_and_tags_that_people_set_are_left_alone(
    new_tracker: NewTracker, uri: str, experiment: str
) -> None:
    new_tracker().show(family(experiment))
    client = MlflowClient(tracking_uri=uri)
    known = client.get_experiment_by_name(experiment)
    client.set_tag(ids(uri, experiment)["variant v"], "my.note", "look here")
    theirs = client.create_run(known.experiment_id, run_name="by hand").info.run_id
    changed = (run("setting", "s"), run("variant", "v", parent="s", name="new"))
    assert new_tracker().show(view(experiment, *changed))["replaced"] == 1
    (variant,) = (one for one in runs_of(uri, experiment) if one.info.run_name == "new")
    assert variant.data.tags["my.note"] == "look here"
    assert client.get_run(theirs).info.lifecycle_stage == "active"


def test_addresses_name_what_is_compared(tracker: MlflowTracker, uri: str, experiment: str) -> None:
    compared = {"harness.compared": "yes"}
    tracker.show(view(experiment, run("setting", "s", tags=compared), run("variant", "v", parent="s")))
    found = tracker.addresses(experiment, "http://there:5000/")
    known = ids(uri, experiment)
    assert known["setting s"] in found.comparison
    assert known["variant v"] not in found.comparison
    tracker.show(
        view(
            experiment,
            *(run(kind, key, tags=compared) for kind, key in (("setting", "s"), ("setting", "t"), ("reference", "r"))),
        )
    )
    several = tracker.addresses(experiment, "http://there:5000/").comparison
    known = ids(uri, experiment)
    assert sorted(name for name in known if known[name] in several) == [
        "setting s",
        "setting t",
    ]  # references have no axes
    assert found.table.startswith("http://there:5000/#/experiments/")
    tags = MlflowClient(tracking_uri=uri).get_experiment_by_name(experiment).tags
    for address in (found.table, found.curves):
        assert any(name.endswith(address.partition("viewStateShareKey=")[2].partition("&")[0]) for name in tags)
    with pytest.raises(MissingRequirement, match="harness sync"):
        tracker.addresses(f"{experiment}-not-there", "http://there:5000")


@pytest.mark.parametrize("nowhere", ["http://127.0.0.1:9", "sqlite:////proc/there/is/none.db"])
def test_a_tracker_that_does_not_answer_is_a_clear_problem(nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MissingRequirement, match="MLflow must answer"):
        MlflowTracker(nowhere).show(family("x"))

"""The index beside a report: every outcome with what it was made from, and the recipe to plan the same again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import harness
from harness.errors import StoreError
from harness.plan.plan import make_plan
from harness.recipe.load import load_recipe
from harness.report.collect import collect
from harness.report.index import INDEX, RECIPE, read_index, read_indexes, write_index
from harness.report.overview import overview
from harness.report.tables import leaderboard, report_json
from harness.store.store import Store
from tests.report_store import small, with_axes


def test_holds_every_outcome_with_its_seeds_and_axes(tmp_path: Path) -> None:
    plan = small()
    write_index(plan, tmp_path / "quickstart")
    index = read_index(tmp_path / "quickstart")
    assert [entry.stage for entry in index.outcomes] == [outcome.stage.fingerprint for outcome in plan.outcomes]
    of_rm = [entry for entry in index.outcomes if entry.row == "rm" and entry.evaluation == "best_of_n"]
    assert {(entry.task, entry.pretrain_seed, entry.finetune_seed) for entry in of_rm} == {
        (task, 0, seed) for task in ("arithmetic", "logic") for seed in (0, 1)
    }
    assert {tuple(entry.axes.items()) for entry in of_rm} == {(("loss", "rm"),)}
    assert {entry.row for entry in index.outcomes if entry.kind == "reference"} == {
        "pool",
        "length",
        "ngrams",
        "prompt_overlap",
    }


def test_axes_are_numbers_in_every_output(tmp_path: Path) -> None:
    """Without PMP the number of pairs does not matter, so that such a setting has none."""
    axes = {"loss": {"rm+lm": {}, "no-pmp": {"pretrain": None}}, "pairs.count": [320, 640]}
    plan, store = with_axes(tmp_path, axes), Store(tmp_path / "store")
    store.create()
    write_index(plan, tmp_path / "reports" / "quickstart")
    table = harness.results(tmp_path)
    settings = table[table.kind == "setting"]
    assert table["axis.pairs.count"].dtype == "Int64"
    wanted = {("rm+lm", 320), ("rm+lm", 640), ("no-pmp", None)}
    pairs = settings[["axis.loss", "axis.pairs.count"]].astype(object)
    assert set(pairs.where(pairs.notna(), None).itertuples(index=False, name=None)) == wanted

    data = collect(plan, store, overview(plan, store, None))
    lines = [line for line in csv.DictReader(io.StringIO(leaderboard(data))) if line["kind"] == "setting"]
    assert {(line["axis.loss"], int(line["axis.pairs.count"] or 0) or None) for line in lines} == wanted
    content = json.loads(report_json(data))
    rows = [row["axes"] for row in content["boards"][0]["rows"] if row["kind"] == "setting"]
    assert {(row["loss"], row.get("pairs.count")) for row in rows} == wanted
    assert [(axis["name"], axis["kind"]) for axis in content["axes"]] == [
        ("loss", "categorical"), ("pairs.count", "numeric")
    ]  # fmt: skip


def test_knows_what_an_outcome_was_made_from(tmp_path: Path) -> None:
    plan = small()
    write_index(plan, tmp_path)
    index = read_index(tmp_path)
    assert set(index.stages) == {stage.fingerprint for stage in plan.stages}
    outcome = next(one for one in plan.outcomes if one.metric == "best_of_n")
    kinds = {index.stages[key].kind for key in index.made_from(outcome.stage.fingerprint)}
    assert {"best_of_n", "score", "finetune", "pretrain", "trunk_state", "pairs_part", "corpus", "problems"} <= kinds


def test_the_kept_recipe_plans_the_same(tmp_path: Path) -> None:
    plan = small("seeds.finetune=3")
    write_index(plan, tmp_path)
    again = make_plan(load_recipe(tmp_path / RECIPE))
    assert [stage.fingerprint for stage in again.stages] == [stage.fingerprint for stage in plan.stages]
    assert [setting.names for setting in again.settings] == [setting.names for setting in plan.settings]


def test_keeps_no_tracking_address(tmp_path: Path) -> None:
    write_index(small('runtime.tracking_uri="postgresql://user:secret@host/db"'), tmp_path)
    assert "secret" not in (tmp_path / RECIPE).read_text() + (tmp_path / INDEX).read_text()


def test_files_that_say_the_same_are_left_alone(tmp_path: Path) -> None:
    write_index(small(), tmp_path)
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    write_index(small(), tmp_path)
    assert {path.name: path.stat().st_ino for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("text", ["", "{}", "[1]", json.dumps({"schema": 99})])
def test_refuses_what_it_cannot_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / INDEX).write_text(text)
    with pytest.raises(StoreError, match="harness report"):
        list(read_indexes(tmp_path))

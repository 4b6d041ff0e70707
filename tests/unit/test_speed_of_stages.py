"""How long stages take: lines through finished ones, a calibration where there are none, and how far that is off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.events import EventLog, Metrics
from harness.pipeline.kind import Known
from harness.pipeline.training_kinds import TRUNK_STATE
from harness.plan.cost import estimate
from harness.plan.plan import Plan
from harness.plan.speed import CALIBRATION, Calibration, Line, fit, read_calibration, speeds_of
from harness.store.record import EVENTS
from harness.store.store import Snapshot, Store
from tests.toys.small_models import save_small_model

times = st.floats(0.01, 1e3)


@given(st.floats(0, 10), st.floats(0, 10), st.lists(st.floats(1, 1e3), min_size=2, max_size=8, unique=True))
def test_a_line_is_found_again(fixed: float, each: float, works: list[float]) -> None:
    line = fit([(work, fixed + each * work) for work in works])
    for work in works:
        assert line.seconds(work) == pytest.approx(fixed + each * work, rel=1e-3, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 1e12), times), min_size=1, max_size=12))
def test_no_time_is_below_nothing(points: list[tuple[float, float]]) -> None:
    line = fit(points)
    assert line.fixed >= 0
    assert line.each >= 0


def test_a_calibration_serves_until_a_kind_has_run_here(
    recipe: dict[str, Any], planned: Callable[..., Plan], store: Store, finish: Callable[..., Any]
) -> None:
    plan = planned(recipe)
    parts = [stage for stage in plan.stages if stage.kind.name == "pairs_part"]
    Calibration(lines={"pairs_part": Line(fixed=1.0, each=0.1)}, error=0.4).save(store.root.parent)
    before = estimate(parts, plan.stages, store, 1)
    assert (before.seconds, before.speed_basis) == (pytest.approx(9.0 * len(parts)), "calibrated")
    assert before.error == 0.4  # on its own stages
    finish(parts[0], seconds=12.0)
    after = estimate(parts[1:], plan.stages, store, 1)
    assert (after.seconds, after.speed_basis) == (pytest.approx(12.0 * (len(parts) - 1)), "measured")
    assert after.error == pytest.approx(3 / 12)


def test_a_published_model_trained_by_another_recipe_gives_the_rate(
    recipe: dict[str, Any], planned: Callable[..., Plan], store: Store, finish: Callable[..., Any], tmp_path: Path
) -> None:
    recipe["model"] = {"source": "folder", "path": str(save_small_model(tmp_path / "model"))}
    plan, other = planned(recipe), planned(recipe, "pretrain.learning_rate=0.5")
    (pretrained,) = [stage for stage in plan.stages if stage.kind.name == "pretrained"]
    trunk = next(stage for stage in plan.stages if stage.kind is TRUNK_STATE)
    assert estimate([trunk], plan.stages, store, 1).speed_basis == "assumed"
    finish(pretrained)
    record = finish(next(stage for stage in other.stages if stage.kind is TRUNK_STATE))
    assert record.fingerprint not in {stage.fingerprint for stage in plan.stages}
    events = EventLog(store.directory(record.kind, record.fingerprint) / EVENTS)
    for step, rate in ((10, 1e9), (20, 3e9), (30, 2e9)):
        events.emit(Metrics(step=step, values={"flop_per_second": rate}))
    events.close()
    found = estimate([trunk], plan.stages, store, 1)
    assert found.speed_basis == "measured"
    assert found.seconds == pytest.approx(found.flops / 2e9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"kinds": {}}',
        '{"error": -1, "kinds": {}}',
        '{"error": 0.1, "kinds": {"pairs": [1]}}',
        '{"error": 0.1, "kinds": {"pairs": [-1, 0]}}',
        '{"error": 0.1, "kinds": 3}',
    ],
)
def test_a_damaged_calibration_is_one_clear_error(tmp_path: Path, text: str) -> None:
    assert read_calibration(tmp_path) is None
    (tmp_path / CALIBRATION).write_text(text)
    with pytest.raises(StoreError, match=f"{CALIBRATION} is not"):
        read_calibration(tmp_path)


def test_what_is_saved_is_read(tmp_path: Path, store: Store) -> None:
    calibration = Calibration(lines={"base": Line(fixed=0.25, each=1e-11)}, error=0.1)
    calibration.save(tmp_path)
    assert read_calibration(tmp_path) == calibration
    assert json.loads((tmp_path / CALIBRATION).read_text())["kinds"]["base"] == [0.25, 1e-11]
    assert speeds_of([], Known(Snapshot(store))).error == 0.1

"""Ready-made views of MLflow put runs in order of a metric only where some setting has a place."""

from __future__ import annotations

import json

import pytest

from harness.tracking.shared_views import TABLE, TAG, shared_views
from harness.tracking.view import View


@pytest.mark.parametrize(
    ("ordered", "key", "ascending"),
    [(True, "metrics.`logic/bon_area`", False), (False, "attributes.start_time", True)],
)
def test_the_table_of_settings_is_by_metric_only_where_there_is_an_order(
    ordered: bool, key: str, ascending: bool
) -> None:
    view = View(experiment="x", note="", runs=(), whole=True, columns=("logic/bon_area",), ordered=ordered)
    state = json.loads(shared_views(view)[TAG + TABLE])
    assert (state["orderByKey"], state["orderByAsc"]) == (key, ascending)

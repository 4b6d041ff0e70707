"""Ready-made views of an experiment in MLflow's web interface: which columns, sorted and grouped how.

MLflow keeps a view that somebody shares as a tag of the experiment, and opens it by `?viewStateShareKey=`. These are
written in that form, so that settings can be compared without choosing anything first.
"""

from __future__ import annotations

import json
from typing import Any

from harness.tracking.view import View

TABLE, CURVES = "harness-settings", "harness-curves"
TAG = "mlflow.sharedViewState."
LONGEST = 4_500  # older servers take 5,000 characters
FILTERS = {"startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs"}


def shared_views(view: View) -> dict[str, str]:
    """{tag of the experiment: JSON} of the table of settings and of the curves of variants, a mean a setting."""
    return {TAG + name: _text(state) for name, state in ((TABLE, _table(view)), (CURVES, _curves(view)))}


def _table(view: View) -> dict[str, Any]:
    """Settings and references, the best first: axes, then each metric with its interval."""
    metrics = [f"metrics.`{column}{limit}`" for column in view.columns for limit in ("", "_low", "_high")]
    return {
        **FILTERS,
        "searchFilter": "tags.`harness.compared` = 'yes'",
        "orderByKey": metrics[0] if metrics else "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": [*(f"tags.`{axis}`" for axis in view.axes), *metrics],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": None,
    }


def _curves(view: View) -> dict[str, Any]:
    """Variants, averaged by setting."""
    return {
        **FILTERS,
        "searchFilter": "tags.`harness.kind` = 'variant' AND tags.`harness.current` = 'yes'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "selectedColumns": [*(f"tags.`{axis}`" for axis in view.axes), *(f"metrics.`{name}`" for name in view.columns)],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "setting"}]},
        "useGroupedValuesInCharts": True,
    }


def _text(state: dict[str, Any]) -> str:
    """The state as JSON; with many columns the last ones are left out, for the tag's length is bounded."""
    text = json.dumps(state)
    while len(text) > LONGEST and state["selectedColumns"]:
        state["selectedColumns"].pop()
        text = json.dumps(state)
    return text

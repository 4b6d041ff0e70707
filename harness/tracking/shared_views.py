"""Ready-made views of an experiment in MLflow's web interface: which columns and charts, sorted and grouped how.

MLflow keeps a view that somebody shares as a tag of the experiment, and opens it by `?viewStateShareKey=`. These are
written in that form, so that settings can be compared without choosing anything first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.tracking.view import View
from harness.tracking.words import DIFFERENCE, ESTIMATE

TABLE, CURVES = "harness-settings", "harness-curves"
TAG = "mlflow.sharedViewState."
LONGEST = 4_900  # older servers take 5,000 characters
AXIS_WIDTH, VALUE_WIDTH, TOLD_WIDTH = 130, 190, 220  # pixels, so that names of metrics can be read
MOST_BARS = 6
LINES = ("pretrain/loss_rm", "pretrain/loss_lm", "finetune/loss_rm", "finetune/accuracy")
COMPARISON, TRAINING = "Comparison", "Training curves"
FILTERS = {"startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs"}


def shared_views(view: View) -> dict[str, str]:
    """{tag of the experiment: JSON} of the table of settings and of the curves of variants, a mean a setting."""
    return {TAG + name: _text(state) for name, state in ((TABLE, _table(view)), (CURVES, _curves(view)))}


def _table(view: View) -> dict[str, Any]:
    """Settings and references, the best first where any has a place, else as they began: axes, then every metric with
    its interval, then what each setting is above the baseline by. As tags, since MLflow writes metrics with all their
    digits."""
    by_metric = view.ordered and bool(view.columns)
    widths = {f"tags.`{axis}`": AXIS_WIDTH for axis in view.axes}
    for what in (ESTIMATE, DIFFERENCE):
        widths |= {f"tags.`{what}{column}`": TOLD_WIDTH for column in view.columns}
    return {
        **FILTERS,
        "searchFilter": "tags.`harness.compared` = 'yes'",
        "orderByKey": f"metrics.`{view.columns[0]}`" if by_metric else "attributes.start_time",
        "orderByAsc": not by_metric,
        "groupBy": None,
        **_columns(widths),
        **_charts(view, ()),
    }


def _curves(view: View) -> dict[str, Any]:
    """Variants, averaged by setting."""
    known = {name for run in view.runs for name in run.metrics}
    widths = {f"tags.`{axis}`": AXIS_WIDTH for axis in view.axes}
    widths |= {f"metrics.`{column}`": VALUE_WIDTH for column in view.columns}
    return {
        **FILTERS,
        "searchFilter": "tags.`harness.kind` = 'variant' AND tags.`harness.current` = 'yes'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "setting"}]},
        "useGroupedValuesInCharts": True,
        **_columns(widths),
        **_charts(view, [name for name in LINES if name in known]),
    }


def _columns(widths: dict[str, int]) -> dict[str, Any]:
    columns = list(widths)
    return {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths, "runsHiddenMode": "SHOW_ALL"}


def _charts(view: View, lines: Sequence[str]) -> dict[str, Any]:
    """What is compared first; MLflow adds a chart for everything else below."""
    bars = view.columns[:MOST_BARS]
    charts = [_chart("LINE", name, TRAINING) for name in lines] + [_chart("BAR", name, COMPARISON) for name in bars]
    names = [TRAINING] * bool(lines) + [COMPARISON]
    sections = [{"uuid": name, "name": name, "display": True, "isReordered": True} for name in names]
    return {"compareRunCharts": charts, "compareRunSections": sections, "isAccordionReordered": True}


def _chart(kind: str, metric: str, section: str) -> dict[str, Any]:
    chart: dict[str, Any] = {"type": kind, "uuid": f"harness-{metric}", "metricSectionId": section, "metricKey": metric}
    chart |= {"deleted": False, "isGenerated": False, "runsCountToCompare": 100}
    if kind == "LINE":
        chart |= {"scaleType": "linear", "xAxisScaleType": "linear", "lineSmoothness": 0, "range": {}}
        chart |= {"xAxisKey": "step", "yAxisKey": "metric", "yAxisExpressions": [], "selectedXAxisMetricKey": ""}
        chart |= {"selectedMetricKeys": [metric], "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True}
    return chart


def _text(state: dict[str, Any]) -> str:
    """The state as JSON. Its length is bounded: of many columns the last are left out, then of many charts."""
    text = json.dumps(state, separators=(",", ":"))
    while len(text) > LONGEST:
        columns, charts = state["selectedColumns"], state["compareRunCharts"]
        if columns:
            state["columnWidths"].pop(columns.pop(), None)
        elif charts:
            charts.pop()
        else:
            break
        text = json.dumps(state, separators=(",", ":"))
    return text

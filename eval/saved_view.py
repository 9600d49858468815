"""The view of the runs that MLflow opens with: one bar or curve per variant, the mean of its seeds.

The format is undocumented: it is what MLflow's own page stores when a view is saved (seen in 3.17).
Nothing depends on it.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

VIEW = "by-variant"  # its key in the address of the page
SCORES = (  # bar charts
    "eval/floor_ratio",
    "panel/c2st",
    "panel_floors/chords",
    "panel_floors/copy_8",
    "nll/nats_per_token",
    "nll/nats_per_note",
    "eval/teacher_gap",
    "eval/validity",
)
CURVES = ("train/loss", "val/loss")  # line charts


def packed() -> str:
    """Return the state of the saved view, as MLflow's browser code packs it."""
    common: dict[str, Any] = {"deleted": False, "isGenerated": False}
    sections = [("scores", "Scores"), ("curves", "Training")]
    charts: list[dict[str, Any]] = [
        {"type": "BAR", "metricKey": key, "metricSectionId": "scores", "displayName": key.rpartition("/")[2]}
        for key in SCORES
    ]
    axis = {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""}
    line: dict[str, Any] = {
        "type": "LINE",
        "metricSectionId": "curves",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
    }
    line |= {**axis, "yAxisKey": "metric", "yAxisExpressions": [], "ignoreOutliers": False}
    line |= {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True}
    charts += [{**line, "metricKey": key, "selectedMetricKeys": [key], "displayName": key} for key in CURVES]
    state = {
        "searchFilter": "tags.kind != 'tuning'",  # the grid would double every arm
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": ["tags.`variant`", "tags.`seed`", "tags.`kind`", *(f"metrics.`{key}`" for key in SCORES)],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [
            {"uuid": f"chart{i}", "runsCountToCompare": 100, **common, **chart} for i, chart in enumerate(charts)
        ],
        "compareRunSections": [
            {"uuid": key, "name": name, "display": True, "isReordered": True, **common} for key, name in sections
        ],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "variant"}]},
        "groupsExpanded": {},
        "globalLineChartConfig": axis,
    }
    packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), level=9)
    return f"deflate;{base64.b64encode(packed).decode()}"

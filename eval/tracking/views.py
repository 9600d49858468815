"""Build the saved view with which MLflow's page opens: bar charts of the scores and curves of the losses by variant.

MLflow does not document the format. It is what the page stores when a user saves a view (seen in MLflow 3.17), and
nothing else depends on it. MLflow draws no intervals: a bar is a mean over seeds, and a curve has the range of the
seeds around it.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "by-variant"  # in the address of the page
NAME = "By variant"
TAG = f"mlflow.sharedViewState.{KEY}"  # tag of the experiment that holds the view
# Models and real music. MLflow's filters have no OR; published numbers have no corpus.
FILTER = " AND ".join(
    ["tags.corpus IS NOT NULL", *(f"tags.kind != '{kind}'" for kind in ("tuning", "teacher", "control"))]
)
# A chart's title is its metric. At three charts a row, it shows about eleven letters.
SCORES = (
    "distance",
    "classifier_auc",
    "x/chords",
    "x/copy_8",
    "nll",
    "nll_per_note",
    "teacher_gap",
    "validity",
)
CURVES = ("train/loss", "val/loss")
_KEPT: dict[str, Any] = {"deleted": False, "isGenerated": False}
_AXIS = {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""}


def address(experiment: str) -> str:
    """Return the part of the view's address that follows the address of the server."""
    query = f"workflowType=machine_learning&viewStateShareKey={KEY}&compareRunsMode=CHART"
    return f"#/experiments/{experiment}/runs?{query}"


def view_tag(known: Mapping[str, str], *, several: bool) -> dict[str, str]:
    """Return the tag of the experiment that saves the view; nothing if the known tags contain it already."""
    state, now = pack(view_state(several=several)), int(time.time() * 1000)
    if f'"{state}"' in known.get(TAG, ""):
        return {}
    return {TAG: json.dumps({"name": NAME, "createdAt": now, "updatedAt": now, "state": state})}


def pack(state: Mapping[str, Any]) -> str:
    """Compress the state of a view as MLflow's page does."""
    packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), level=9)
    return f"deflate;{base64.b64encode(packed).decode()}"


def view_state(*, several: bool) -> dict[str, Any]:
    """Return the state of the view.

    Args:
        several: Whether the store has more than one comparison. Runs are then grouped by scale and corpus too, since a
            mean over comparisons means nothing.
    """
    groups = ("variant", "scale", "corpus") if several else ("variant",)
    charts = [*map(_bars, SCORES), *map(_curve, CURVES)]
    sections = dict.fromkeys(chart["metricSectionId"] for chart in charts)
    columns = dict.fromkeys([*groups, "seed", "kind"])
    return {
        "searchFilter": FILTER,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*(f"tags.`{tag}`" for tag in columns), *(f"metrics.`{key}`" for key in SCORES)],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [
            {"uuid": f"chart{i}", "runsCountToCompare": 100, **_KEPT, **chart} for i, chart in enumerate(charts)
        ],
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": True, **_KEPT} for name in sections
        ],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": tag} for tag in groups],
        },
        "groupsExpanded": {},
        "globalLineChartConfig": _AXIS,
    }


def _bars(key: str) -> dict[str, Any]:
    """Return the bar chart of a score."""
    return {"type": "BAR", "metricKey": key, "metricSectionId": "Scores", "displayName": key}


def _curve(key: str) -> dict[str, Any]:
    """Return the line chart of a metric that has steps."""
    return {
        "type": "LINE",
        "metricSectionId": "Curves",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        **_AXIS,
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        "metricKey": key,
        "selectedMetricKeys": [key],
        "displayName": key,
    }

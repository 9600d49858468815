"""The views of the runs that MLflow's page is opened with, and the state in which its browser code keeps each.

The format is undocumented: it is what the page stores when a view is saved (seen in MLflow 3.17). Nothing depends on
it. The page draws no intervals: bars are means of seeds, curves have the range of the seeds around them, and the view
of all trials has a bar for each.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLL = "samples/roll"  # the image of every trial
_COMMON: dict[str, Any] = {"deleted": False, "isGenerated": False}
_AXIS = {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""}


@dataclass(frozen=True, kw_only=True)
class View:
    """A row of `VIEWS`.

    Attributes:
        key: in the address of the page.
        name: for people.
        about: what it shows, in a sentence.
        runs: the filter of the runs, in MLflow's language.
        bars: scores, with a bar chart each.
        curves: groups of metrics that have steps, with a line chart each.
        logarithmic: those of the groups, by their first metric, that span orders of magnitude.
        grouped: whether the seeds of a variant are one bar, which is their mean.
        baseline: a variant; the differences of the others from it are listed.
        images: whether the samples are shown.
    """

    key: str
    name: str
    about: str
    runs: str
    bars: tuple[str, ...]
    curves: tuple[tuple[str, ...], ...]
    logarithmic: tuple[str, ...] = ()
    grouped: bool = True
    baseline: str = ""
    images: bool = False


# MLflow's language knows no OR; published numbers belong to no corpus.
_WITH_REAL_MUSIC = (
    "tags.kind != 'tuning' AND tags.kind != 'teacher' AND tags.kind != 'audit' AND tags.corpus IS NOT NULL"
)
VIEWS: tuple[View, ...] = (
    View(
        key="by-variant",
        name="By variant",
        about="Models and real music: a bar or curve for each, the mean of its seeds.",
        runs=f"{_WITH_REAL_MUSIC} AND tags.kind != 'control'",
        bars=(
            "distance",
            "classifier_auc",
            "floors/chords",
            "floors/copy_8",
            "nll",
            "nll_per_note",
            "teacher_gap",
            "validity",
        ),
        curves=(("train/loss",), ("val/loss",)),
    ),
    View(
        key="all-trials",
        name="All trials",
        about="Every seed by itself, in the colour of its model, with the piano roll of its first sample.",
        runs="tags.kind = 'trial'",
        bars=("distance", "classifier_auc", "nll", "validity", "cost/fit_seconds"),
        curves=(("train/loss",), ("val/loss",), ("system/peak_memory_mb",)),
        grouped=False,
        images=True,
    ),
    View(
        key="ablation",
        name="Embedding ablation",
        about="The paper's model with other embeddings: bars, and the differences from embeddings trained end to end.",
        runs="tags.kind = 'trial' AND params.encoding = 'paper' AND params.`model.type` = 'Diffusion'"
        " AND params.`model.backbone` = 'None'",
        bars=("distance", "classifier_auc", "floors/chords", "nll"),
        curves=(("val/mse",), ("val/rounding",)),
        baseline="e2e",
    ),
    View(
        key="likelihood",
        name="Likelihood",
        about="Likelihoods, those of diffusion as upper bounds, and the paper's bits per word beside their audit.",
        runs="tags.kind != 'tuning' AND tags.kind != 'control'",
        bars=(
            "nll",
            "nll_per_note",
            "nll/error_over_songs",
            "nll/error_of_estimate",
        ),
        curves=(("val/nll",), ("val/mse",), ("audit/bits_per_word", "paper/bits_per_word"), ("audit/distance",)),
        logarithmic=("audit/bits_per_word",),
    ),
    View(
        key="controls",
        name="Controls",
        about="What the measures can see: music that was damaged or copied, and models that know next to nothing.",
        runs=f"{_WITH_REAL_MUSIC} AND tags.kind != 'trial'",
        bars=("distance", "classifier_auc", "floors/chords", "floors/copy_8", "teacher_gap"),
        curves=(),
    ),
)


def address(experiment: str, view: View) -> str:
    """Return where a view is on MLflow's page, after the address of the server."""
    query = f"workflowType=machine_learning&viewStateShareKey={view.key}&compareRunsMode=CHART"
    return f"#/experiments/{experiment}/runs?{query}"


def image_name(about: Mapping[str, Any]) -> str:
    """Return what the page calls a trial's image at step 0: the same whenever it is logged."""
    moment, number = int(about["started"] * 1000), uuid5(NAMESPACE_OID, about["id"])
    return f"{ROLL.replace('/', '~')}+step+0+timestamp+{moment}+{number}"


def view_tags(known: Mapping[str, str], *, several: bool) -> dict[str, str]:
    """Return the experiment's tags of the views that its tags do not have as they are here; see `packed`."""
    now, tags = int(time.time() * 1000), {}
    for row in VIEWS:
        state, key = packed(row, several=several), f"mlflow.sharedViewState.{row.key}"
        if f'"{state}"' not in known.get(key, ""):
            tags[key] = json.dumps({"name": row.name, "createdAt": now, "updatedAt": now, "state": state})
    return tags


def packed(view: View, *, several: bool) -> str:
    """Return the state of a view as MLflow's browser code packs it.

    Args:
        view: a row of `VIEWS`.
        several: whether there is more than one comparison, so that runs are grouped by scale and corpus too: a mean
            over comparisons means nothing.
    """
    groups = ("variant", "scale", "corpus") if several else ("variant",)
    charts = _charts(view, groups)
    sections = dict.fromkeys(chart["metricSectionId"] for chart in charts)
    columns = dict.fromkeys([*groups, "seed", "kind"])
    state = {
        "searchFilter": view.runs,
        "orderByKey": "attributes.start_time" if view.grouped else "tags.`variant`",
        "orderByAsc": not view.grouped,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*(f"tags.`{tag}`" for tag in columns), *(f"metrics.`{key}`" for key in view.bars)],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [
            {"uuid": f"chart{i}", "runsCountToCompare": 100, **_COMMON, **chart} for i, chart in enumerate(charts)
        ],
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": True, **_COMMON} for name in sections
        ],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": tag} for tag in groups],
        }
        if view.grouped
        else None,
        "groupsExpanded": {},
        "globalLineChartConfig": _AXIS,
    }
    packed = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), level=9)
    return f"deflate;{base64.b64encode(packed).decode()}"


def _charts(view: View, groups: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the charts of a view in their order."""
    charts: list[dict[str, Any]] = [
        {"type": "BAR", "metricKey": key, "metricSectionId": "Scores", "displayName": key.rpartition("/")[2]}
        for key in view.bars
    ]
    if view.baseline:
        charts.append(
            {
                "type": "DIFFERENCE",
                "metricSectionId": "Differences",
                "chartName": f"Differences from {view.baseline}",
                "displayName": f"Differences from {view.baseline}",
                "compareGroups": ["Model metrics"],
                "showChangeFromBaseline": True,
                "showDifferencesOnly": True,
                # Of a group by one tag; else the page takes the first that it has.
                "baselineColumnUuid": f"tag.variant.{view.baseline}" if len(groups) == 1 else "",
            }
        )
    charts += [_line(keys, logarithmic=keys[0] in view.logarithmic) for keys in view.curves]
    if view.images:
        charts.append(
            {
                "type": "IMAGE",
                "metricSectionId": "Samples",
                "imageKeys": [ROLL],
                "step": 0,
                "showRunParams": False,
            }
        )
    return charts


def _line(keys: tuple[str, ...], *, logarithmic: bool) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricSectionId": "Curves",
        "xAxisScaleType": "linear",
        "scaleType": "log" if logarithmic else "linear",
        "range": {},
        **_AXIS,
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        "metricKey": keys[0],
        "selectedMetricKeys": list(keys),
        "displayName": " and ".join(keys),
    }

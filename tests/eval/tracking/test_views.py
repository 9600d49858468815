"""Views of the runs in MLflow: the state that its browser code reads, and the filters that its server takes."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from eval.tracking.notes import experiment_note
from eval.tracking.store import open_store
from eval.tracking.views import VIEWS, View, address, packed

if TYPE_CHECKING:
    from pathlib import Path

TAG = 5000  # characters that MLflow takes


def state(view: View, *, several: bool = False) -> dict[str, Any]:
    prefix, _, content = packed(view, several=several).partition(";")
    assert prefix == "deflate"
    return dict(json.loads(zlib.decompress(base64.b64decode(content))))


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.key)
def test_a_view_fits_into_a_tag_and_its_titles_into_their_charts(view: View) -> None:
    assert len(packed(view, several=True)) < TAG - 200  # of its name and dates
    charts = state(view)["compareRunCharts"]
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    sections = {section["uuid"] for section in state(view)["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in charts} == sections
    for key in view.bars:
        section, _, name = key.partition("/")
        assert section
        assert 0 < len(name) <= 20


def test_seeds_are_averaged_within_a_comparison_only() -> None:
    keys = {
        several: [key["groupByData"] for key in state(VIEWS[0], several=several)["groupBy"]["groupByKeys"]]
        for several in (False, True)
    }
    assert keys == {False: ["variant"], True: ["variant", "scale", "corpus"]}
    ungrouped = next(view for view in VIEWS if not view.grouped)
    assert state(ungrouped)["groupBy"] is None
    assert [chart["imageKeys"] for chart in state(ungrouped)["compareRunCharts"] if chart["type"] == "IMAGE"]


def test_mlflow_understands_every_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = open_store(tmp_path)
    client = store._connect()
    for name, tags, params in (
        ("e2e", {"kind": "trial", "corpus": "bach"}, {"model.type": "Diffusion", "model.backbone": "None"}),
        ("ngram", {"kind": "trial", "corpus": "bach"}, {"model.type": "NGram"}),
        ("jitter", {"kind": "control", "corpus": "bach"}, {}),
        ("e2e-d8-s1", {"kind": "tuning", "corpus": "bach"}, {"model.type": "Diffusion", "model.backbone": "None"}),
        ("recipe", {"kind": "audit", "corpus": "bach"}, {}),
        ("real music", {"kind": "reference", "corpus": "bach"}, {}),
        ("paper: BERT-base", {"kind": "reference"}, {}),
    ):
        run = client.create_run(store._experiment, run_name=name, tags=tags)
        for key, value in ({"encoding": "paper"} | params).items():
            client.log_param(run.info.run_id, key, value)
    shown = {
        view.key: {run.info.run_name for run in client.search_runs([store._experiment], view.runs)} for view in VIEWS
    }
    assert shown == {
        "by-variant": {"e2e", "ngram", "real music"},
        "all-trials": {"e2e", "ngram"},
        "ablation": {"e2e"},
        "likelihood": {"e2e", "ngram", "recipe", "real music", "paper: BERT-base"},
        "controls": {"jitter", "real music"},
    }


def test_the_note_of_the_experiment_links_to_every_view() -> None:
    note = experiment_note("7")
    for view in VIEWS:
        assert f"[{view.name}]({address('7', view)})" in note
        assert f"#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey={view.key}&" in note

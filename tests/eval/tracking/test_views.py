"""The saved view of the runs in MLflow: the state that its browser code reads, and the filter that its server takes."""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from eval.metrics.muspy_values import RAW
from eval.metrics.table import METRICS
from eval.scoring.measures import MEASURES
from eval.tracking.notes import experiment_note
from eval.tracking.store import open_store
from eval.tracking.summary import FLOORS, MEAN, MUSPY, OWN_UNIT, UNDEFINED, UNITS, title
from eval.tracking.views import CURVES, FILTER, NAME, SCORES, TAG, address, view_tag
from replication.midi.piece import Beats, Seconds

if TYPE_CHECKING:
    from pathlib import Path

    from replication.midi.piece import TimeGrid

LONGEST_TAG = 5000  # characters that MLflow accepts
TITLE = 11  # letters of a chart's title that are readable at three charts a row
NARROW = 12  # letters of a name that are readable in MLflow's own charts beside its assistant


def state(*, several: bool = False) -> dict[str, Any]:
    packed = json.loads(view_tag({}, several=several)[TAG])["state"]
    prefix, _, content = packed.partition(";")
    assert prefix == "deflate"
    return dict(json.loads(zlib.decompress(base64.b64decode(content))))


@pytest.mark.parametrize("several", [False, True])
def test_the_view_fits_into_a_tag_and_is_saved_once(several: bool) -> None:
    tags = view_tag({}, several=several)
    assert len(tags[TAG]) < LONGEST_TAG
    assert view_tag(tags, several=several) == {}
    assert view_tag(tags, several=not several).keys() == {TAG}


def test_every_chart_has_a_section_of_the_view() -> None:
    charts = state()["compareRunCharts"]
    assert [chart["metricKey"] for chart in charts] == [*SCORES, *CURVES]
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    sections = {section["uuid"] for section in state()["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in charts} == sections


def test_the_first_letters_of_a_title_tell_the_charts_apart() -> None:
    keys = [chart["metricKey"] for chart in state()["compareRunCharts"]]
    assert len({key[:TITLE] for key in keys}) == len(keys)
    for key in keys:
        assert 0 < len(key) <= TITLE + 3


@pytest.mark.parametrize("grid", [Beats(steps_per_beat=8), Seconds(steps_per_second=100.0)], ids=["beats", "seconds"])
def test_the_first_letters_of_a_name_tell_all_numbers_of_a_trial_apart(grid: TimeGrid) -> None:
    metrics = [name for name, metric in METRICS.items() if metric.admits(grid)]
    terms = [*("prior", "diffusion", "rounding", "plain", "plain_se", "power", "variance")]
    terms += ["error_of_estimate", "error_over_songs"]
    sections = {MEAN: metrics, UNDEFINED: metrics, FLOORS: [*metrics, *MEASURES], OWN_UNIT: MEASURES, MUSPY: RAW}
    names = [title(section, name) for section, row in {**sections, "nll": terms}.items() for name in row]
    names += [*UNITS.values(), "distance", "classifier_auc", "validity", "teacher_gap", "entropy_gap", *CURVES]
    assert [name for name, times in Counter(name[:NARROW] for name in names).items() if times > 1] == []
    assert title(MEAN, "pitch_class_entropy_4bar")[:NARROW] == "avg/pc4_entr"
    assert title(FLOORS, "grooving_similarity")[:NARROW] == "x/grooving_s"


def test_seeds_are_averaged_within_a_comparison_only() -> None:
    keys = {
        several: [key["groupByData"] for key in state(several=several)["groupBy"]["groupByKeys"]]
        for several in (False, True)
    }
    assert keys == {False: ["variant"], True: ["variant", "scale", "corpus"]}


def test_mlflow_understands_the_filter(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path)
    store = open_store(tmp_path)
    client = store._connect()
    for name, tags in {
        "e2e": {"kind": "trial", "corpus": "bach"},
        "ngram": {"kind": "trial", "corpus": "bach"},
        "jitter": {"kind": "control", "corpus": "bach"},
        "e2e-d8-s1": {"kind": "tuning", "corpus": "bach"},
        "teacher": {"kind": "teacher", "corpus": "bach"},
        "real music": {"kind": "reference", "corpus": "bach"},
        "paper: BERT-base": {"kind": "reference"},
    }.items():
        client.create_run(store.experiment, run_name=name, tags=tags)
    shown = {run.info.run_name for run in client.search_runs([store.experiment], FILTER)}
    assert shown == {"e2e", "ngram", "real music"}


def test_the_note_of_the_experiment_links_to_the_view() -> None:
    note = experiment_note("7")
    assert f"[{NAME}]({address('7')})" in note
    assert "#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=by-variant&" in note

"""What MLflow shows of a real comparison, and the report that is made of what it shows."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from browser import chromium, opened
from tracked import frames

from eval import ui
from eval.claims import PUBLISHED
from eval.fetch import fetch
from eval.preliminaries import tuning_folder
from eval.references import REAL, level
from eval.results import gather
from eval.results_file import write_results
from eval.sampling import FOUND, _paths
from eval.tracking import Store, open_store
from replication.errors import UserError
from replication.files import sha256, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from eval.suite import Plan


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def places(plan: Plan) -> list[Path]:
    return [plan.comparison, tuning_folder(plan.comparison)]


def results(comparison: Path, folder: Path) -> dict[str, bytes]:
    write_results(gather(comparison), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_real_music_and_the_paper_are_there_once_however_often_they_are_shown(shown: Plan) -> None:
    before = frames(shown.root)
    assert level(open_store(shown.root), places(shown)) == 3
    after = frames(shown.root)
    assert sorted(after["run_id"]) == sorted(before["run_id"])
    found = after[after["tags.kind"] == "reference"].set_index("name")
    assert set(found.index) == {REAL, *(f"paper: {model}" for model in PUBLISHED)}
    assert found.loc["paper: BERT-base", "metrics.paper/bits_per_word"] == 0.00007
    assert found.filter(like="metrics.").loc["paper: ELECTRA"].notna().sum() == 1
    real = found.loc[REAL]
    assert real["metrics.eval/floor_ratio"] == real["metrics.panel_floors/wasserstein"] == 1
    assert real["metrics.eval/validity"] == 1
    assert real["metrics.metrics/notes"] > 0
    assert 0 < real["metrics.panel/c2st"] < 1


def test_a_report_of_what_mlflow_carries_is_the_same(shown: Plan, tmp_path: Path) -> None:
    there = fetch(Store(shown.root), scale="smoke", corpus="synthetic", root=tmp_path / "fetched")
    assert not list(there.rglob("*.safetensors"))
    assert gather(there).grid["chosen"].tolist() == [True]
    assert results(there, tmp_path / "there") == results(shown.comparison, tmp_path / "here")


def test_a_study_after_the_last_sync_arrives(shown: Plan, tmp_path: Path) -> None:
    trial = next(trial for trial in shown.trials if trial.experiment.name == "e2e")
    data = str(trial.about()["config"]["data"])
    paths = _paths(trial.folder, sha256(trial.weights), data, trial.scale.timesteps, trial.scale.samples)
    write_json(paths["ddim", 10], dict.fromkeys(FOUND, 1.0) | {"sampler": "ddim", "evaluations": 10})
    level(open_store(shown.root), places(shown))
    there = fetch(Store(shown.root), scale="smoke", corpus="synthetic", root=tmp_path / "fetched")
    assert gather(there).samplers["sampler"].tolist() == ["ddim"]


def test_what_is_not_there_is_said_in_a_sentence(shown: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no whole comparison of scale cpu on bach \(there: smoke on synthetic\)"):
        fetch(Store(shown.root), scale="cpu", corpus="bach", root=tmp_path)
    with pytest.raises(UserError, match=r"\(there: none\)"):
        fetch(Store(tmp_path), scale="cpu", corpus="bach", root=tmp_path)
    assert not list(tmp_path.iterdir())  # asking makes no store


@pytest.mark.slow
def test_the_page_has_a_bar_for_every_variant_and_plays_its_samples(shown: Plan) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    first = next(one for one in Store(shown.root).runs() if one.info.run_name == "e2e-s0")
    with ui.server(shown.root) as (_, address), chromium() as browser:
        with opened(browser, address) as watched:
            page = watched.page
            for name in ("e2e", "ngram", REAL):
                expect(page.get_by_title(name, exact=True)).to_have_text(f"Group: {name}")
            chart = page.locator(".js-plotly-plot").first
            expect(chart.locator(".bars .point")).to_have_count(3)
            assert {urlsplit(one).hostname for one in watched.requests} <= {"127.0.0.1", None}  # None for data:
        with opened(
            browser, f"{address.partition('runs?')[0]}runs/{first.info.run_id}/artifacts/samples.html"
        ) as watched:
            frame = watched.page.frame_locator("iframe")
            roll = frame.locator(".roll").first
            roll.click()
            expect(roll).to_have_attribute("aria-pressed", "true")
            expect(frame.locator(".playing")).to_have_text("Playing sample 0")
            expect(frame.locator(".now").first).to_have_attribute("d", re.compile(r"^M[1-9]"))  # it has moved on


def test_a_run_that_is_called_like_another_folder_is_refused(shown: Plan, tmp_path: Path) -> None:
    shutil.copytree(shown.root, tmp_path / "copy")
    store = open_store(tmp_path / "copy")
    one = next(one for one in store.runs() if one.data.tags["variant"] == "ngram")
    store._connect().set_tag(one.info.run_id, "variant", "../../../elsewhere")
    with pytest.raises(UserError, match="no names of folders"):
        fetch(Store(store.root), scale="smoke", corpus="synthetic", root=tmp_path / "fetched")
    assert not (tmp_path / "elsewhere").exists()

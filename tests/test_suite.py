"""One test over every row: what a new experiment, scale or corpus gets for its one line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from shrunk import shrunk

from eval import stages, suite
from eval.results import gather
from eval.tracking import frames, open_store
from replication.errors import UserError
from replication.scales import SCALES

if TYPE_CHECKING:
    from pathlib import Path

    from eval.suite import Plan


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Every experiment with two seeds, run once on real parts."""
    plan = suite.plan(scale="smoke", root=tmp_path_factory.mktemp("suite"))
    assert suite.run(plan, open_store(plan.root)) == []
    return plan


@pytest.mark.parametrize("name", suite.EXPERIMENTS)
def test_every_experiment_leaves_a_whole_folder(name: str, finished: Plan) -> None:
    for seed in range(2):
        folder = finished.comparison / name / str(seed)
        about = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
        assert (about["experiment"], about["seed"], about["status"]) == (name, seed, "FINISHED")
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        assert 0 <= scores["eval/validity"] <= 1
        assert scores["nll/nats_per_token"] > 0
        assert len(pd.read_parquet(folder / "scores.parquet")) == finished.scale.samples
        assert len((folder / "samples.txt").read_text(encoding="utf-8").splitlines()) == finished.scale.samples
        assert len(list((folder / "midi").glob("*.mid"))) == stages.MIDI_FILES
        assert (folder / "roll.png").read_bytes().startswith(b"\x89PNG")


def test_the_numbers_are_those_of_the_samples(finished: Plan) -> None:
    folder = finished.comparison / "replay" / "0"
    distances = pd.read_parquet(folder / "distances.parquet").set_index("metric")
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert scores["eval/validity"] == 1
    assert scores["eval/floor_ratio"] == distances.loc["mean", "ratio"]
    unigram = json.loads((finished.comparison / "unigram" / "0" / "scores.json").read_text(encoding="utf-8"))
    assert scores["eval/floor_ratio"] < unigram["eval/floor_ratio"]


def test_running_again_does_nothing(finished: Plan) -> None:
    files = {path: path.stat().st_mtime_ns for path in finished.comparison.rglob("*") if path.is_file()}
    assert suite.run(finished, open_store(finished.root)) == []
    changed = {path for path, time in files.items() if path.stat().st_mtime_ns != time}
    assert changed <= {finished.comparison / "data.json"}


def test_mlflow_shows_every_trial_once(finished: Plan) -> None:
    runs = frames(finished.root)
    assert len(runs) == 2 * len(suite.EXPERIMENTS)
    assert set(runs["tags.variant"]) == set(suite.EXPERIMENTS)
    for name, seed, value in zip(
        runs["tags.variant"], runs["tags.seed"], runs["metrics.eval/floor_ratio"], strict=True
    ):
        scores = json.loads((finished.comparison / name / seed / "scores.json").read_text(encoding="utf-8"))
        assert value == pytest.approx(scores["eval/floor_ratio"], nan_ok=True)


def test_results_are_gathered_from_the_folders(finished: Plan) -> None:
    results = gather(finished.comparison)
    assert results.experiments["name"].tolist() == list(suite.EXPERIMENTS)
    assert len(results.trials) == 2 * len(suite.EXPERIMENTS)
    assert set(results.scores["experiment"]) == {"test", *suite.EXPERIMENTS}
    assert set(results.curves["experiment"]) == {"e2e", "gaussian", "pretrained", "pretrained-ar", "autoregressive"}
    assert set(results.embeddings["experiment"]) == {"e2e", "gaussian", "pretrained", "pretrained-ar"}
    assert set(results.notes["experiment"]) >= {"test", "replay", "ngram"}
    assert results.about["unigram_entropy"] < results.about["ln_vocabulary"]
    assert not np.isnan(results.about["floor_p95"])


def test_a_folder_of_another_configuration_is_refused(finished: Plan) -> None:
    other = replace(finished, scale=shrunk(steps=21))
    with pytest.raises(
        UserError, match=r"was made with another configuration \(scale.budget.steps is 20 there and 21 now"
    ):
        suite.run(other, open_store(finished.root))


def test_a_diverged_trial_is_marked_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from replication.train import DivergedError

    def diverge(bench: stages.Workbench) -> None:
        if bench.trial.experiment.name == "autoregressive":
            raise DivergedError("the loss is nan by step 5")

    for stage in ("sample", "likelihood", "score"):
        monkeypatch.setattr(stages, stage, lambda _: None)
    monkeypatch.setattr(stages, "fit", diverge)
    plan = suite.plan(scale="smoke", only=["pretrained-ar", "e2e"], seeds=1, root=tmp_path)
    assert [trial.name for trial in suite.run(plan, open_store(tmp_path))] == [
        "autoregressive seed 0",
        "pretrained-ar seed 0",
    ]
    error = capsys.readouterr().err
    assert "autoregressive seed 0: failed, the loss is nan by step 5" in error
    assert "pretrained-ar seed 0: skipped, for it needs autoregressive" in error
    status = frames(tmp_path).set_index("tags.variant")["status"].to_dict()
    assert status == {"autoregressive": "FAILED", "e2e": "FINISHED"}


def test_what_an_experiment_needs_comes_first(tmp_path: Path) -> None:
    plan = suite.plan(scale="smoke", only=["pretrained-ar"], root=tmp_path)
    assert [experiment.name for experiment in plan.experiments] == ["autoregressive", "pretrained-ar"]


@pytest.mark.parametrize("name", SCALES)
def test_every_scale_names_what_exists(name: str, tmp_path: Path) -> None:
    plan = suite.plan(scale=name, root=tmp_path)
    assert len({trial.folder for trial in plan.trials}) == len(plan.trials) == plan.scale.seeds * len(plan.experiments)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"scale": "huge"}, "unknown scale 'huge'; choose auto or one of smoke, cpu, gpu, paper"),
        ({"scale": "smoke", "only": ["gan"]}, "unknown experiment 'gan'; choose from e2e, gaussian"),
        ({"scale": "smoke", "corpus": "lute"}, "unknown corpus 'lute': neither one of bach, synthetic nor a folder"),
        ({"scale": "smoke", "seeds": 0}, "--seeds 0: at least one seed is needed"),
    ],
)
def test_words_that_mean_nothing_are_named(words: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        suite.plan(**words, root=tmp_path)  # type: ignore[arg-type]  # made of the table above

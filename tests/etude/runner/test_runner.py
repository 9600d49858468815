"""Tests over all rows: a new experiment, scale or corpus is tested by adding its row."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from baselines import BASELINES, TEACHER, AutoregressiveConfig
from etude.cli.verify import verify
from etude.runner import scheduler
from etude.runner.executors import ProcessExecutor
from etude.runner.plan import find_corpus, make_plan, prepare
from etude.trial import stages
from etude.trial.scoring import MIDI_FILES
from etude.trial.workbench import Workbench
from eval.claims.claims import CLAIMS
from eval.claims.judgement import verdicts_on
from eval.claims.number import COUNTERFACTUAL
from eval.metrics import table as metrics
from eval.results.frames import gather
from eval.scoring.controls import FromTest
from eval.scoring.experiments import EXPERIMENTS
from eval.scoring.likelihood import FAMILY
from eval.scoring.measures import MEASURES, SECOND_SAMPLER
from eval.scoring.reference import SHOWN, reference_file
from eval.tracking.logger import Tracker
from eval.tracking.summary import summary
from replication.corpora.reading import load
from replication.corpora.sources import Synthetic
from replication.midi.piece import PAPER_GRID, Seconds
from replication.midi.smf import Reading, write_midi
from replication.models.ablations import ABLATIONS
from replication.models.bound import Interpolated
from replication.tokens.encodings import ENCODINGS
from replication.training.scales import SCALES
from replication.util.errors import UserError
from replication.util.files import read_json, write_json
from tests.support.small_scales import small_scale
from tests.support.tracking_stores import runs_table

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan
    from etude.trial.trial import Trial


MODELS = {name: row for name, row in EXPERIMENTS.items() if not isinstance(row.model, FromTest)}


def run(plan: Plan, *, workers: int = 2) -> list[Trial]:
    place = ProcessExecutor(workers=workers)
    with Tracker(plan.root) as tracker:
        return scheduler.run(plan.trials, prepare(plan), plan.corpus.reading.grid, tracker, executor=place)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Every experiment in every encoding with two seeds, or its own, run once on real parts."""
    plan = make_plan(scale="smoke", only=tuple(EXPERIMENTS), root=tmp_path_factory.mktemp("suite"))
    teacher = replace(plan, experiments=(TEACHER,))
    assert run(teacher) == run(plan) == []
    return plan


def seeds_of(name: str) -> tuple[int, ...]:
    return EXPERIMENTS[name].seeds_at(small_scale())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_scored(name: str, finished: Plan) -> None:
    for seed in seeds_of(name):
        folder = finished.comparison / name / str(seed)
        scores = read_json(folder / "scores.json")
        measures = scores["measures"]
        about = read_json(folder / "trial.json")
        diffusion = about["kind"] == "trial" and about["config"]["model"]["type"] == "Diffusion"
        assert set(measures) == set(MEASURES) - (set() if diffusion else {SECOND_SAMPLER})
        assert measures["distance"]["ratio"] >= 1
        assert all(row["n"] <= finished.scale.samples for row in measures.values())
        judged = name != TEACHER.name and EXPERIMENTS[name].encoding == TEACHER.encoding
        assert (measures["teacher_ruled_out"]["value"] is not None) == judged
        assert len(pd.read_parquet(folder / "notes.parquet")["sample"].unique()) <= SHOWN
        assert (folder / "pairs.parquet").exists() == (about["kind"] == "trial")
        assert (folder / "jackknife.parquet").exists() == (about["kind"] == "trial")
        assert (folder / "trajectory.parquet").exists() == diffusion
        assert (folder / "trajectory-notes.parquet").exists() == diffusion
        copied = pd.read_parquet(folder / "scores.parquet")["copied"].dropna()
        assert copied.between(0, 1).all()
        assert pd.read_parquet(folder / "form.parquet")["value"].between(0, 1).all()
        assert len(list((folder / "midi").glob("*.mid"))) == MIDI_FILES
        assert (folder / "roll.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "samples.html").stat().st_size < 150_000


@pytest.mark.parametrize("name", MODELS)
def test_every_model_leaves_a_complete_folder(name: str, finished: Plan) -> None:
    for seed in seeds_of(name):
        folder = finished.comparison / name / str(seed)
        about = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
        assert (about["experiment"], about["seed"], about["status"]) == (name, seed, "FINISHED")
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        assert 0 <= scores["validity"] <= 1
        assert read_json(folder / "likelihood.json")["nats_per_token"] > 0
        assert len(pd.read_parquet(folder / "scores.parquet")) == finished.scale.samples
        assert len((folder / "samples.txt").read_text(encoding="utf-8").splitlines()) == finished.scale.samples


@pytest.mark.parametrize("name", MODELS)
def test_likelihoods_are_per_token_per_note_and_per_beat(name: str, finished: Plan) -> None:
    folder = finished.comparison / name / str(seeds_of(name)[0])
    nll, shown = read_json(folder / "likelihood.json"), summary(folder, read_json(folder / "scores.json"))
    nats = nll["nats_per_token"] * nll["tokens"]
    assert nll["nats_per_note"] * nll["notes"] == pytest.approx(nats)
    assert nll["nats_per_beat"] * nll["beats"] == pytest.approx(nats)
    assert (nll["seconds"], nll["nats_per_second"]) == (None, None)
    assert sum(nll["terms"].values()) == pytest.approx(nll["nats_per_token"])
    assert shown["nll"] == nll["nats_per_token"]
    # Embeddings alone have a bound of their own, without an estimator of a denoiser.
    assert (nll["estimator"] is None) == (nll["plain"] is None) == (nll["exact"] or name == COUNTERFACTUAL)
    if nll["estimator"] is not None:
        assert sum(nll["plain"]["terms"].values()) == pytest.approx(nll["plain"]["nats_per_token"])
        assert shown["nll/plain"] == nll["plain"]["nats_per_token"]
        assert Interpolated(power=shown["nll/power"], variance=shown["nll/variance"]) in FAMILY
    assert (shown["nll_per_note"], shown["nll_per_beat"]) == (nll["nats_per_note"], nll["nats_per_beat"])
    assert "nll_per_second" not in shown
    real = pd.read_parquet(reference_file(finished.comparison, windows_of(finished, name), "scores.parquet"))
    assert nll["notes"] == real["notes"].sum()  # all test windows are measured, as there are less than 256


def windows_of(plan: Plan, name: str) -> str:
    """Return the digest of the windows of an experiment."""
    return str(read_json(plan.comparison / name / str(seeds_of(name)[0]) / "trial.json")["dataset"]["digest"])


def test_experiments_in_different_encodings_share_one_comparison(finished: Plan) -> None:
    data = read_json(finished.comparison / "data.json")
    assert set(data["encodings"]) == {"paper", "triples", "remi"}
    assert data["grid"] == {"type": "Beats", "steps_per_beat": 8}
    assert len({facts["digest"] for facts in data["encodings"].values()}) == 3
    for name, facts in data["encodings"].items():
        assert facts["vocabulary"] == len(ENCODINGS[name].vocabulary)
        assert facts["songs"] == {"train": 30, "validation": 2, "test": 8}
        assert facts["unigram_entropy"] < facts["ln_vocabulary"]
    used = [name for name, row in EXPERIMENTS.items() if row.encoding == "triples"]
    for name in used:
        assert windows_of(finished, name) == data["encodings"]["triples"]["digest"]
    assert used == ["e2e-triples", "autoregressive-triples"]


def test_windows_are_memory_mapped(finished: Plan) -> None:
    datasets = prepare(finished)
    for trial in finished.trials[: len(finished.experiments)]:
        dataset = datasets[trial.experiment.encoding]
        bench = Workbench(trial=trial, dataset=dataset, grid=PAPER_GRID, device=torch.device("cpu"))
        for name, windows in dataset.splits.items():
            assert isinstance(windows.tokens, np.memmap)
            assert bench.tokens(name).dtype == torch.int16
            assert bench.tokens(name).data_ptr() == windows.tokens.ctypes.data


def test_workers_do_not_read_the_corpus_and_use_its_time_grid(tmp_path: Path) -> None:
    for piece in load(find_corpus("synthetic"), tmp_path).pieces:
        write_midi(piece, tmp_path / "music" / f"{piece.id}.mid")
    plan = make_plan(scale="smoke", corpus=str(tmp_path / "music"), only=["unigram"], seeds=1, root=tmp_path)
    played = replace(plan, corpus=replace(plan.corpus, reading=Reading(grid=Seconds(steps_per_second=16))))
    datasets = prepare(played)
    shutil.rmtree(tmp_path / "music")
    place = ProcessExecutor(workers=1)
    assert scheduler.run(played.trials, datasets, played.corpus.reading.grid, Tracker(tmp_path), executor=place) == []
    results = gather(played.comparison)
    assert results.about["unit"] == "second"
    (trial,) = results.trials.to_dict("records")
    assert trial["nll_second"] > 0
    assert np.isnan(trial["nll_beat"])


def test_scores_are_those_of_the_samples(finished: Plan) -> None:
    folder = finished.comparison / "replay" / "0"
    scores = read_json(folder / "scores.json")
    assert scores["validity"] == 1
    unigram = read_json(finished.comparison / "unigram" / "0" / "scores.json")
    assert scores["measures"]["distance"]["ratio"] < unigram["measures"]["distance"]["ratio"]


def test_running_again_changes_nothing(finished: Plan) -> None:
    files = {path: path.stat().st_mtime_ns for path in finished.comparison.rglob("*") if path.is_file()}
    assert run(finished) == []
    changed = {path for path, time in files.items() if path.stat().st_mtime_ns != time}
    assert changed <= {finished.comparison / name for name in ("data.json", "card.json")}


def test_mlflow_shows_every_trial_once(finished: Plan) -> None:
    runs = runs_table(finished.root)
    assert len(runs) == len(finished.trials)
    assert set(runs["tags.variant"]) == set(EXPERIMENTS)
    for name, seed, value in zip(runs["tags.variant"], runs["tags.seed"], runs["metrics.distance"], strict=True):
        scores = json.loads((finished.comparison / name / seed / "scores.json").read_text(encoding="utf-8"))
        assert value == pytest.approx(scores["measures"]["distance"]["ratio"], nan_ok=True)


def test_the_smoke_scale_reproduces_the_published_results(finished: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(scale="smoke", root=finished.root) == 0
    printed = capsys.readouterr().out
    assert "in encoding remi" not in printed  # the reference has one encoding; other numbers are not compared
    assert printed.endswith("The results agree with the reference.\n")


def test_results_are_gathered_from_the_folders(finished: Plan) -> None:
    results = gather(finished.comparison)
    rows = [name for name in EXPERIMENTS if name != TEACHER.name]  # not part of the comparison
    assert results.experiments["name"].tolist() == rows
    assert len(results.trials) == sum(len(seeds_of(name)) for name in rows)
    assert set(results.scores["experiment"]) == {"test", *rows}
    diffusions = {row.name for row in ABLATIONS}
    causal = {row.name for row in BASELINES if isinstance(row.model, AutoregressiveConfig)}
    trained = {*diffusions, *causal, COUNTERFACTUAL}
    assert set(results.curves["experiment"]) == trained
    assert set(results.embeddings["experiment"]) == {
        row.name for row in ABLATIONS if row.embeddings and row.kind == "trial"
    }
    assert set(results.curves[results.curves["key"] == "val/best_step"]["experiment"]) == {"autoregressive-best"}
    costs = results.trials.set_index("experiment")[["tokens_seen", "flop"]]
    assert set(costs.dropna().index) == trained
    budget = finished.scale.budget
    assert set(costs["tokens_seen"].dropna()) == {budget.steps * budget.batch * finished.scale.length}
    assert costs.loc["e2e-small", "flop"].max() < costs.loc["e2e", "flop"].min()
    folder = finished.comparison / "e2e" / "0"
    shown = summary(folder, read_json(folder / "scores.json"))
    assert [shown[f"cost/{name}"] for name in costs] == costs.loc["e2e"].iloc[0].tolist()
    audited = {name for name in diffusions if EXPERIMENTS[name].encoding == "paper"} | {COUNTERFACTUAL}
    assert set(results.audits["experiment"]) == audited
    assert set(results.audits["age"]) == {12, 24, 60}
    assert results.audits[["bits_per_word", "nll", "nll_error"]].notna().all(axis=None)
    assert len(results.audits) == 3 * sum(len(seeds_of(name)) for name in audited)
    assert set(results.measures["experiment"]) == set(results.raw["experiment"]) == set(rows)
    assert results.raw["real"].notna().any()
    assert [verdict.name for verdict in verdicts_on(results)] == [claim.name for claim in CLAIMS]
    assert results.grid.empty
    for _, table in results.embeddings.groupby(["experiment", "seed"]):
        pitches = table["pitch"].dropna()
        assert len(pitches) == pitches.nunique() > 20  # the pitches of the corpus
        assert pitches.between(36, 96).all()
    assert set(results.notes["experiment"]) >= {"test", "replay", "ngram"}
    assert results.encodings["name"].tolist() == ["paper", "triples", "remi"]
    assert results.encodings["floor_p95"].notna().all()
    real = results.scores[results.scores["experiment"] == "test"]
    assert real["encoding"].value_counts().to_dict() == results.encodings.set_index("name")["test"].to_dict()
    encodings = results.experiments.set_index("name")["encoding"].to_dict()
    assert encodings == {name: EXPERIMENTS[name].encoding for name in rows}
    assert (
        results.scores.query("experiment != 'test'")["experiment"].map(encodings)
        == results.scores["encoding"][len(real) :]
    ).all()
    models = [name for name in rows if name in MODELS]
    assert results.trials.set_index("experiment").loc[models, "nll_note"].notna().all()
    assert results.trials.query("experiment == 'e2e' and seed == 0")["nll_every"].notna().all()
    assert f"--seeds 2 --only {' '.join(rows)}" in results.about["command"]


def test_a_folder_of_another_configuration_is_refused(finished: Plan) -> None:
    other = replace(finished, scale=replace(small_scale(steps=61), experiments=finished.scale.experiments))
    with pytest.raises(
        UserError, match=r"was made with another configuration or code \(scale.budget.steps is 60 there and 61 now"
    ):
        run(other)


def test_other_data_of_the_same_name_are_refused(finished: Plan) -> None:
    grown = replace(finished, corpus=replace(finished.corpus, source=Synthetic(count=50, seed=0)))
    with pytest.raises(UserError, match="holds trials of other data named synthetic"):
        prepare(grown)
    assert set(gather(finished.comparison).experiments["name"]) < set(EXPERIMENTS)


def test_mixed_budgets_are_refused(finished: Plan, tmp_path: Path) -> None:
    comparison = tmp_path / "comparison"
    shutil.copytree(finished.comparison, comparison)
    path = comparison / "ngram" / "1" / "trial.json"
    about = read_json(path)
    about["config"]["scale"]["budget"]["steps"] += 1
    write_json(path, about)
    with pytest.raises(UserError, match="mixes configurations: ngram seed 1 was made with another corpus or budget"):
        gather(comparison)
    about["config"]["edition"] -= 1
    write_json(path, about)
    with pytest.raises(UserError, match="was made by another version of Etude"):
        gather(comparison)


def test_seeds_of_another_source_are_not_averaged(finished: Plan, tmp_path: Path) -> None:
    comparison = tmp_path / "comparison"
    shutil.copytree(finished.comparison, comparison)
    path = comparison / "ngram" / "1" / "trial.json"
    about = read_json(path)
    about["config"]["source"] = "another"
    write_json(path, about)
    with pytest.raises(UserError, match="ngram seed 1 was made with another model or source code than seed 0"):
        gather(comparison)


def test_a_damaged_table_is_not_reported(finished: Plan, tmp_path: Path) -> None:
    comparison = tmp_path / "comparison"
    shutil.copytree(finished.comparison, comparison)
    for path in (comparison / "ngram" / "1" / "distances.parquet", next(comparison.glob("reference/*scores.parquet"))):
        whole = path.read_bytes()
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        with pytest.raises(UserError, match=rf"{re.escape(str(path))} does not match its checksum"):
            gather(comparison)
        path.write_bytes(whole)


def test_a_new_metric_means_new_scores(finished: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = tmp_path / "runs" / "smoke" / "synthetic"
    shutil.copytree(finished.comparison, comparison)
    plan = replace(finished, root=tmp_path, experiments=(EXPERIMENTS["autoregressive-triples"],))
    twice = metrics.per_piece(lambda piece: 2.0 * len(piece.notes))
    monkeypatch.setitem(metrics.METRICS, "twice", replace(metrics.METRICS["notes"], function=twice))
    dataset = prepare(plan)["triples"]
    trial = plan.trials[0]
    assert not trial.check(dataset)
    stages.SCORE(Workbench(trial=trial, dataset=dataset, grid=PAPER_GRID, device=torch.device("cpu")))
    assert trial.check(dataset)
    table = pd.read_parquet(trial.folder / "scores.parquet")
    assert (table["twice"] == 2 * table["notes"]).all()


def test_a_diverged_trial_is_marked_and_the_others_continue(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(scale="smoke", only=["pretrained-ar", "ngram"], seeds=1, root=tmp_path)
    wild = replace(plan.scale, budget=replace(plan.scale.budget, learning_rate=1e30))
    failed = run(replace(plan, scale=wild))
    assert [trial.name for trial in failed] == ["autoregressive seed 0", "pretrained-ar seed 0"]
    error = capfd.readouterr().err
    assert "autoregressive seed 0: failed, the loss is " in error
    assert "pretrained-ar seed 0: skipped because it needs autoregressive" in error
    status = runs_table(tmp_path).set_index("tags.variant")["status"].to_dict()
    assert status == {"autoregressive": "FAILED", "ngram": "FINISHED"}


def test_a_killed_worker_is_reported_and_its_trial_resumes_later(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(scale="smoke", only=["e2e"], seeds=1, root=tmp_path)
    longer = replace(plan, scale=replace(plan.scale, budget=replace(plan.scale.budget, steps=150)))
    (trial,) = longer.trials

    def kill() -> None:
        checkpoint = trial.weights.parent / "last.safetensors"
        while not checkpoint.exists():
            time.sleep(0.01)
        workers = [child for child in psutil.Process().children(recursive=True) if not child.children()]
        for worker in workers:
            if "forkserver" in " ".join(worker.cmdline()):
                worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    assert run(longer, workers=1) == [trial]
    killer.join()
    assert "e2e seed 0: failed, its process was killed, which happens when memory runs out" in capfd.readouterr().err
    assert run(longer, workers=1) == []
    assert trial.is_done()


def test_experiments_come_after_those_that_they_need(tmp_path: Path) -> None:
    plan = make_plan(scale="smoke", only=["pretrained-ar"], root=tmp_path)
    assert [experiment.name for experiment in plan.experiments] == ["autoregressive", "pretrained-ar"]


@pytest.mark.parametrize("name", SCALES)
def test_every_scale_names_existing_experiments(name: str, tmp_path: Path) -> None:
    plan = make_plan(scale=name, root=tmp_path)
    assert len({trial.folder for trial in plan.trials}) == len(plan.trials)
    assert len(plan.trials) == sum(len(row.seeds_at(plan.scale)) for row in plan.experiments)
    assert {row.name for row in EXPERIMENTS.values() if row.kind in {"control", "teacher"}} <= {
        row.name for row in plan.experiments
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"scale": "huge"}, "unknown scale 'huge'; choose auto or one of smoke, cpu, study, gpu, paper"),
        ({"scale": "smoke", "only": ["gan"]}, "unknown experiment 'gan'; choose from e2e, gaussian"),
        ({"scale": "smoke", "corpus": "lute"}, "unknown corpus 'lute': neither one of bach, .* nor a folder"),
        ({"scale": "smoke", "seeds": 0}, "--seeds 0: give a number from 1 to 1,000"),
        ({"scale": "study", "seeds": 901}, "--seeds 901: give a number from 1 to 900"),
    ],
)
def test_unknown_names_are_refused(words: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(**words, root=tmp_path)  # type: ignore[arg-type]  # made of the table above

"""Trials on borrowed machines: moved, killed and out of time, they lose nothing and record where they ran."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from etude.runner import executors
from etude.runner.executors import default_workers
from etude.runner.plan import make_plan, prepare
from etude.runner.scheduler import run
from etude.trial import trial as trials
from eval.results.environment import environment
from eval.tracking.logger import Tracker
from replication.util.deadline import UNFINISHED, TimeUpError, time_limit
from replication.util.errors import UserError
from tests.support.program import ROOT, etude, python
from tests.support.small_trials import without_times

if TYPE_CHECKING:
    from pathlib import Path

    from etude.runner.plan import Plan

LIBRARIES = (
    *("mlflow", "muspy", "symusic", "miditok", "pandas", "scipy", "sklearn", "matplotlib"),
    *("psutil", "rich", "tqdm", "tyro", "pebble", "pooch", "requests", "ray"),
)
WORDS = ("--scale", "smoke", "--seeds", "1", "--only", "e2e", "ngram")


def planned(root: Path, *names: str) -> Plan:
    return make_plan(scale="smoke", only=names, seeds=1, root=root)


@pytest.mark.slow
def test_a_trial_that_is_killed_and_moved_equals_one_that_never_left_home(tmp_path: Path) -> None:
    at_home, abroad, elsewhere = tmp_path / "at-home", tmp_path / "abroad", tmp_path / "elsewhere"
    for folder in (at_home, abroad, elsewhere):
        folder.mkdir()
    # Every interpreter imports it at its start, those of the workers too.
    text = f"import sys; sys.modules.update(dict.fromkeys({LIBRARIES}))\n"
    (elsewhere / "sitecustomize.py").write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(elsewhere), str(ROOT)])

    assert etude("export", "bundle.zip", *WORDS, folder=abroad).returncode == 0
    shutil.move(abroad / "bundle.zip", elsewhere / "bundle.zip")
    killed = subprocess.Popen(
        [sys.executable, "-m", "etude.remote.train", "bundle.zip"], cwd=elsewhere, env=os.environ | {"PYTHONPATH": path}
    )
    trial = elsewhere / "bundle.zip.work" / "runs" / "smoke" / "synthetic" / "e2e" / "0"
    while not (trial / "checkpoint" / "last.safetensors").exists() and killed.poll() is None:
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    short = python("etude.remote.train", "bundle.zip", "--minutes", "0.0001", folder=elsewhere, PYTHONPATH=path)
    assert short.returncode == UNFINISHED, short.stderr
    assert "run the same command again to resume" in short.stdout

    # Import the partial results, then export again.
    assert "taken" in etude("import", str(elsewhere / "bundle.done.zip"), folder=abroad).stdout
    assert etude("export", "second.zip", *WORDS, folder=abroad).returncode == 0
    shutil.move(abroad / "second.zip", elsewhere / "second.zip")
    done = python("etude.remote.train", "second.zip", folder=elsewhere, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "e2e seed 0: " in done.stdout
    assert "are ready to be scored: at home, run `etude import second.done.zip`" in done.stdout
    home = etude("import", str(elsewhere / "second.done.zip"), folder=abroad)
    assert home.returncode == 0, home.stderr

    for folder in (at_home, abroad):
        plan = planned(folder, "e2e", "ngram")
        datasets = prepare(plan)
        both = executors.ProcessExecutor(workers=default_workers())
        assert run(plan.trials, datasets, plan.corpus.reading.grid, Tracker(folder), executor=both) == []
    for ours, theirs in zip(planned(at_home, "e2e", "ngram").trials, plan.trials, strict=True):
        for file in ("checkpoint/model.safetensors", "samples.npz", "samples.txt", "likelihood.json"):
            assert (ours.folder / file).read_bytes() == (theirs.folder / file).read_bytes(), file
        assert without_times(ours.folder / "scores.json") == without_times(theirs.folder / "scores.json")
        assert without_times(ours.folder / "metrics.jsonl") == without_times(theirs.folder / "metrics.jsonl")


def test_a_trial_records_where_it_was_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, "ngram")
    (trial,), dataset = plan.trials, prepare(plan)["paper"]
    here = environment()
    trial.open(dataset)
    trial.open(dataset)
    assert (trial.about()["environment"], trial.about()["moves"]) == (here, [])
    there = here | {"cores": 64, "gpu": "a large one"}
    monkeypatch.setattr(trials, "environment", lambda: there)
    trial.open(dataset)
    trial.open(dataset)
    monkeypatch.undo()
    trial.open(dataset)
    assert trial.about()["environment"] == here
    assert [move["environment"] for move in trial.about()["moves"]] == [there, here]


def test_the_time_limit_interrupts() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeUpError), time_limit(1e-4):
        time.sleep(60)
    with time_limit(None), time_limit(60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before
    with pytest.raises(UserError, match="--minutes 0: give a number above 0"), time_limit(0):
        pass


def test_a_run_that_is_out_of_time_says_how_to_resume(tmp_path: Path) -> None:
    done = etude("run", *WORDS, "--minutes", "0.001", folder=tmp_path)
    assert done.returncode == UNFINISHED, done.stderr
    assert "run the same command again to resume" in done.stderr
    assert "Traceback" not in done.stderr

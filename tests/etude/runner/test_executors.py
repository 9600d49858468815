"""Executors on this machine and the worker; tests/etude/runner/test_ray.py covers the cluster."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from etude.cli.report import write_report
from etude.runner import dry_run, scheduler
from etude.runner.executors import ProcessExecutor, RayExecutor, default_workers, make_executor, threads_per_worker
from etude.runner.worker import Task, work
from eval.results.training_log import TrainingLog
from replication.midi.piece import PAPER_GRID
from replication.util.checkpoint import CHECKPOINT, read_tensors
from replication.util.errors import UserError
from replication.util.files import read_json
from replication.util.locks import lease
from tests.support.program import ROOT, assert_user_error, etude
from tests.support.small_trials import ONE_THREAD, bits, interrupt, planned, run, run_here, task, windows
from tests.support.tracking_stores import runs_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etude.runner.plan import Plan


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = planned(tmp_path_factory.mktemp("here"), "e2e", "ngram")
    run_here(plan)
    return plan


@pytest.mark.slow
def test_worker_processes_give_the_same_bits_as_this_process(reference: Plan, tmp_path: Path) -> None:
    plan = planned(tmp_path, "e2e", "ngram")
    assert threads_per_worker(ONE_THREAD) == 1
    assert run(plan, ProcessExecutor(workers=ONE_THREAD)) == []
    assert bits(plan) == bits(reference)
    assert len(runs_table(tmp_path)) == len({trial.about()["id"] for trial in plan.trials}) == 2


def test_a_finished_trial_is_not_changed(reference: Plan) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.trials[0].folder.rglob("*") if path.name != ".lock"}
    work(task(reference.trials[0], reference.root))
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_damaged_file_ends_the_run_with_a_message(reference: Plan, tmp_path: Path) -> None:
    shutil.copytree(reference.root, tmp_path, dirs_exist_ok=True)
    plan = planned(tmp_path, "e2e", "ngram")
    trial = plan.trials[0]
    trial.weights.write_bytes(b"no weights")
    for name in ("samples.npz", "scores.json"):
        (trial.folder / name).unlink()
    with pytest.raises(UserError, match=r"model\.safetensors does not match its checksum in fit\.sha256"):
        run(plan, ProcessExecutor(workers=ONE_THREAD))
    assert runs_table(tmp_path).query("`tags.variant` == 'e2e'")["status"].tolist() == ["FAILED"]


def test_flipped_bits_and_truncations_are_detected_in_every_file(reference: Plan) -> None:
    trial = reference.trials[0]
    dataset = windows(trial, reference.root)
    random = np.random.default_rng(0)
    files = [path for path in sorted(trial.folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    assert len(files) > 30
    for path in files:
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        # Without its last newline, a text file is still whole.
        for damaged in (bytes(flipped), whole[: random.integers(len(whole) - 1)]):
            path.write_bytes(damaged)
            with suppress(UserError):
                done = trial.check(dataset)  # what a run checks before it skips a trial
                read_tensors(trial.weights.parent / CHECKPOINT)
                read_json(trial.folder / "timing.json")
                assert not done, path  # as without a checksum file: the stage runs again
            path.write_bytes(whole)
    assert trial.check(dataset)


def test_deleted_files_are_made_again_bit_for_bit(reference: Plan, tmp_path: Path) -> None:
    shutil.copytree(reference.root, tmp_path, dirs_exist_ok=True)
    plan = planned(tmp_path, "e2e")
    (trial,) = plan.trials
    lost = ("checkpoint/model.safetensors", "fit.sha256", "samples.npz", "likelihood.json", "distances.parquet")
    before = {name: (trial.folder / name).read_bytes() for name in lost}
    for name in lost:
        (trial.folder / name).unlink()
    assert not trial.check(windows(trial, tmp_path))
    run_here(plan)
    assert before == {name: (trial.folder / name).read_bytes() for name in lost}
    assert trial.check(windows(trial, tmp_path))


def test_every_command_names_the_files_that_a_finished_trial_has_lost(
    reference: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "estimate", lambda trials, *_, **__: [dry_run.Cost(seconds=1.0)] * len(trials))
    monkeypatch.setattr("reports.page.render.make_report", lambda *_: None)  # rendering takes long
    shutil.copytree(reference.root, tmp_path, dirs_exist_ok=True)
    plan = planned(tmp_path, "e2e", "ngram")
    trial, other = plan.trials
    datasets = {trial.experiment.encoding: windows(trial, tmp_path)}
    note = f"note: {trial.folder}: scores.json is missing; a run with the same options creates it again\n"

    def said() -> list[str]:
        """Return what `etude run --dry-run`, `etude report` and `etude run` print."""
        dry_run.show(plan, workers=1)
        texts = [capsys.readouterr().out]
        write_report(plan.comparison, tmp_path / "report")
        texts.append(capsys.readouterr().out)
        done = [scheduler._is_done(each, datasets, None) for each in (trial, other)]
        assert done == [trial.is_done(), True]
        return [*texts, capsys.readouterr().out]

    assert not any("missing" in text for text in said())
    (trial.folder / "scores.json").unlink()
    assert all(text.count("missing") == text.count(note) == 1 for text in said())
    for name in ("samples.npz", "checkpoint/model.safetensors", "likelihood.json"):
        (trial.folder / name).unlink()
    note = "checkpoint/model.safetensors, likelihood.json, samples.npz and 1 more are missing; a run with"
    assert all(note in text for text in said())


def test_a_log_that_is_behind_the_checkpoint_is_an_error(reference: Plan, tmp_path: Path) -> None:
    shutil.copytree(reference.root, tmp_path, dirs_exist_ok=True)
    (trial,) = planned(tmp_path, "e2e").trials
    (trial.folder / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=r"metrics\.jsonl does not reach step 60 of .*: delete both to train again"):
        work(task(trial, tmp_path))


def test_a_folder_of_another_configuration_is_refused_and_not_changed(reference: Plan) -> None:
    trial = replace(reference.trials[0], scale=replace(reference.scale, samples=3))
    before = (trial.folder / "trial.json").read_bytes()
    with pytest.raises(UserError, match="was made with another configuration"):
        work(task(trial, reference.root))
    assert (trial.folder / "trial.json").read_bytes() == before


def test_a_worker_reports_an_error_before_its_trial_exists(tmp_path: Path) -> None:
    (trial,) = planned(tmp_path, "ngram").trials
    missing = Task(trial=trial, windows=tmp_path / "windows", grid=PAPER_GRID, threads=1)
    with (
        ProcessExecutor(workers=1).open() as pool,
        pytest.raises(UserError, match=r"the windows in .* are missing or damaged \(.*\); run the same command again"),
    ):
        pool.start(missing).result()
    assert not trial.exists()


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_worker_and_resumes(tmp_path: Path) -> None:
    plan = planned(tmp_path, "e2e")
    interrupt(plan, "--workers", str(ONE_THREAD))
    assert run(plan, ProcessExecutor(workers=ONE_THREAD)) == []
    assert len(runs_table(tmp_path)) == 1


HOLDER = """
import sys, time
from pathlib import Path
from replication.util.locks import lease
with lease(Path(sys.argv[1]), heartbeat=0.1):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_lock_of_a_dead_worker_is_free_at_once(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    with lease(tmp_path / "lock", patience=1000):
        assert holder.wait() == -signal.SIGKILL


def test_waiting_for_a_lock_does_not_pass_a_living_worker(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", HOLDER, str(tmp_path / "lock")], cwd=ROOT, check=False, timeout=2)
    assert holder.poll() is None


def test_without_waiting_a_held_lock_raises(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), lease(tmp_path / "lock", wait=False):
        pass
    assert holder.poll() is None


def test_a_torn_last_line_of_a_log_is_removed(tmp_path: Path) -> None:
    path, line = tmp_path / "metrics.jsonl", '{"step": 3, "time": 1.0, "train/seconds": 1.5}\n'
    for whole, last in ((line * 2, 3), ("", -1)):
        path.write_text(f'{whole}{{"step": 4, "tra')
        assert TrainingLog(path).last == last
        assert path.read_text() == whole


def test_a_stopped_worker_loses_its_lock_and_exits_when_it_continues(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.send_signal(signal.SIGSTOP)
    with lease(tmp_path / "lock", heartbeat=0.1, patience=0.5):
        assert holder.poll() is None
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(timeout=10) == 1


def test_the_options_of_the_command_line_select_the_executor() -> None:
    assert make_executor("serial", workers=None, address=None) == ProcessExecutor(workers=1)
    assert make_executor("process", workers=None, address=None) == ProcessExecutor(workers=default_workers())
    assert make_executor("process", workers=3, address=None) == ProcessExecutor(workers=3)
    assert make_executor("ray", workers=2, address="head:6379") == RayExecutor(workers=2, address="head:6379")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--workers", "0"), "--workers 0: give a number from 1"),
        (("--engine", "serial", "--workers", "2"), "--engine serial has one"),
        (("--address", "head:6379"), "only --engine ray has an address"),
    ],
)
def test_contradicting_options_are_refused(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    assert_user_error(etude("run", "--scale", "smoke", *words, folder=tmp_path), message)

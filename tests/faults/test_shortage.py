"""Full and read-only disks, and too little memory. full_disk.py runs the whole program on a full disk."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from etude.runner.worker import Task, work
from replication.midi.piece import PAPER_GRID
from replication.util.errors import UserError
from replication.util.files import atomic
from replication.util.system_errors import disk_message, memory_message
from tests.faults.full_disk import BLOCK, ROOM, Disk, disk
from tests.support.program import ROOT, assert_user_error, etude
from tests.support.small_trials import planned, results, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etude.trial.trial import Trial

NOISE = np.random.default_rng(0).integers(0, 256, 10**6, dtype=np.uint8)  # bytes that do not compress
WRITERS: dict[str, Callable[[Path], Any]] = {
    ".bin": lambda path: path.write_bytes(NOISE.tobytes()),
    ".npy": lambda path: np.save(path, NOISE),
    ".npz": lambda path: np.savez_compressed(path, noise=NOISE),
    ".parquet": lambda path: pd.DataFrame({"noise": NOISE}).to_parquet(path),
    ".png": lambda path: Image.fromarray(NOISE.reshape(1000, 1000)).save(path),
    ".safetensors": lambda path: save_file({"noise": torch.from_numpy(NOISE)}, path),
}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    """Yield a disk of 64 kB."""
    with ExitStack() as stack:
        try:
            mounted = stack.enter_context(disk(tmp_path / "disk", 16 * BLOCK))
        except subprocess.CalledProcessError:
            pytest.skip("this user may not mount a disk: run the tests below `unshare --map-root-user --mount`")
        yield mounted


@contextmanager
def limited(kind: int, amount: int) -> Iterator[None]:
    """Set a resource limit of this process for a block."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def refused(path: Path) -> str:
    """Return the message for a file that cannot be written, and check that the old file stays."""
    path.write_bytes(b"before")
    with pytest.raises(OSError, match=path.stem) as caught, atomic(path) as draft:
        WRITERS[path.suffix](draft)
    assert path.read_bytes() == b"before"
    assert [*path.parent.iterdir()] == [path]
    return disk_message(caught.value) or ""


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_full_disk_names_the_file_and_keeps_the_old_one_with_every_library(suffix: str, small: Disk) -> None:
    path = small.path / f"file{suffix}"
    assert refused(path).startswith(f"{path}: No space left on device; free some space and run the same command again")


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_size_limit_names_the_file_and_keeps_the_old_one_with_every_library(suffix: str, tmp_path: Path) -> None:
    with limited(resource.RLIMIT_FSIZE, BLOCK):
        assert refused(path := tmp_path / f"file{suffix}").startswith(f"{path}: ")


def trial_on(folder: Path, tmp_path: Path, **changes: Any) -> tuple[Trial, Task]:  # noqa: ANN401 - of a budget
    """Return a trial whose folder is on a disk, and its task; the windows are elsewhere."""
    (trial,) = planned(tmp_path, "e2e", steps=20).trials
    budget = replace(trial.scale.budget, **changes)
    # So many samples that their file is larger than the room that `_before` leaves for a draft.
    trial = replace(trial, comparison=folder, scale=replace(trial.scale, samples=384, budget=budget))
    return trial, Task(trial=trial, windows=windows(trial, tmp_path).folder, grid=PAPER_GRID, threads=1)


def left(trial: Trial) -> dict[str, str]:
    return {Path(name).name: value for name, value in results(trial.folder, "**/*").items()}


@pytest.mark.slow
def test_a_trial_resumes_after_a_full_disk_and_gives_the_same_bits(small: Disk, tmp_path: Path) -> None:
    undisturbed, task = trial_on(tmp_path / "roomy", tmp_path, checkpoint_every=20)
    work(task)
    expected = left(undisturbed)
    trial, task = trial_on(small.path, tmp_path, checkpoint_every=20)
    for path in ("checkpoint/last.safetensors", "checkpoint/model.safetensors", "samples.npz", "scores.parquet"):
        small.resize(_before(undisturbed.folder / path, undisturbed.comparison))
        with pytest.raises(UserError, match=rf"{path}: No space left on device; free some space and run the same"):
            work(task)
        assert left(trial).items() - {("metrics.jsonl", left(trial).get("metrics.jsonl", ""))} <= expected.items()
    small.resize(ROOM)
    work(task)
    assert left(trial) == expected
    assert trial.is_done()


REWRITTEN = "timing.json"  # written by every stage, so its modification time does not count


def _before(path: Path, folder: Path) -> int:
    """Return the bytes that the files written before a file take."""
    times = {each: each.stat().st_mtime_ns for each in folder.rglob("*") if each.is_file()}
    sizes = [
        -(-each.stat().st_size // BLOCK) for each, time in times.items() if time < times[path] or each.name == REWRITTEN
    ]
    return (sum(sizes) + 2) * BLOCK  # and for a draft of trial.json


def test_a_worker_reports_a_read_only_disk(small: Disk, tmp_path: Path) -> None:
    trial, task = trial_on(small.path, tmp_path)
    small.close()
    with pytest.raises(UserError) as caught:
        work(task)
    assert str(caught.value).startswith(f"{trial.folder.parent}: Read-only file system; allow writing there")


def test_the_program_reports_a_read_only_disk(small: Disk) -> None:
    small.close()
    done = etude("run", "--scale", "smoke", folder=small.path)
    assert_user_error(done, "Read-only file system; allow writing there")
    assert f"etude: {small.path}" in done.stderr


def test_the_program_reports_an_output_that_cannot_be_written() -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "etude", "list"]
        done = subprocess.run(words, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert_user_error(done, "the output: No space left on device; free some space")


@pytest.mark.slow
def test_a_trial_fails_without_memory_and_resumes_with_enough(tmp_path: Path) -> None:
    undisturbed, task = trial_on(tmp_path / "roomy", tmp_path, batch=8192, steps=1)
    work(task)
    trial, task = trial_on(tmp_path / "tight", tmp_path, batch=8192, steps=1)
    with limited(resource.RLIMIT_AS, psutil.Process().memory_info().vms + 10 * 2**20):
        work(task)
    about = trial.about()
    assert about["status"] == "FAILED"
    assert about["error"].startswith("memory ran out: choose fewer --workers or a smaller --scale, and run the same")
    work(task)
    assert trial.is_done()
    assert left(trial) == left(undisturbed)


@pytest.mark.parametrize(
    ("error", "has_message"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("can't start new thread"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("a defect"), False),
    ],
)
def test_out_of_memory_errors_get_a_message(error: Exception, *, has_message: bool) -> None:
    assert (memory_message(error) is not None) is has_message


def test_a_wrapped_disk_error_gets_a_message_and_a_bug_gets_none() -> None:
    wrapped = RuntimeError("the compiler failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "-", "kernel.cpp")
    assert (disk_message(wrapped) or "").startswith("kernel.cpp: No space left on device")
    assert disk_message(ValueError("a defect")) is None
    assert disk_message(FileNotFoundError(errno.ENOENT, "-", "gone")) is None
    nowhere = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    assert "free some space in one of these or set TMPDIR" in (disk_message(nowhere) or "")

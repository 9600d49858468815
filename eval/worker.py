"""What a worker does: a pure function of a trial and its windows that leaves the trial's folder, on any machine."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from replication.errors import UserError
from replication.shortage import disk_trouble, memory_trouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eval.trial import Trial
    from replication.data import Dataset
    from replication.piece import Grid

BEAT = 5.0  # seconds between the signs of life of a worker
PATIENCE = 120.0  # seconds without a sign of life after which a machine is given up; NFS may hide one for 60


@dataclass(frozen=True, kw_only=True)
class Task:
    """A trial to run.

    Attributes:
        windows: the folder of its prepared windows.
        grid: the length of a time step of the corpus.
        threads: to compute with; the bits of the result depend on it.
        bare: leave out what needs more than torch, numpy and safetensors: the trial is scored elsewhere.
    """

    trial: Trial
    windows: Path
    grid: Grid
    threads: int
    bare: bool = False


def work(task: Task) -> None:
    """Run the stages of a trial that are not done. Why it failed is in its trial.json.

    Raises:
        UserError: if it meets a file that it cannot use, or a disk that it cannot write to.
    """
    try:
        _work(task)
    except Exception as error:
        if (said := disk_trouble(error)) is None:
            raise
        raise UserError(said) from None


def _work(task: Task) -> None:
    import torch

    from eval import stages
    from replication.train import DivergedError

    trial = task.trial
    torch.set_num_threads(task.threads)
    with alone(trial.folder / ".lock"):  # whoever else is at this trial finishes first
        if trial.open(dataset := _windows(task.windows)):  # a mistake here says nothing of the trial that is there
            return
        try:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            bench = stages.Workbench(trial=trial, dataset=dataset, grid=task.grid, device=device)
            for stage in stages.of(trial.experiment, bare=task.bare):
                stage(bench)
        except DivergedError as error:
            trial.close(error=str(error))
        except UserError as error:
            trial.close(error=str(error))
            raise
        except Exception as error:
            if said := disk_trouble(error):
                with suppress(OSError):  # there may be no room for saying so
                    trial.close(error=said)
                raise
            said = memory_trouble(error)  # there may be enough for others
            trial.close(error=said or f"{type(error).__name__}: {error}")
            if not said:  # a defect: its traceback goes to the terminal
                raise
        else:
            if not task.bare:
                trial.close()


def _windows(folder: Path) -> Dataset:
    from replication.data import open_windows

    try:
        return open_windows(folder)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"the windows in {folder} are missing or damaged ({error}); run `etude run` again") from None


@contextmanager
def alone(path: Path, *, wait: bool = True, beat: float = BEAT, patience: float = PATIENCE) -> Iterator[None]:
    """Run a block while no other worker, on any machine that shares the folder, runs one with the same path.

    The lock is the system's, and a worker that dies gives it free. Of a machine that is lost, a network file system may
    keep it for ever; so a worker touches its file every `beat` seconds, and after `patience` seconds without that, by
    the clock of who waits, the file is replaced. A worker that was only halted finds its file gone, and ends itself.

    Raises:
        BlockingIOError: if there is one and `wait` is not set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    released = threading.Event()
    with _locked(path, beat, patience if wait else None) as lock:
        sign = threading.Thread(target=_show_life, args=(path, lock, beat, released), daemon=True)
        sign.start()
        try:
            yield
        finally:
            released.set()
            sign.join()


def _locked(path: Path, beat: float, patience: float | None) -> TextIO:
    seen, since = None, 0.0
    while True:
        lock = path.open("a")  # opened at each look, for a network file system shows changes then
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            status = os.fstat(lock.fileno())
            lock.close()
            if patience is None:
                raise
            if (sign := (status.st_ino, status.st_mtime_ns)) != seen:
                seen, since = sign, time.monotonic()
            elif time.monotonic() - since > patience:
                path.unlink(missing_ok=True)  # a new file is a new lock
            time.sleep(beat / 10)
        else:
            if _is_at(lock, path):
                return lock
            lock.close()  # replaced in between


def _show_life(path: Path, lock: TextIO, beat: float, released: threading.Event) -> None:
    while not released.wait(beat):
        if not _is_at(lock, path):
            os._exit(1)
        with suppress(OSError):  # a disk that may no longer be written to
            os.utime(lock.fileno())


def _is_at(lock: TextIO, path: Path) -> bool:
    with suppress(OSError):  # it is gone
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    return False

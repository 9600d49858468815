"""Locks between processes, and between machines that share a folder."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEAT = 5.0  # seconds between the signs of life of a worker


PATIENCE = 120.0  # seconds without a sign of life after which a machine is given up; NFS may hide one for 60


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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Run a block while no other process runs one with the same path; a process that dies gives it free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Run a block while no other process has its turn with the same folder, which may be read-only.

    Where the file system has no such locks there are no turns.
    """
    place = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)

"""Locks between processes, and between machines that share a folder."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import FileLock

HEARTBEAT = 5.0  # seconds
PATIENCE = 120.0  # seconds without a heartbeat after which a machine counts as lost; NFS may hide one for 60


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Run a block while no other process runs one with the same path. The lock ends with its process."""
    from filelock import FileLock

    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Run a block while no other process runs one with the same folder, which may be read-only.

    On a file system without locks on folders, blocks may run at the same time.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def lease(path: Path, *, wait: bool = True, heartbeat: float = HEARTBEAT, patience: float = PATIENCE) -> Iterator[None]:
    """Run a block while no other worker, on any machine that shares the folder, runs one with the same path.

    The operating system releases the lock of a worker that dies. A network file system may keep the lock of a lost
    machine for ever. Therefore the holder touches the file every `heartbeat` seconds, and a worker that waits replaces
    the file after `patience` seconds without a change, measured by its own clock. A holder that was only suspended
    finds its file replaced and ends its process.

    Raises:
        BlockingIOError: if another worker holds the lease and `wait` is false.
    """
    lock = _acquired(path, heartbeat / 10, patience if wait else None)
    released = threading.Event()
    beats = threading.Thread(target=_beat, args=(path, _inode(path), heartbeat, released), daemon=True)
    try:
        beats.start()
        yield
    finally:
        released.set()
        beats.join()
        lock.release()


def _acquired(path: Path, interval: float, patience: float | None) -> FileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    seen, since = None, 0.0
    while True:
        try:  # opens the file: a network file system shows changes then
            lock.acquire(blocking=False)
        except Timeout:
            if patience is None:
                raise BlockingIOError(f"another worker holds {path}") from None
        else:
            return lock
        with suppress(FileNotFoundError):  # replaced by another worker
            status = path.stat()
            if (sign := (status.st_ino, status.st_mtime_ns)) != seen:
                seen, since = sign, time.monotonic()
            elif time.monotonic() - since > patience:
                path.unlink()  # a new file is a new lock
        time.sleep(interval)


def _beat(path: Path, inode: int | None, interval: float, released: threading.Event) -> None:
    while not released.wait(interval):
        if _inode(path) != inode:
            os._exit(1)
        with suppress(OSError):  # the disk may have become read-only
            os.utime(path)


def _inode(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_ino
    return None

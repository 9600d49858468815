"""Sync trials to MLflow in a background thread while they run, so that training never waits for the store."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from eval.results.schema import as_written
from eval.tracking.store import Store, StoreError
from replication.util.deadline import TimeUpError
from replication.util.program import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Self

PATIENCE = 5.0  # seconds of waiting for the store before a message says so


class Tracker:
    """Sync the trials of a run in the background: `with Tracker(root) as tracker`. Outside the block it does nothing.

    Requests are handled one after the other, and a repeated request that is still waiting is handled once. After the
    store failed, it is tried again when a trial ends; `sync_all` or `etude sync` sends what it missed. Only leaving the
    block waits for the store.
    """

    def __init__(self, root: Path, every: float = 10.0) -> None:
        self.store = Store(root)
        self.every = every  # seconds between syncs of a folder
        self._jobs: dict[Path, Callable[[], object]] = {self.store.root: self.store.connect}
        self._due: dict[Path, float] = {}
        self._changed = threading.Condition()
        self._closing = self._down = self._warned = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until all requests are handled; but an interruption ends the block at once.

        Raises:
            Exception: the first error of a folder, unless another exception ends the block.
        """
        interrupted = kind is not None and not issubclass(kind, Exception)
        with self._changed:
            self._closing = True
            if interrupted:
                self._jobs.clear()
            self._changed.notify()
        if not interrupted:
            self._wait()
        if kind is None and self._error:
            raise self._error

    def update(self, folder: Path, *, final: bool = False) -> None:
        """Request a sync of a trial if the last one was long enough ago or the trial has ended; return at once."""
        now = time.monotonic()
        if final or not (self._down or now < self._due.get(folder, now)):
            self._due[folder] = now + self.every
            self._request(folder, partial(self._sync, folder, final=final))

    def sync_all(self, comparisons: Iterable[Path]) -> None:
        """Request a sync of all folders of comparisons, in place of all earlier requests; return at once."""
        with self._changed:
            self._jobs.clear()
        self._request(self.store.root, partial(self.store.sync_all, list(comparisons)))

    def _sync(self, folder: Path, *, final: bool) -> None:
        with as_written(folder):
            self.store.sync(folder, final=final)

    def _request(self, place: Path, job: Callable[[], object]) -> None:
        with self._changed:
            self._jobs[place] = job
            self._changed.notify()

    def _work(self) -> None:
        while job := self._next():
            try:
                job()
                self._down = False
            except StoreError as error:
                self._warn(error)
                if self._closing:  # the user is waiting, and every other job would fail too
                    return
            except Exception as error:  # noqa: BLE001 - training continues; raised when the block ends
                self._error = self._error or error

    def _next(self) -> Callable[[], object] | None:
        """Wait for the next job and return it; None if the block has ended and no job is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closing)
            return self._jobs.pop(next(iter(self._jobs))) if self._jobs else None

    def _warn(self, error: StoreError) -> None:
        if not self._warned:
            print(f"warning: {error}", file=sys.stderr)
        self._down = self._warned = True

    def _wait(self) -> None:
        try:
            self._thread.join(PATIENCE)
            if self._thread.is_alive():
                later = command("sync", root=self.store.root)
                print(f"Updating MLflow takes a while; press Ctrl-C to stop and run `{later}` later.", flush=True)
                self._thread.join()
        except TimeUpError:
            raise
        except KeyboardInterrupt:
            later = command("sync", root=self.store.root)
            print(f"\nMLflow is not up to date; run `{later}` to update it.", file=sys.stderr)

"""Bringing trials to the tracking store while they run, from a thread of its own: who trains never waits for it."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from eval.results.schema import as_written
from eval.tracking.references import level
from eval.tracking.store import Store, StoreError
from replication.util.deadline import TimeUpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Self

PATIENCE = 5.0  # seconds of waiting for the store after which it is said


class Tracker:
    """Live logging of the trials of a run: `with Tracker(root) as tracker`; outside of its block it does nothing.

    What is asked for is done one after the other, and what is asked for twice before its turn is done once. A store
    that failed is left alone while trials run, and tried again when one ends; what it lacks `level` brings, or `etude
    sync`. Only who leaves the block waits.
    """

    def __init__(self, root: Path, every: float = 10.0) -> None:
        self.store = Store(root)
        self.every = every  # seconds between syncs of a folder
        self._jobs: dict[Path, Callable[[], object]] = {self.store.root: self.store.connect}
        self._due: dict[Path, float] = {}
        self._changed = threading.Condition()
        self._closing = self._down = self._warned = False
        self._defect: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until all is done that was asked for; but an interruption ends the block at once.

        Raises:
            Exception: what went wrong with a folder, unless something else has ended the block.
        """
        halted = kind is not None and not issubclass(kind, Exception)
        with self._changed:
            self._closing = True
            if halted:
                self._jobs.clear()
            self._changed.notify()
        if not halted:
            self._wait()
        if kind is None and self._defect:
            raise self._defect

    def update(self, folder: Path, *, final: bool = False) -> None:
        """Have a trial synced if that was long enough ago, or if it has ended; returns at once."""
        now = time.monotonic()
        if final or not (self._down or now < self._due.get(folder, now)):
            self._due[folder] = now + self.every
            self._ask(folder, partial(self._sync, folder, final=final))

    def level(self, comparisons: Iterable[Path]) -> None:
        """Have all that is in the folders of comparisons brought level; this takes in what was asked for before."""
        with self._changed:
            self._jobs.clear()
        self._ask(self.store.root, partial(level, self.store, list(comparisons)))

    def _sync(self, folder: Path, *, final: bool) -> None:
        with as_written(folder):
            self.store.sync(folder, final=final)

    def _ask(self, place: Path, job: Callable[[], object]) -> None:
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
                if self._closing:  # somebody waits, and would for every other job too
                    return
            except Exception as error:  # noqa: BLE001 - told when the block is left: training goes on
                self._defect = self._defect or error

    def _next(self) -> Callable[[], object] | None:
        """Wait for the next job and return it; None when the block was left and all is done."""
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
                print("Bringing MLflow level takes a while; Ctrl-C leaves it to `etude sync`.", flush=True)
                self._thread.join()
        except TimeUpError:
            raise
        except KeyboardInterrupt:
            print("\nMLflow is left behind; `etude sync` brings it level.", file=sys.stderr)

"""Bringing a trial to the tracking store while it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from eval.shape import as_written
from eval.tracking import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from eval.tracking import Store


class Tracker:
    """Live logging of one trial: `update` may be called at every step, and never stops the training."""

    def __init__(self, store: Store, folder: Path, every: float = 10.0) -> None:
        self.store = store
        self.folder = folder
        self.every = every  # seconds between syncs
        self._due = time.monotonic()

    def update(self, *, final: bool = False) -> None:
        """Sync the folder if the last sync is long enough ago, or if it is the final one.

        A store that failed is left alone, for its timeouts would slow down every trial; the final sync tries again.
        """
        if not final and (self.store.down or time.monotonic() < self._due):
            return
        try:
            with as_written(self.folder):
                self.store.sync(self.folder, final=final)
        except StoreError as error:
            self.store.warn(error)
        self._due = time.monotonic() + self.every

"""What training reports, line by line."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from eval.memory import peak_memory
from replication.errors import UserError
from replication.shortage import naming

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class History:
    """The log of a trial's training: appends lines to metrics.jsonl, each step once.

    A killed run continues from its last checkpoint and passes steps again that were logged already, with the same
    values; they are not written twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = -1
        self.seconds: float | None = None  # of training, as last logged
        if path.exists():
            content = path.read_bytes()
            whole, _, torn = content.rpartition(b"\n")
            if torn:  # cut off while it was written; its step comes again
                os.truncate(path, len(content) - len(torn))
            if whole:
                try:
                    record = json.loads(whole.rpartition(b"\n")[2])
                    self.last, self.seconds = int(record["step"]), float(record["train/seconds"])
                except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
                    raise UserError(f"{path} is damaged ({error}); delete its trial's folder to train again") from None

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line."""
        if step <= self.last:
            return
        self.last, self.seconds = step, values["train/seconds"]
        memory = {"system/peak_memory_mb": round(peak_memory() / 1e6, 1)}  # of the process so far
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "time": time.time(), **values, **memory}) + "\n")
            file.flush()
            os.fsync(file.fileno())  # a checkpoint that follows is not to know more than the log

"""The training log of a trial, metrics.jsonl: one JSON object per line with step, time and named numbers.

There is one policy for damage, whoever reads. A last line without a newline was cut off while it was written: readers
skip it and the next run removes it, since its step is logged again. A complete line that is not a record means that the
file was damaged later: a `UserError` names the file and the line.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from replication.util.errors import UserError
from replication.util.memory import peak_memory
from replication.util.system_errors import writing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "metrics.jsonl"


class Entry(NamedTuple):
    """A line of the log.

    Attributes:
        step: number of training steps done.
        time: Unix time in seconds.
        values: numbers by key, as `train/loss`.
    """

    step: int
    time: float
    values: dict[str, Any]


class TrainingLog:
    """The log of a trial in training: call it to append a line; each step is logged once.

    A run that continues from its last checkpoint passes steps again that were logged already, with the same values.
    They are not written twice.

    Attributes:
        path: the file.
        last: the last step in the file, -1 if there is none.
        seconds: of training, as last logged; None if nothing was.

    Raises:
        UserError: if the last line of the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last, self.seconds = -1, None
        if not path.exists():
            return
        content = path.read_bytes()
        lines = whole_lines(content)
        if torn := len(content) - sum(len(line) + 1 for line in lines):
            os.truncate(path, len(content) - torn)
        if lines:
            entry = parse(lines[-1], path, len(lines))
            self.last, self.seconds = entry.step, entry.values.get("train/seconds")

    seconds: float | None

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line unless the step is in the file."""
        if step <= self.last:
            return
        self.last, self.seconds = step, values["train/seconds"]
        memory = {"system/peak_memory_mb": round(peak_memory() / 1e6, 1)}  # of the process so far
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "time": time.time(), **values, **memory}) + "\n")
            file.flush()
            os.fsync(file.fileno())  # before the next checkpoint, which must not be ahead of the log


def whole_lines(content: bytes) -> list[bytes]:
    """Return the lines of a log that were written to their end."""
    return content.split(b"\n")[:-1]


def read_lines(path: Path) -> list[bytes]:
    """Return the complete lines of a log; none if there is no file."""
    return whole_lines(path.read_bytes()) if path.exists() else []


def read(path: Path) -> list[Entry]:
    """Return the entries of a log; none if there is no file.

    Raises:
        UserError: for a complete line that is not a record.
    """
    return [parse(line, path, number) for number, line in enumerate(read_lines(path), 1)]


def read_last(path: Path) -> Entry | None:
    """Return the last entry of a log, None if there is none."""
    lines = read_lines(path)
    return parse(lines[-1], path, len(lines)) if lines else None


def parse(line: bytes, path: Path, number: int) -> Entry:
    """Return a complete line of a log as an entry.

    Raises:
        UserError: if it is not a record; names the file and the number of the line.
    """
    try:
        record = json.loads(line)
        return Entry(int(record.pop("step")), float(record.pop("time")), record)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged in line {number} ({error!r}); delete its folder to train this trial again"
        ) from None

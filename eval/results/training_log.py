"""Write and read the training log of a trial, metrics.jsonl: a JSON object per line with step, time and named numbers.

All readers treat damage alike. A last line without a newline was cut off while it was written: readers skip it, and the
next run removes it and logs its step again. A complete line that is not a record means that the file was damaged later:
readers raise a `UserError` that names the file and the line. `read` also raises it for a last line without a newline
that cannot be the start of a record, because it is not ASCII.
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
    """One line of the log.

    Attributes:
        step: Number of completed training steps.
        time: Unix time in seconds.
        values: Numbers by key, such as `train/loss`.
    """

    step: int
    time: float
    values: dict[str, Any]


class TrainingLog:
    """Append to the log of a trial in training: `log(step, values)` writes one line per step.

    A run that resumes from its last checkpoint repeats steps that are in the log already, with the same values. They
    are not written twice.

    Attributes:
        path: File of the log.
        last: Last step in the file, -1 if there is none.
        seconds: Seconds of training in the last line, None if there is none.

    Raises:
        UserError: if a line of the file is damaged.
    """

    seconds: float | None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last, self.seconds = -1, None
        if not path.exists():
            return
        content = path.read_bytes()
        lines = whole_lines(content)
        if torn := len(content) - sum(len(line) + 1 for line in lines):
            os.truncate(path, len(content) - torn)
        for number, line in enumerate(lines, 1):
            entry = parse(line, path, number)
            self.last, self.seconds = entry.step, entry.values.get("train/seconds")

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line unless the step is in the file already."""
        if step <= self.last:
            return
        self.last, self.seconds = step, values["train/seconds"]
        memory = {"system/peak_memory_mb": round(peak_memory() / 1e6, 1)}  # peak of the process so far
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "time": time.time(), **values, **memory}) + "\n")
            file.flush()
            os.fsync(file.fileno())  # a checkpoint must not be ahead of the log


def whole_lines(content: bytes) -> list[bytes]:
    """Return the complete lines of the content of a log."""
    return content.split(b"\n")[:-1]


def read_lines(path: Path) -> list[bytes]:
    """Return the complete lines of a log; none if there is no file."""
    return whole_lines(path.read_bytes()) if path.exists() else []


def read(path: Path) -> list[Entry]:
    """Return the entries of a log; none if there is no file.

    Raises:
        UserError: for a complete line that is not a record, and for a torn last line that is not text.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    entries = [parse(line, path, number) for number, line in enumerate(whole_lines(content), 1)]
    if not content.rpartition(b"\n")[2].isascii():  # a torn line of JSON is ASCII too
        raise UserError(f"{path} is damaged after its last line; delete its folder to train the trial again")
    return entries


def read_last(path: Path) -> Entry | None:
    """Return the last entry of a log, None if there is none.

    Raises:
        UserError: if the last complete line is not a record.
    """
    lines = read_lines(path)
    return parse(lines[-1], path, len(lines)) if lines else None


def parse(line: bytes, path: Path, number: int) -> Entry:
    """Parse a complete line of a log.

    Raises:
        UserError: if it is not a record; names the file and the line number.
    """
    try:
        record = json.loads(line)
        return Entry(int(record.pop("step")), float(record.pop("time")), record)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged in line {number} ({error!r}); delete its folder to train the trial again"
        ) from None

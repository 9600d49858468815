"""Read a trial folder at one moment.

It holds `trial.json` (the description of the trial), `metrics.jsonl` (the training log), `scores.json` (the scores,
once scored) and more; docs/glossary.md defines the words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from eval.results import training_log
from eval.results.schema import read_about

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Point(NamedTuple):
    """One value of one metric."""

    key: str
    value: float
    time: int  # milliseconds since 1970
    step: int


@dataclass(frozen=True, kw_only=True)
class TrialFolder:
    """The content of a trial folder.

    Attributes:
        path: Folder of the trial.
        about: Content of trial.json.
        lines: Complete lines of the training log.
        scores: Bytes of scores.json, empty before scoring.
    """

    path: Path
    about: dict[str, Any]
    lines: list[bytes]
    scores: bytes

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a folder.

        Raises:
            UserError: if trial.json is damaged.
        """
        scores = path / "scores.json"
        return cls(
            path=path,
            about=read_about(path / "trial.json"),
            lines=training_log.read_lines(path / training_log.FILE),
            scores=scores.read_bytes() if scores.exists() else b"",
        )

    def history(self, start: int = 0) -> list[Point]:
        """Return the points of the training log, without its first `start` lines.

        Raises:
            UserError: if one of these lines is damaged.
        """
        path = self.path / training_log.FILE
        entries = [training_log.parse(line, path, number) for number, line in enumerate(self.lines[start:], start + 1)]
        return [
            Point(key, value, int(entry.time * 1000), entry.step)
            for entry in entries
            for key, value in numbers(entry.values)
        ]


def numbers(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the values that can be a metric: numbers, and NaN for null; texts and lists are left out."""
    for key, value in record.items():
        if value is None or isinstance(value, int | float):
            yield key, float("nan") if value is None else float(value)

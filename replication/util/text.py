"""Text and numbers from files of unknown origin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def printable(text: str) -> str:
    """Return a name without control characters, which file names may contain and terminals would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def printable_lines(text: str) -> str:
    """Return a text without control characters other than line breaks."""
    return "".join(mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in text)


def number(value: float | None) -> float:
    """Return a number from a JSON file, NaN for null."""
    return math.nan if value is None else value


def plain(value: float) -> float | None:
    """Return a number as JSON files have it: None for NaN."""
    return None if math.isnan(value) else float(value)


def listed(counts: Mapping[str, int]) -> str:
    """Return counts as text, the largest first.

    >>> listed({"b": 1, "a": 1, "c": 2000})
    'c: 2,000, a: 1, b: 1'
    """
    return ", ".join(
        f"{name}: {count:,}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )

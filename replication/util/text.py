"""Text and numbers from files that others may have written."""

from __future__ import annotations

import math


def printable(text: str) -> str:
    """Return a name for people: files and folders may be called anything, even what would command a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def tame(text: str) -> str:
    """Return a text without what would command a terminal: files may be called anything."""
    return "".join(mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}" for mark in text)


def number(value: float | None) -> float:
    """Return a number of a JSON file, NaN for null."""
    return math.nan if value is None else value


def plain(value: float) -> float | None:
    """Return a number as JSON files have it: None for NaN."""
    return None if math.isnan(value) else float(value)

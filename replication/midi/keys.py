"""Keys: which one notes are in, and the same music in another.

The key is found as Krumhansl and Schmuckler do (C. L. Krumhansl, Cognitive Foundations of Musical Pitch, 1990, chapter
4): the time that each pitch class sounds is correlated with how well it fits each of the 24 keys, as listeners rated it
(C. L. Krumhansl and E. J. Kessler, Psychological Review 89, 1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.midi.piece import sorted_notes

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How well the semitones above the tonic fit a major and a minor key, rated from 1 to 7.
RATINGS = np.array(
    (
        (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
        (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
    )
)

# (24, 12): C major to B major, then C minor to B minor, each of mean 0 and of variance 1.
_PROFILES = np.array([np.roll((fit - fit.mean()) / fit.std(), tonic) for fit in RATINGS for tonic in range(12)])


@dataclass(frozen=True)
class AsWritten:
    """Every piece in its own key."""


@dataclass(frozen=True)
class OneKey:
    """Every piece in C major or A minor, by `in_one_key`."""


@dataclass(frozen=True)
class EveryKey:
    """Pieces for training in each of these transpositions, all others as written.

    Attributes:
        semitones: upwards, 0 for as written.
    """

    semitones: tuple[int, ...] = tuple(range(-5, 7))


Keys = AsWritten | OneKey | EveryKey


def estimate_key(notes: NDArray[Any]) -> tuple[int, bool]:
    """Return the tonic (0..11, C is 0) of (n,) notes and whether it is major; of equal fits, C major's or the next."""
    sounding = np.bincount(notes["pitch"] % 12, weights=notes["duration"], minlength=12)
    # The mean and the variance of `sounding` are the same for all keys and leave their order as it is. Rounded, for
    # equal fits are to be equal on every machine.
    minor, tonic = divmod(int(np.argmax(np.round(_PROFILES @ sounding, 6))), 12)
    return tonic, not minor


def transposed(notes: NDArray[Any], semitones: int) -> NDArray[Any]:
    """Return (n,) notes moved up by a number of semitones, those that would leave 0..127 by octaves less.

    Where one meets another there, the longer stays, as in `sorted_notes`.
    """
    pitch = notes["pitch"].astype(int) + semitones
    octaves = np.maximum(-(pitch // 12), 0) - np.maximum((pitch - 116) // 12, 0)  # 0 within 0..127
    moved = notes.copy()
    moved["pitch"] = pitch + 12 * octaves
    return sorted_notes(moved)


def in_one_key(notes: NDArray[Any]) -> NDArray[Any]:
    """Return (n,) notes moved by -5 to 6 semitones, from their estimated key to C major or A minor."""
    tonic, major = estimate_key(notes)
    return transposed(notes, ((0 if major else 9) - tonic + 5) % 12 - 5)

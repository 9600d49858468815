"""Estimate the key of a piece and transpose it.

The estimate is that of Krumhansl and Schmuckler (C. L. Krumhansl, Cognitive Foundations of Musical Pitch, 1990, chapter
4). It correlates the time that each pitch class sounds with listeners' ratings of how well the pitch class fits each of
the 24 keys (C. L. Krumhansl and E. J. Kessler, Psychological Review 89, 1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.midi.piece import sorted_notes

if TYPE_CHECKING:
    from numpy.typing import NDArray

# (2, 12): ratings, from 1 to 7, of how well each semitone above the tonic fits a major and a minor key.
RATINGS = np.array(
    (
        (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
        (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
    )
)

# (24, 12): C major to B major, then C minor to B minor; each row has mean 0 and variance 1.
_PROFILES = np.array([np.roll((fit - fit.mean()) / fit.std(), tonic) for fit in RATINGS for tonic in range(12)])


@dataclass(frozen=True)
class AsWritten:
    """Keep every piece in its own key."""


@dataclass(frozen=True)
class OneKey:
    """Transpose every piece to C major or A minor; see `in_one_key`."""


@dataclass(frozen=True)
class EveryKey:
    """Use every training piece in several transpositions and all other pieces as written.

    Attributes:
        semitones: Semitones up of each transposition; 0 is the piece as written.
    """

    semitones: tuple[int, ...] = tuple(range(-5, 7))


Keys = AsWritten | OneKey | EveryKey


def estimate_key(notes: NDArray[Any]) -> tuple[int, bool]:
    """Estimate the key of (n,) notes.

    Returns:
        The tonic, 0..11 with 0 for C, and whether the key is major. If several keys fit equally well, the first in the
        order C major to B major, C minor to B minor.

    >>> from replication.midi.piece import sorted_notes
    >>> scale = (62, 64, 66, 67, 69, 71, 73, 74)
    >>> estimate_key(sorted_notes([(8 * step, 8, pitch, 64) for step, pitch in enumerate(scale)]))
    (2, True)
    """
    sounding = np.bincount(notes["pitch"] % 12, weights=notes["duration"], minlength=12)
    # The mean and variance of `sounding` are the same for all keys and do not change their order. Rounding makes equal
    # fits equal on every machine.
    minor, tonic = divmod(int(np.argmax(np.round(_PROFILES @ sounding, 6))), 12)
    return tonic, not minor


def transposed(notes: NDArray[Any], semitones: int) -> NDArray[Any]:
    """Transpose (n,) notes up by a number of semitones.

    A note that would leave 0..127 is moved back into that range by whole octaves. If it then coincides with another
    note, the longer one is kept, as in `sorted_notes`.
    """
    pitch = notes["pitch"].astype(int) + semitones
    octaves = np.maximum(-(pitch // 12), 0) - np.maximum((pitch - 116) // 12, 0)  # 0 within 0..127
    moved = notes.copy()
    moved["pitch"] = pitch + 12 * octaves
    return sorted_notes(moved)


def in_one_key(notes: NDArray[Any]) -> NDArray[Any]:
    """Transpose (n,) notes by -5 to 6 semitones from their estimated key to C major or A minor."""
    tonic, major = estimate_key(notes)
    return transposed(notes, ((0 if major else 9) - tonic + 5) % 12 - 5)

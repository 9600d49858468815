"""Compose piano music by rules, for tests and smoke runs: a melody over Alberti basses or block chords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from replication.midi.piece import sorted_notes

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEAT = 8  # steps of PAPER_GRID
BAR = 4 * BEAT

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # major, natural minor
PROGRESSIONS = (
    (0, 3, 4, 0),
    (0, 5, 3, 4),
    (0, 4, 5, 3),
    (5, 3, 0, 4),
    (0, 1, 4, 0),
)  # a root per bar
FORMS = ("AABA", "ABAB", "AABB", "ABAC", "ABA", "AABCA")  # each letter is a phrase of four bars
RHYTHMS = (  # durations in steps; each row fills a bar
    (8, 8, 8, 8),
    (16, 8, 8),
    (12, 4, 8, 8),
    (8, 4, 4, 16),
    (4, 4, 8, 4, 4, 8),
    (24, 8),
    (2, 2, 4, 8, 16),
)


def compose(rng: np.random.Generator) -> NDArray[Any]:
    """Compose a piece in 4/4 of 12 to 20 bars and a final chord, on the grid `PAPER_GRID`.

    Returns:
        (n,) notes: pitches within 30..95, velocities within 32..124 and multiples of 4, durations within 1..56.
    """
    tonic, scale = int(rng.integers(-5, 7)), SCALES[rng.integers(len(SCALES))]
    loudness = 4 * int(rng.integers(14, 26))
    alberti = bool(rng.integers(2))
    form = FORMS[rng.integers(len(FORMS))]
    phrases = {name: _phrase(rng, tonic, scale, loudness, alberti=alberti) for name in sorted(set(form))}
    bars = 4 * len(form)
    rows = [
        (4 * BAR * k + onset, duration, pitch, velocity)
        for k, name in enumerate(form)
        for onset, duration, pitch, velocity in phrases[name]
    ]
    close = [_pitch(48 + tonic, scale, degree) for degree in (0, 2, 4)] + [_pitch(72 + tonic, scale, 0)]
    return sorted_notes(rows + [(bars * BAR, BAR, pitch, loudness) for pitch in close])


def _phrase(
    rng: np.random.Generator, tonic: int, scale: tuple[int, ...], loudness: int, *, alberti: bool
) -> list[tuple[int, int, int, int]]:
    """Return the rows of a phrase of four bars, loudest in the third; the accompaniment is softer than the melody."""
    rows = []
    degree = int(rng.choice((0, 2, 4)))
    for bar, root in enumerate(PROGRESSIONS[rng.integers(len(PROGRESSIONS))]):
        velocity = loudness + (0, 4, 8, 4)[bar]
        onset = bar * BAR
        for duration in RHYTHMS[rng.integers(len(RHYTHMS))]:
            if onset % BAR == 0:  # on the downbeat the melody takes the nearest chord tone
                degree = min(
                    (root + third - 7 * down for third in (0, 2, 4) for down in (0, 1)), key=lambda d: abs(d - degree)
                )
            rows.append((onset, duration, _pitch(72 + tonic, scale, degree), velocity))
            onset += duration
            degree = int(np.clip(degree + rng.choice((-2, -1, -1, 1, 1, 2)), -4, 9))
        low, middle, high = (_pitch(48 + tonic, scale, root + third) for third in (0, 2, 4))
        if alberti:
            pattern = [(k * BEAT // 2, BEAT // 2, pitch) for k, pitch in enumerate((low, high, middle, high) * 2)]
        else:
            pattern = [(half * 2 * BEAT, 2 * BEAT, pitch) for half in range(2) for pitch in (low, middle, high)]
        rows += [(bar * BAR + start, duration, pitch, velocity - 16) for start, duration, pitch in pattern]
    return rows


def _pitch(tonic: int, scale: tuple[int, ...], degree: int) -> int:
    """Return the pitch of a scale degree; 0 is the tonic, and degrees below it or above the octave are allowed."""
    octave, step = divmod(degree, len(scale))
    return tonic + 12 * octave + scale[step]

"""Objective metrics of one piece of piano music: pure functions from a piece to a number.

Conventions. The muspy metrics and their two corrections are measured on sixteenths: onsets and ends are rounded (halves
up) to 4 steps per beat, so that the numbers of different corpora and models can be compared; groove above all depends
on the grid. The first onset is moved to 0, and of two notes with one onset and pitch the longer stays. The plain
statistics stay on the piece's own grid and are given in beats. A beat of a `Seconds` grid is half a second, the usual
convention for performances without beats: there groove and empty beats are near chance and say little about the music.

NaN policy. A metric that is not defined for a piece is NaN and never raises: a piece without notes has counts and a
range of 0 and NaN for all else. Averages over pieces must report how many were NaN.

Most metrics grow with the length of the piece: compare pieces of equal length only.

muspy: H.-W. Dong, K. Chen, J. McAuley and T. Berg-Kirkpatrick, "MusPy: A Toolkit for Symbolic Music Generation",
ISMIR 2020, https://arxiv.org/abs/2008.01951. MMT below: H.-W. Dong et al., "Multitrack Music Transformer", ICASSP 2023,
https://arxiv.org/abs/2207.06983.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.files import digest
from replication.piece import Beats, Grid, Piece, sorted_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

EDITION = 1  # raise it when a metric or a distance comes to give other numbers
SECONDS_PER_BEAT = 0.5
STEPS_PER_BEAT = 4
STEPS_PER_BAR = 16  # 4/4, the metre that groove assumes for every piece


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of `METRICS`.

    Attributes:
        function: from a piece on any grid to a number, or NaN where the metric is not defined.
        unit: what the number counts; "1" for a rate.
        low: no piece has less.
        high: no piece has more.
        label: the name in tables and figures.
    """

    function: Callable[[Piece], float]
    unit: str
    low: float
    high: float
    label: str


def n_pitches_used(piece: Piece) -> float:
    """Number of distinct MIDI pitches, 0 to 128; never NaN (muspy)."""
    return _muspy("n_pitches_used", piece)


def n_pitch_classes_used(piece: Piece) -> float:
    """Number of distinct pitches modulo 12, 0 to 12; never NaN (muspy)."""
    return _muspy("n_pitch_classes_used", piece)


def pitch_range(piece: Piece) -> float:
    """Highest minus lowest pitch in semitones, 0 to 127; never NaN, 0 without notes (muspy)."""
    return _muspy("pitch_range", piece)


def pitch_entropy(piece: Piece) -> float:
    """-sum_i p_i log2 p_i over the shares p_i of notes at each pitch, in bits, 0 to 7; NaN without notes (muspy)."""
    return _muspy("pitch_entropy", piece)


def pitch_class_entropy(piece: Piece) -> float:
    """-sum_i p_i log2 p_i over the shares p_i of notes in each class, in bits, 0 to log2 12; NaN without notes.

    Of the whole piece, weighted by notes, as in muspy and MMT. Wu & Yang, "The Jazz Transformer on the Front Line"
    (ISMIR 2020), who are cited for it, average it over windows of 1 or 4 bars, which gives smaller numbers.
    """
    return _muspy("pitch_class_entropy", piece)


def scale_consistency(piece: Piece) -> float:
    """Largest share of notes in one scale, over the major and natural minor scales, 7/12 to 1; NaN without notes.

    Each class is in 7 of the 12 scales (a minor scale has the classes of its relative major), hence the lower bound.
    Mogren, "C-RNN-GAN" (2016), as computed by muspy.
    """
    return _muspy("scale_consistency", piece)


def polyphony(piece: Piece) -> float:
    """Mean number of sounding pitches over the sixteenths with at least one, 1 to 128; NaN without notes (muspy)."""
    return _muspy("polyphony", piece)


def polyphony_rate_ge2(piece: Piece) -> float:
    """Share of sixteenths, silent ones included, with two or more sounding pitches, 0 to 1; NaN without notes.

    muspy's `polyphony_rate` with threshold 1: its default of 2 asks for *more than* two pitches and gives a piece of
    nothing but dyads 0. Dong et al., "MuseGAN" (AAAI 2018).
    """
    return _muspy("polyphony_rate", piece, threshold=1)


def empty_beat_rate(piece: Piece) -> float:
    """Share of beats without a sounding note, 0 to 1; NaN without notes.

    #(beats that no interval [onset, end) meets) / ceil(length in beats). muspy's version also counts the beat that
    starts where a note ends, and one beat too many where the piece ends on a beat. Dong et al., "MuseGAN" (AAAI 2018).
    """
    notes = _sixteenths(piece)
    if not len(notes):
        return math.nan
    first, stop = notes["onset"] // STEPS_PER_BEAT, -(-_ends(notes) // STEPS_PER_BEAT)
    beats = int(stop.max())
    sounding = np.cumsum(np.bincount(first, minlength=beats + 1) - np.bincount(stop, minlength=beats + 1))[:beats]
    return float(np.mean(sounding == 0))


def groove_consistency(piece: Piece) -> float:
    """1 - mean over adjacent bars of the Hamming distance of their onset patterns / 16, 0 to 1; NaN below 2 bars.

    The pattern of a bar says for each of 16 sixteenths whether a note starts there; a piece has ceil(length / 16) bars.
    muspy's version adds an empty bar to a piece that ends on a bar line: four equal bars would not score 1. The share
    is of slots, not of onsets, so that random onsets score well above 0 and finer grids score higher still: read it
    beside a control with shuffled onsets. After Wu & Yang (ISMIR 2020), who compare all pairs of bars.
    """
    notes = _sixteenths(piece)
    bars = -(-int(_ends(notes).max(initial=0)) // STEPS_PER_BAR)
    if bars < 2:  # noqa: PLR2004 - a pair
        return math.nan
    pattern = np.zeros(bars * STEPS_PER_BAR, dtype=bool)
    pattern[notes["onset"]] = True
    rows = pattern.reshape(bars, STEPS_PER_BAR)
    return 1 - float(np.mean(rows[1:] != rows[:-1]))


def note_density(piece: Piece) -> float:
    """Notes / (last end - first onset), in notes per beat, above 0; NaN without notes."""
    notes = piece.notes
    if not len(notes):
        return math.nan
    return len(notes) * _steps_per_beat(piece.grid) / float(_ends(notes).max() - notes["onset"].min())


def mean_duration(piece: Piece) -> float:
    """Mean note duration in beats, above 0; NaN without notes."""
    return _mean(piece.notes["duration"]) / _steps_per_beat(piece.grid)


def mean_inter_onset(piece: Piece) -> float:
    """Mean time from one distinct onset to the next in beats, above 0; NaN below two distinct onsets.

    Distinct onsets: the notes of a chord count once.
    """
    return _mean(np.diff(np.unique(piece.notes["onset"]))) / _steps_per_beat(piece.grid)


def mean_pitch(piece: Piece) -> float:
    """Mean MIDI pitch, 0 to 127; NaN without notes."""
    return _mean(piece.notes["pitch"])


def pitch_deviation(piece: Piece) -> float:
    """Standard deviation (divisor n) of the MIDI pitch in semitones, 0 to 63.5; NaN without notes."""
    pitch = piece.notes["pitch"]
    return float(pitch.std()) if len(pitch) else math.nan


def notes(piece: Piece) -> float:
    """Number of notes, from 0; never NaN."""
    return float(len(piece.notes))


# fmt: off
METRICS: dict[str, Metric] = {
    "n_pitches_used": Metric(function=n_pitches_used, unit="pitches", low=0, high=128, label="Pitches used"),
    "n_pitch_classes_used": Metric(
        function=n_pitch_classes_used, unit="pitch classes", low=0, high=12, label="Pitch classes used"),
    "pitch_range": Metric(function=pitch_range, unit="semitones", low=0, high=127, label="Pitch range"),
    "pitch_entropy": Metric(function=pitch_entropy, unit="bits", low=0, high=7, label="Pitch entropy"),
    "pitch_class_entropy": Metric(
        function=pitch_class_entropy, unit="bits", low=0, high=math.log2(12), label="Pitch-class entropy"),
    "scale_consistency": Metric(function=scale_consistency, unit="1", low=7 / 12, high=1, label="Scale consistency"),
    "polyphony": Metric(function=polyphony, unit="pitches", low=1, high=128, label="Polyphony"),
    "polyphony_rate_ge2": Metric(function=polyphony_rate_ge2, unit="1", low=0, high=1, label="Polyphony rate (2+)"),
    "empty_beat_rate": Metric(function=empty_beat_rate, unit="1", low=0, high=1, label="Empty-beat rate"),
    "groove_consistency": Metric(
        function=groove_consistency, unit="1", low=0, high=1, label="Groove consistency (16 slots)"),
    "note_density": Metric(function=note_density, unit="notes per beat", low=0, high=math.inf, label="Note density"),
    "mean_duration": Metric(function=mean_duration, unit="beats", low=0, high=math.inf, label="Mean duration"),
    "mean_inter_onset": Metric(
        function=mean_inter_onset, unit="beats", low=0, high=math.inf, label="Mean inter-onset time"),
    "mean_pitch": Metric(function=mean_pitch, unit="MIDI pitch", low=0, high=127, label="Mean pitch"),
    "pitch_deviation": Metric(function=pitch_deviation, unit="semitones", low=0, high=63.5, label="Pitch deviation"),
    "notes": Metric(function=notes, unit="notes", low=0, high=math.inf, label="Notes"),
}
# fmt: on

# What the mean distance averages. Empty beats hardly occur in real music: divided by so small a deviation one rare
# value would outweigh all else. The number of notes is the density again where windows have a length in beats, and a
# property of the encoding where they have a length in tokens.
FEATURES: tuple[str, ...] = tuple(name for name in METRICS if name not in {"empty_beat_rate", "notes"})


def scoring() -> str:
    """Return a name for what `score` computes: results of another name are scored again."""
    return digest(EDITION, list(METRICS))[:16]


def score(pieces: Sequence[Piece]) -> pd.DataFrame:
    """Return (number of pieces, number of metrics) float64 values: row i is piece i, the columns are `METRICS`."""
    import pandas as pd

    # Piece by piece, not metric by metric: the conversions below remember the last piece only.
    values = [metric.function(piece) for piece in pieces for metric in METRICS.values()]
    return pd.DataFrame(np.array(values, dtype=np.float64).reshape(-1, len(METRICS)), columns=list(METRICS))


def _steps_per_beat(grid: Grid) -> float:
    return grid.steps_per_beat if isinstance(grid, Beats) else grid.steps_per_second * SECONDS_PER_BEAT


def _ends(notes: NDArray[Any]) -> NDArray[np.int64]:
    ends: NDArray[np.int64] = notes["onset"].astype(np.int64) + notes["duration"]
    return ends


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else math.nan


@functools.lru_cache(maxsize=1)  # pieces are equal only to themselves
def _sixteenths(piece: Piece) -> NDArray[Any]:
    """Return the notes at 4 steps per beat, the first at 0, each at least one step long, none twice."""
    if not len(piece.notes):
        return piece.notes
    times = np.stack([piece.notes["onset"], _ends(piece.notes)]) - piece.notes["onset"].min()  # (2, n)
    # Halves up, not to even as `np.rint` does: that would move equal offbeats to different sides.
    onset, end = np.floor(times * STEPS_PER_BEAT / _steps_per_beat(piece.grid) + 0.5).astype(np.int64)
    notes = piece.notes.copy()
    notes["onset"], notes["duration"] = onset, np.maximum(1, end - onset)
    return sorted_notes(notes)


@functools.lru_cache(maxsize=1)
def _music(piece: Piece) -> Any:  # noqa: ANN401 - muspy publishes no types
    """Return the notes as a `muspy.Music` of one track.

    Nothing but notes: muspy takes pedal events for part of a piece's length. Always one track: without any, five of its
    metrics raise ValueError, where an empty track gives NaN.
    """
    muspy = _library()
    notes = _sixteenths(piece)
    columns = (notes[name].tolist() for name in ("onset", "pitch", "duration", "velocity"))
    track = muspy.Track(notes=list(map(muspy.Note, *columns)))
    return muspy.Music(resolution=STEPS_PER_BEAT, tracks=[track])


@functools.cache
def _library() -> Any:  # noqa: ANN401 - muspy publishes no types
    import muspy  # takes seconds, so not before the first metric

    return muspy


def _muspy(name: str, piece: Piece, **options: int) -> float:
    """Return muspy's metric `name` of the piece as a float that is never -0.0, which muspy gives for no entropy."""
    return float(getattr(_library(), name)(_music(piece), **options)) + 0.0

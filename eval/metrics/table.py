"""The table of metrics of windows of piano music, and their scores.

A metric is a function from `Windows` to (n,) float64, for all windows at once: see `eval.metrics.pitch` and
`eval.metrics.rhythm`.

Grids. Metrics of beats and bars are not computed on a `Seconds` grid, which has none: a beat of a performance is a
guess, and groove by such beats is near chance. Densities, durations and times between onsets are in seconds there.

NaN policy. A metric that is not defined for a window is NaN and never raises: a window without notes has counts and a
range of 0 and NaN for everything else. Averages over windows must report how many were NaN.

Most metrics grow with the length of the window: compare windows of equal length only. For no metric is more or less
better; what counts is the distance from the music of the test split.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics import pitch, rhythm
from replication.midi.piece import Beats, Piece, Seconds, TimeGrid

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from eval.metrics.windows import Windows

EDITION = 3  # raise when a metric gives other numbers; tests/eval/scoring/test_stored_scores.py checks it

_REASONS: dict[type[Beats | Seconds], str] = {
    Beats: "it is of beats and bars, which the grid of this corpus does not have",
    Seconds: "it is in seconds, for grids without beats; on this grid its counterpart is in beats",
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of `METRICS`.

    Attributes:
        function: Function from n windows to (n,) float64, NaN where the metric is not defined; `per_piece` makes one
            from a function of a piece.
        unit: Unit of the number; "1" for a rate.
        low: Smallest possible value.
        high: Largest possible value.
        label: Name in tables and figures.
        needs: Kind of grid on which the metric is defined; None for any.
    """

    function: Callable[[Windows], NDArray[np.float64]]
    unit: str
    low: float
    high: float
    label: str
    needs: type[Beats | Seconds] | None = None

    def admits(self, grid: TimeGrid) -> bool:
        """Return whether the metric is defined on a grid."""
        return self.needs is None or isinstance(grid, self.needs)


def per_piece(function: Callable[[Piece], float]) -> Callable[[Windows], NDArray[np.float64]]:
    """Turn a function of one piece into a function of windows, for a row of `METRICS`.

    >>> from eval.metrics.windows import example
    >>> per_piece(lambda piece: float(len(piece.notes)))(example()).tolist()
    [8.0, 0.0]
    """

    def of_windows(windows: Windows) -> NDArray[np.float64]:
        return np.array([function(piece) for piece in windows.pieces()], dtype=np.float64)

    return of_windows


# fmt: off
METRICS: dict[str, Metric] = {
    "n_pitches_used": Metric(function=pitch.n_pitches_used, unit="pitches", low=0, high=128, label="Pitches used"),
    "n_pitch_classes_used": Metric(
        function=pitch.n_pitch_classes_used, unit="pitch classes", low=0, high=12, label="Pitch classes used"),
    "pitch_range": Metric(function=pitch.pitch_range, unit="semitones", low=0, high=127, label="Pitch range"),
    "pitch_entropy": Metric(function=pitch.pitch_entropy, unit="bits", low=0, high=7, label="Pitch entropy"),
    "pitch_class_entropy": Metric(
        function=pitch.pitch_class_entropy, unit="bits", low=0, high=math.log2(12), label="Pitch-class entropy"),
    "pitch_class_entropy_1bar": Metric(
        function=pitch.pitch_class_entropy_1bar, unit="bits", low=0, high=math.log2(12),
        label="Pitch-class entropy, 1 bar (H1)", needs=Beats),
    "pitch_class_entropy_4bar": Metric(
        function=pitch.pitch_class_entropy_4bar, unit="bits", low=0, high=math.log2(12),
        label="Pitch-class entropy, 4 bars (H4)", needs=Beats),
    "scale_consistency": Metric(
        function=pitch.scale_consistency, unit="1", low=7 / 12, high=1, label="Scale consistency"),
    "pitch_in_c_major_rate": Metric(
        function=pitch.pitch_in_c_major_rate, unit="1", low=0, high=1, label="Pitch in C major (key)"),
    "polyphony": Metric(function=rhythm.polyphony, unit="pitches", low=1, high=128, label="Polyphony"),
    "polyphony_rate_ge2": Metric(
        function=rhythm.polyphony_rate_ge2, unit="1", low=0, high=1, label="Polyphony rate (2+)"),
    "empty_beat_rate": Metric(
        function=rhythm.empty_beat_rate, unit="1", low=0, high=1, label="Empty-beat rate", needs=Beats),
    "empty_measure_rate": Metric(
        function=rhythm.empty_measure_rate, unit="1", low=0, high=1, label="Empty-bar rate", needs=Beats),
    "groove_consistency": Metric(
        function=rhythm.groove_consistency, unit="1", low=0, high=1, label="Groove consistency (16 slots)",
        needs=Beats),
    "groove_jaccard": Metric(
        function=rhythm.groove_jaccard, unit="1", low=0, high=1, label="Groove consistency (onsets)", needs=Beats),
    "grooving_similarity": Metric(
        function=rhythm.grooving_similarity, unit="1", low=0, high=1, label="Grooving similarity (all pairs)",
        needs=Beats),
    "note_density": Metric(
        function=rhythm.note_density, unit="notes per beat", low=0, high=math.inf, label="Note density", needs=Beats),
    "note_density_seconds": Metric(
        function=rhythm.note_density, unit="notes per second", low=0, high=math.inf, label="Note density",
        needs=Seconds),
    "mean_duration": Metric(
        function=rhythm.mean_duration, unit="beats", low=0, high=math.inf, label="Mean duration", needs=Beats),
    "mean_duration_seconds": Metric(
        function=rhythm.mean_duration, unit="seconds", low=0, high=math.inf, label="Mean duration", needs=Seconds),
    "duration_deviation": Metric(
        function=rhythm.duration_deviation, unit="beats", low=0, high=math.inf, label="Duration deviation",
        needs=Beats),
    "duration_deviation_seconds": Metric(
        function=rhythm.duration_deviation, unit="seconds", low=0, high=math.inf, label="Duration deviation",
        needs=Seconds),
    "mean_inter_onset": Metric(
        function=rhythm.mean_inter_onset, unit="beats", low=0, high=math.inf, label="Mean inter-onset time",
        needs=Beats),
    "mean_inter_onset_seconds": Metric(
        function=rhythm.mean_inter_onset, unit="seconds", low=0, high=math.inf, label="Mean inter-onset time",
        needs=Seconds),
    "inter_onset_deviation": Metric(
        function=rhythm.inter_onset_deviation, unit="beats", low=0, high=math.inf, label="Inter-onset deviation",
        needs=Beats),
    "inter_onset_deviation_seconds": Metric(
        function=rhythm.inter_onset_deviation, unit="seconds", low=0, high=math.inf, label="Inter-onset deviation",
        needs=Seconds),
    "mean_pitch": Metric(function=pitch.mean_pitch, unit="MIDI pitch", low=0, high=127, label="Mean pitch"),
    "pitch_deviation": Metric(
        function=pitch.pitch_deviation, unit="semitones", low=0, high=63.5, label="Pitch deviation"),
    "mean_velocity": Metric(
        function=rhythm.mean_velocity, unit="MIDI velocity", low=0, high=127, label="Mean velocity"),
    "velocity_deviation": Metric(
        function=rhythm.velocity_deviation, unit="MIDI velocity", low=0, high=63.5, label="Velocity deviation"),
    "length": Metric(function=rhythm.length, unit="beats", low=0, high=math.inf, label="Length", needs=Beats),
    "length_seconds": Metric(
        function=rhythm.length, unit="seconds", low=0, high=math.inf, label="Length", needs=Seconds),
    "notes": Metric(function=rhythm.notes, unit="notes", low=0, high=math.inf, label="Notes"),
}

# Metrics that distances between sets average. Empty beats and bars hardly occur in real music: divided by so small a
# deviation, one rare value would outweigh everything else. The number of notes is the density again where windows have
# a length in beats, and a property of the encoding where they have a length in tokens. The others repeat what one of
# these measures.
_COMPARED = (
    "n_pitches_used", "n_pitch_classes_used", "pitch_range", "pitch_entropy", "pitch_class_entropy",
    "scale_consistency", "polyphony", "polyphony_rate_ge2", "groove_consistency", "note_density",
    "note_density_seconds", "mean_duration", "mean_duration_seconds", "mean_inter_onset", "mean_inter_onset_seconds",
    "mean_pitch", "pitch_deviation",
)
# fmt: on


def features_on(grid: TimeGrid) -> tuple[str, ...]:
    """Return the names of the metrics that distances between sets of windows on a grid use.

    >>> "groove_consistency" in features_on(Beats(steps_per_beat=8))
    True
    >>> "groove_consistency" in features_on(Seconds(steps_per_second=100.0))
    False
    """
    return tuple(name for name in _COMPARED if METRICS[name].admits(grid))


def refused(grid: TimeGrid) -> dict[str, str]:
    """Return the reason for each metric that is not defined on a grid, by name.

    >>> refused(Beats(steps_per_beat=8))["length_seconds"][:16]
    'it is in seconds'
    """
    return {
        name: _REASONS[metric.needs] for name, metric in METRICS.items() if metric.needs and not metric.admits(grid)
    }


def score(windows: Windows) -> pd.DataFrame:
    """Return (n, metrics) float64 values: row i is window i, the columns are the metrics that are defined on the grid.

    >>> from eval.metrics.windows import example
    >>> score(example())["notes"].tolist()
    [8.0, 0.0]
    """
    import pandas as pd

    admitted = {name: metric.function for name, metric in METRICS.items() if metric.admits(windows.grid)}
    return pd.DataFrame({name: function(windows) for name, function in admitted.items()})

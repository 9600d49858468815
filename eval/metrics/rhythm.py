"""Metrics of texture and time of windows: functions from `Windows` to (n,) float64, NaN where not defined.

Polyphony, empty time and groove are measured on the common grid (`Windows.common`), so that the numbers of different
corpora and encodings can be compared; groove above all depends on the grid. Density, durations, times between onsets
and velocities are of the notes as they are, in beats, or in seconds on a grid without beats.

muspy: see `eval.metrics.pitch`. Where muspy's version does not match its name, the metric is corrected here, and
its docstring explains how; `eval.metrics.muspy_values` has muspy's own numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.metrics.windows import STEPS_PER_BAR, STEPS_PER_BEAT, deviations, means, ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eval.metrics.windows import Windows


def polyphony(windows: Windows) -> NDArray[np.float64]:
    """Mean number of sounding pitches over the steps with at least one, 1 to 128; NaN without notes (muspy).

    >>> from eval.metrics.windows import example
    >>> polyphony(example()).round(3).tolist()
    [1.0, nan]
    """
    owner, keys, steps = sounding(windows)
    return ratio(_sums(keys * steps, owner, windows.count), _sums(steps * (keys > 0), owner, windows.count))


def polyphony_rate_ge2(windows: Windows) -> NDArray[np.float64]:
    """Share of steps, silent ones included, with two or more sounding pitches, 0 to 1; NaN without notes.

    muspy's `polyphony_rate` with threshold 1: its default of 2 asks for *more than* two pitches and gives a piece of
    nothing but dyads 0. Dong et al., "MuseGAN" (AAAI 2018).

    >>> from eval.metrics.windows import example
    >>> polyphony_rate_ge2(example()).round(3).tolist()
    [0.0, nan]
    """
    owner, keys, steps = sounding(windows)
    return ratio(_sums(steps * (keys > 1), owner, windows.count), _lengths(windows.common))


def empty_beat_rate(windows: Windows) -> NDArray[np.float64]:
    """Share of beats without a sounding note, 0 to 1; NaN without notes.

    #(beats that no interval [onset, end) meets) / (4 ceil(length in bars)). A window consists of whole bars from its
    first onset, so that silence at its end counts. muspy's version ends with the last note, also counts the beat that
    starts where a note ends, and one beat too many where the piece ends on a beat. Dong et al., "MuseGAN" (AAAI 2018).

    >>> from eval.metrics.windows import example
    >>> empty_beat_rate(example()).round(3).tolist()
    [0.0, nan]
    """
    return _empty_rate(windows, STEPS_PER_BEAT)


def empty_measure_rate(windows: Windows) -> NDArray[np.float64]:
    """Share of bars without a sounding note, 0 to 1; NaN without notes. As `empty_beat_rate`, of bars of 4 beats.

    >>> from eval.metrics.windows import example
    >>> empty_measure_rate(example()).round(3).tolist()
    [0.0, nan]
    """
    return _empty_rate(windows, STEPS_PER_BAR)


def groove_consistency(windows: Windows) -> NDArray[np.float64]:
    """1 - mean over adjacent bars of the Hamming distance of their onset patterns / 16, 0 to 1; NaN below 2 bars.

    A bar's pattern records for each of 16 sixteenths whether a note starts there; the last bar is the bar of the last
    onset. muspy's version adds an empty bar to a piece that ends on a bar line: four equal bars would not score 1. The
    share is of slots, not of onsets, so that random onsets score well above 0 and finer grids score higher still.
    Compare it with a control whose onsets are shuffled. After Wu & Yang (ISMIR 2020), who compare all pairs:
    `grooving_similarity`.

    >>> from eval.metrics.windows import example
    >>> groove_consistency(example()).round(3).tolist()
    [1.0, nan]
    """
    owner, one, other = _neighbours(windows)
    return means(1 - np.mean(one != other, axis=1), owner, windows.count)


def groove_jaccard(windows: Windows) -> NDArray[np.float64]:
    """Mean over adjacent bars of |A and B| / |A or B|, A and B their onsets, 0 to 1; NaN without such bars.

    As `groove_consistency`, but of onsets instead of slots: slots that are empty in both bars do not count as
    agreement. Two bars without onsets are not a pair.

    >>> from eval.metrics.windows import example
    >>> groove_jaccard(example()).round(3).tolist()
    [1.0, nan]
    """
    owner, one, other = _neighbours(windows)
    either = np.count_nonzero(one | other, axis=1)
    pair = either > 0
    shared = np.count_nonzero(one & other, axis=1)
    return means(shared[pair] / either[pair], owner[pair], windows.count)


def grooving_similarity(windows: Windows) -> NDArray[np.float64]:
    """1 - mean over all pairs of bars of the Hamming distance of their onset patterns / 16, 0 to 1; NaN below 2 bars.

    Of b bars c_s have an onset in slot s, so that the distances add up to sum_s c_s (b - c_s). Wu & Yang (ISMIR 2020),
    who draw pairs at random from long pieces, and have 64 slots a bar.

    >>> from eval.metrics.windows import example
    >>> grooving_similarity(example()).round(3).tolist()
    [1.0, nan]
    """
    patterns, owner = _patterns(windows)
    lengths = bars(windows)
    bar, slot = np.nonzero(patterns)
    counts = np.bincount(owner[bar] * STEPS_PER_BAR + slot, minlength=windows.count * STEPS_PER_BAR)
    counts = counts.reshape(-1, STEPS_PER_BAR)
    distances = np.sum(counts * (lengths[:, None] - counts), axis=1)
    return 1 - ratio(distances, STEPS_PER_BAR * lengths * (lengths - 1) / 2)


def note_density(windows: Windows) -> NDArray[np.float64]:
    """Notes / (last end - first onset), in notes per beat or second, above 0; NaN without notes.

    >>> from eval.metrics.windows import example
    >>> note_density(example()).round(3).tolist()
    [1.0, nan]
    """
    return ratio(windows.sizes, _lengths(windows)) * windows.steps


def mean_duration(windows: Windows) -> NDArray[np.float64]:
    """Mean note duration in beats or seconds, above 0; NaN without notes.

    >>> from eval.metrics.windows import example
    >>> mean_duration(example()).round(3).tolist()
    [1.0, nan]
    """
    return means(windows.notes["duration"], windows.owner, windows.count) / windows.steps


def duration_deviation(windows: Windows) -> NDArray[np.float64]:
    """Standard deviation (divisor n) of the note durations in beats or seconds, from 0; NaN without notes.

    >>> from eval.metrics.windows import example
    >>> duration_deviation(example()).round(3).tolist()
    [0.0, nan]
    """
    return deviations(windows.notes["duration"], windows.owner, windows.count) / windows.steps


def mean_inter_onset(windows: Windows) -> NDArray[np.float64]:
    """Mean time from one distinct onset to the next in beats or seconds, above 0; NaN below two distinct onsets.

    Distinct onsets: the notes of a chord count once.

    >>> from eval.metrics.windows import example
    >>> mean_inter_onset(example()).round(3).tolist()
    [1.0, nan]
    """
    owner, times = _inter_onsets(windows)
    return means(times, owner, windows.count) / windows.steps


def inter_onset_deviation(windows: Windows) -> NDArray[np.float64]:
    """Standard deviation (divisor n) of the times of `mean_inter_onset`, in beats or seconds, from 0; NaN below two.

    >>> from eval.metrics.windows import example
    >>> inter_onset_deviation(example()).round(3).tolist()
    [0.0, nan]
    """
    owner, times = _inter_onsets(windows)
    return deviations(times, owner, windows.count) / windows.steps


def mean_velocity(windows: Windows) -> NDArray[np.float64]:
    """Mean MIDI velocity, 0 to 127; NaN without notes. For scores it is the value that the file or the decoder set.

    >>> from eval.metrics.windows import example
    >>> mean_velocity(example()).round(3).tolist()
    [64.0, nan]
    """
    return means(windows.notes["velocity"], windows.owner, windows.count)


def velocity_deviation(windows: Windows) -> NDArray[np.float64]:
    """Standard deviation (divisor n) of the MIDI velocity, 0 to 63.5; NaN without notes.

    >>> from eval.metrics.windows import example
    >>> velocity_deviation(example()).round(3).tolist()
    [0.0, nan]
    """
    return deviations(windows.notes["velocity"], windows.owner, windows.count)


def notes(windows: Windows) -> NDArray[np.float64]:
    """Number of notes, from 0; never NaN.

    >>> from eval.metrics.windows import example
    >>> notes(example()).round(3).tolist()
    [8.0, 0.0]
    """
    return windows.sizes.astype(np.float64)


def length(windows: Windows) -> NDArray[np.float64]:
    """Time from the first onset to the last end in beats or seconds, above 0; NaN without notes.

    >>> from eval.metrics.windows import example
    >>> length(example()).round(3).tolist()
    [8.0, nan]
    """
    return np.where(windows.sizes > 0, _lengths(windows) / windows.steps, np.nan)


def bars(windows: Windows) -> NDArray[np.int64]:
    """Return the (n,) numbers of bars on the common grid, up to that of the last onset, 0 without notes.

    >>> from eval.metrics.windows import example
    >>> bars(example()).tolist()
    [2, 0]
    """
    common, lengths = windows.common, np.zeros(windows.count, np.int64)
    np.maximum.at(lengths, common.owner, common.notes["onset"].astype(np.int64) // STEPS_PER_BAR + 1)
    return lengths


class Segments(NamedTuple):
    """Stretches of time in which the same notes sound: (k,) windows, numbers of pitches, and lengths in steps."""

    owner: NDArray[np.int64]
    level: NDArray[np.int64]
    steps: NDArray[np.int64]


def _segments(owner: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64]) -> Segments:
    """Return the stretches between the starts and stops of (m,) intervals, from the first start to the last stop."""
    owners, times = np.concatenate([owner, owner]), np.concatenate([start, stop])
    change = np.repeat([1, -1], len(owner))
    order = np.lexsort((times, owners))
    owners, times, level = owners[order], times[order], np.cumsum(change[order])
    inside = owners[1:] == owners[:-1]
    return Segments(owners[1:][inside], level[:-1][inside], np.diff(times)[inside])


def sounding(windows: Windows) -> Segments:
    """Return the numbers of sounding pitches; a key that is struck again while it sounds counts once."""
    common = windows.common
    order = np.lexsort((common.notes["onset"], common.notes["pitch"], common.owner))
    owner, pitch = common.owner[order], common.notes["pitch"][order]
    start, end = common.notes["onset"][order].astype(np.int64), common.ends[order]
    key = owner * 128 + pitch
    # The running maximum of the ends of one key, by numbers that no later key falls short of.
    shift = key * (int(end.max(initial=0)) + 1)
    latest = np.maximum.accumulate(end + shift)
    start[1:] = np.maximum(start[1:], np.where(key[1:] == key[:-1], latest[:-1] - shift[1:], 0))
    return _segments(owner, np.minimum(start, end), end)


def _empty_rate(windows: Windows, unit: int) -> NDArray[np.float64]:
    common = windows.common
    owner, level, units = _segments(common.owner, common.notes["onset"] // unit, -(-common.ends // unit))
    every = STEPS_PER_BAR // unit * -(-_lengths(common) // STEPS_PER_BAR)
    return ratio(every - _sums(units * (level > 0), owner, windows.count), every)


def _neighbours(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the windows of adjacent bars, the (k, 16) patterns of the earlier and those of the later bars."""
    patterns, owner = _patterns(windows)
    pair = owner[1:] == owner[:-1]
    return owner[1:][pair], patterns[:-1][pair], patterns[1:][pair]


def _patterns(windows: Windows) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the (b, 16) onset patterns of the bars of all windows, and the window of each."""
    lengths = bars(windows)
    starts = np.cumsum(lengths) - lengths
    patterns = np.zeros(int(lengths.sum()) * STEPS_PER_BAR, dtype=bool)
    patterns[starts[windows.common.owner] * STEPS_PER_BAR + windows.common.notes["onset"]] = True
    return patterns.reshape(-1, STEPS_PER_BAR), np.repeat(np.arange(windows.count), lengths)


def _inter_onsets(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the windows of the times between distinct onsets, and the times in steps."""
    times = np.diff(windows.notes["onset"])
    between = (times > 0) & (windows.owner[1:] == windows.owner[:-1])
    return windows.owner[1:][between], times[between]


def _lengths(windows: Windows) -> NDArray[np.int64]:
    """Return the (n,) steps from first onset to last end, 0 without notes."""
    last = np.zeros(windows.count, np.int64)
    np.maximum.at(last, windows.owner, windows.ends)
    filled = windows.sizes > 0
    last[filled] -= windows.notes["onset"][windows.starts[:-1][filled]]
    return last


def _sums(values: NDArray[np.int64], owner: NDArray[np.int64], count: int) -> NDArray[Any]:
    return np.bincount(owner, weights=values, minlength=count)

"""Metrics of the pitches of windows: functions from `Windows` to (n,) float64, NaN for a window without notes.

Notes are those of the common grid (`Windows.common`), as for the metrics of `eval.metrics.rhythm`; mean and deviation
of the pitch are of the notes as they are.

muspy: H.-W. Dong, K. Chen, J. McAuley and T. Berg-Kirkpatrick, "MusPy: A Toolkit for Symbolic Music Generation",
ISMIR 2020, https://arxiv.org/abs/2008.01951, whose numbers these are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from eval.metrics.rhythm import bars
from eval.metrics.windows import STEPS_PER_BAR, deviations, means, ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from eval.metrics.windows import Windows

PITCHES, CLASSES = 128, 12
MAJOR = np.array([0, 2, 4, 5, 7, 9, 11])  # semitones above the root


def n_pitches_used(windows: Windows) -> NDArray[np.float64]:
    """Number of distinct MIDI pitches, 0 to 128; never NaN.

    >>> from eval.metrics.windows import example
    >>> n_pitches_used(example()).round(3).tolist()
    [8.0, 0.0]
    """
    return _used(_counts(windows, PITCHES))


def n_pitch_classes_used(windows: Windows) -> NDArray[np.float64]:
    """Number of distinct pitches modulo 12, 0 to 12; never NaN.

    >>> from eval.metrics.windows import example
    >>> n_pitch_classes_used(example()).round(3).tolist()
    [7.0, 0.0]
    """
    return _used(_counts(windows, CLASSES))


def pitch_range(windows: Windows) -> NDArray[np.float64]:
    """Highest minus lowest pitch in semitones, 0 to 127; never NaN, 0 without notes.

    >>> from eval.metrics.windows import example
    >>> pitch_range(example()).round(3).tolist()
    [12.0, 0.0]
    """
    used = _counts(windows, PITCHES) > 0
    lowest, below_highest = used.argmax(axis=1), used[:, ::-1].argmax(axis=1)
    return np.where(used.any(axis=1), PITCHES - 1.0 - below_highest - lowest, 0.0)


def pitch_entropy(windows: Windows) -> NDArray[np.float64]:
    """-sum_i p_i log2 p_i over the shares p_i of notes at each pitch, in bits, 0 to 7.

    >>> from eval.metrics.windows import example
    >>> pitch_entropy(example()).round(3).tolist()
    [3.0, nan]
    """
    return entropy(_counts(windows, PITCHES))


def pitch_class_entropy(windows: Windows) -> NDArray[np.float64]:
    """-sum_i p_i log2 p_i over the shares p_i of notes in each pitch class, in bits, 0 to log2 12.

    Of the whole window, weighted by notes, as in muspy and in Dong et al., "Multitrack Music Transformer" (ICASSP 2023,
    https://arxiv.org/abs/2207.06983). It grows with the length of the window.

    >>> from eval.metrics.windows import example
    >>> pitch_class_entropy(example()).round(3).tolist()
    [2.75, nan]
    """
    return entropy(_counts(windows, CLASSES))


def pitch_class_entropy_1bar(windows: Windows) -> NDArray[np.float64]:
    """Mean over the bars with notes of the pitch-class entropy of one bar, in bits, 0 to log2 12.

    H1 of Wu & Yang, "The Jazz Transformer on the Front Line" (ISMIR 2020, https://arxiv.org/abs/2008.01307). A note is
    of the bar that it starts in.

    >>> from eval.metrics.windows import example
    >>> pitch_class_entropy_1bar(example()).round(3).tolist()
    [2.0, nan]
    """
    return _local_entropy(windows, 1)


def pitch_class_entropy_4bar(windows: Windows) -> NDArray[np.float64]:
    """Mean over every four bars in a row with notes of their pitch-class entropy, in bits, 0 to log2 12.

    H4 of Wu & Yang; a window of fewer bars is taken as a whole, as in their code.

    >>> from eval.metrics.windows import example
    >>> pitch_class_entropy_4bar(example()).round(3).tolist()
    [2.75, nan]
    """
    return _local_entropy(windows, 4)


def pitch_in_c_major_rate(windows: Windows) -> NDArray[np.float64]:
    """Share of notes on white keys, 0 to 1: muspy's `pitch_in_scale_rate` of C major. It shows the key, not quality.

    >>> from eval.metrics.windows import example
    >>> pitch_in_c_major_rate(example()).round(3).tolist()
    [1.0, nan]
    """
    return scale_rates(windows)[:, 0]


def scale_consistency(windows: Windows) -> NDArray[np.float64]:
    """Largest share of notes in one scale, over the major and natural minor scales, 7/12 to 1.

    Each class is in 7 of the 12 scales, hence the lower bound. Harmonic minor counts as out of scale. O. Mogren,
    "C-RNN-GAN" (2016), as computed by muspy.

    >>> from eval.metrics.windows import example
    >>> scale_consistency(example()).round(3).tolist()
    [1.0, nan]
    """
    largest: NDArray[np.float64] = scale_rates(windows).max(axis=1)
    return largest


def scale_rates(windows: Windows) -> NDArray[np.float64]:
    """Return (n, 12) shares of notes in the major scale on each class; a natural minor scale is its relative major.

    >>> from eval.metrics.windows import example
    >>> scale_rates(example())[0].round(3).tolist()
    [1.0, 0.375, 0.625, 0.625, 0.375, 0.875, 0.25, 0.875, 0.5, 0.5, 0.75, 0.25]
    """
    counts = _counts(windows, CLASSES)
    within = counts[:, (np.arange(CLASSES)[:, None] + MAJOR) % CLASSES].sum(axis=2)
    return ratio(within, counts.sum(axis=1, keepdims=True))


def mean_pitch(windows: Windows) -> NDArray[np.float64]:
    """Mean MIDI pitch, 0 to 127.

    >>> from eval.metrics.windows import example
    >>> mean_pitch(example()).round(3).tolist()
    [66.25, nan]
    """
    return means(windows.notes["pitch"], windows.owner, windows.count)


def pitch_deviation(windows: Windows) -> NDArray[np.float64]:
    """Standard deviation (divisor n) of the MIDI pitch in semitones, 0 to 63.5.

    >>> from eval.metrics.windows import example
    >>> pitch_deviation(example()).round(3).tolist()
    [3.992, nan]
    """
    return deviations(windows.notes["pitch"], windows.owner, windows.count)


def entropy(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the (n,) Shannon entropies in bits of (n, k) counts, NaN where all are 0.

    >>> entropy(np.array([[1, 1], [2, 0], [0, 0]])).tolist()
    [1.0, 0.0, nan]
    """
    shares = ratio(counts, counts.sum(axis=1, keepdims=True))
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares != 0)
    bits: NDArray[np.float64] = np.abs(np.sum(shares * logs, axis=1))  # a minus sign would make -0 of no uncertainty
    return bits


def _counts(windows: Windows, numbers: int) -> NDArray[np.int64]:
    """Return (n, numbers) counts of notes by their pitch modulo `numbers`."""
    common = windows.common
    keys = common.owner * numbers + common.notes["pitch"] % numbers
    return np.bincount(keys, minlength=common.count * numbers).reshape(-1, numbers)


def _used(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    used: NDArray[np.float64] = np.count_nonzero(counts, axis=1).astype(np.float64)
    return used


def _local_entropy(windows: Windows, width: int) -> NDArray[np.float64]:
    """Return mean pitch-class entropies of all runs of `width` bars; of all bars if a window has fewer."""
    common, lengths = windows.common, bars(windows)
    starts = np.cumsum(lengths) - lengths
    keys = (starts[common.owner] + common.notes["onset"] // STEPS_PER_BAR) * CLASSES + common.notes["pitch"] % CLASSES
    counts = np.bincount(keys, minlength=int(lengths.sum()) * CLASSES).reshape(-1, CLASSES)
    before = np.concatenate([np.zeros((1, CLASSES), np.int64), np.cumsum(counts, axis=0)])
    widths = np.minimum(lengths, width)
    passages = np.where(lengths > 0, lengths - widths + 1, 0)
    owner = np.repeat(np.arange(common.count), passages)
    first = np.arange(len(owner)) + (starts - np.cumsum(passages) + passages)[owner]
    values = entropy(before[first + widths[owner]] - before[first])
    sounding = ~np.isnan(values)
    return means(values[sounding], owner[sounding], common.count)

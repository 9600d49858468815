"""Distances of harmony and form: simultaneous intervals, successions of chords, and similarity of bars.

Each distance compares counts summed over a set. The counts of each window are taken on the common grid
(`Windows.common`), which begins with the window's first note. None of them depends on the key.
"""

# ruff: noqa: PD011 - `Rows.values` is an array, not the attribute of a pandas object
from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.rhythm import bars
from eval.metrics.windows import STEPS_PER_BAR

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from eval.distances.rows import Rows
    from eval.metrics.windows import Windows

TRIADS = ((0, 4, 7), (0, 3, 7), (0, 3, 6))  # semitones above the root: major, minor, diminished
SILENCE = len(TRIADS)  # the quality of a slot without notes
STEPS_PER_CHORD = STEPS_PER_BAR // 2  # half a bar of 4/4, or one second in music without beats
LAGS = 15


def interval_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 12) the number of steps for which pairs of notes sound at each interval, modulo the octave.

    Column k counts the steps in which both notes sound, over all pairs of simultaneous notes of different pitch whose
    distance is k semitones modulo 12.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> interval_counts(example(), pd.DataFrame()).sum().item()  # no two notes sound together
    0.0
    """
    common = windows.common
    start, end, owner = common.notes["onset"].astype(np.int64), common.ends, common.owner
    pitch = common.notes["pitch"].astype(np.int64)
    # All windows lie on one time line. There a note overlaps the later notes that begin before it ends.
    span = int(end.max(initial=0)) + 1
    line = owner * span + start
    overlaps = np.searchsorted(line, owner * span + end) - np.arange(len(line)) - 1
    first = np.repeat(np.arange(len(line)), overlaps)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(overlaps) - overlaps, overlaps)
    gap = np.abs(pitch[first] - pitch[second])
    steps = np.where(gap > 0, np.minimum(end[first], end[second]) - start[second], 0)
    return event_counts(owner[first], gap % 12, steps, shape=(len(windows), 12))


def chord_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 192) the number of occurrences of each kind of pair of successive chords.

    Chords are those of `chords`. Column (q * 4 + r) * 12 + m counts chords of quality q that are followed by one of
    quality r whose root is m semitones higher, modulo 12. Pairs with silence have m = 0.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> chord_counts(example(), pd.DataFrame()).sum(axis=1).tolist()
    [3.0, 0.0]
    """
    quality, root, owner = chords(windows)
    together = owner[1:] == owner[:-1]
    sounding = (quality[1:] != SILENCE) & (quality[:-1] != SILENCE)
    motion = np.where(sounding, (root[1:] - root[:-1]) % 12, 0)
    kinds = SILENCE + 1
    pair = (quality[:-1] * kinds + quality[1:]) * 12 + motion
    return event_counts(owner[1:][together], pair[together], shape=(len(windows), kinds * kinds * 12))


def chords(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the quality, root and window of the chord of every half-bar slot, (m,) each.

    A slot is 2 beats, or one second in music without beats. The quality is an index into `TRIADS`, or `SILENCE`; the
    root is a pitch class. The chord is the triad whose tones sound longest within the slot. Ties prefer the triad whose
    root is the lowest note, then the third, then the fifth, so that transposed music has transposed chords.

    >>> from eval.metrics.windows import example
    >>> quality, root, window = chords(example())
    >>> root.tolist()
    [0, 4, 7, 11]
    """
    common = windows.common
    onset, end = common.notes["onset"].astype(np.int64), common.ends
    # The latest end of a note gives the number of slots of a window; windows without notes have no slots.
    last = np.zeros(len(windows), np.int64)
    np.maximum.at(last, common.owner, end)
    slots = -(-last // STEPS_PER_CHORD)
    starts = np.cumsum(slots) - slots
    begin, stop = onset // STEPS_PER_CHORD, -(-end // STEPS_PER_CHORD)
    note = np.repeat(np.arange(len(onset)), stop - begin)
    place = begin[note] + np.arange(len(note)) - np.repeat(np.cumsum(stop - begin) - (stop - begin), stop - begin)
    steps = np.minimum(end[note], (place + 1) * STEPS_PER_CHORD) - np.maximum(onset[note], place * STEPS_PER_CHORD)
    slot, pitch = starts[common.owner[note]] + place, common.notes["pitch"][note].astype(np.int64)

    total = int(slots.sum())
    bass = np.full(total, 127)
    np.minimum.at(bass, slot, pitch)
    above_bass = event_counts(slot, (pitch - bass[slot]) % 12, steps, shape=(total, 12))
    candidates = sorted(product(range(len(TRIADS)), range(12)), key=_inversion)
    tones = np.zeros((12, len(candidates)))
    for column, (quality, root) in enumerate(candidates):
        tones[np.add(TRIADS[quality], root) % 12, column] = 1
    best = np.array(candidates)[np.argmax(above_bass @ tones, axis=1)]  # the first of ties
    kind = np.where(above_bass.any(axis=1), best[:, 0], SILENCE)
    return kind, (best[:, 1] + bass) % 12, np.repeat(np.arange(len(windows)), slots)


def _inversion(chord: tuple[int, int]) -> int:
    """Return the inversion, 0 to 2, of a chord (quality, root above the bass); 3 if the bass is not in the chord."""
    quality, root = chord
    bass = -root % 12
    return TRIADS[quality].index(bass) if bass in TRIADS[quality] else len(TRIADS[quality])


def divergence(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the Jensen-Shannon divergence of the sets' summed counts in bits, 0 to 1.

    H((p + q) / 2) - H(p) / 2 - H(q) / 2, where p and q are the shares of each kind. Finite samples of one distribution
    differ by about (K - 1) / (4 N ln 2) for N counts of K kinds in each. A window without counts gets one count of an
    extra kind, "nothing", so that such windows do not bring a set closer. Never NaN.

    J. Lin, "Divergence Measures Based on the Shannon Entropy" (1991).

    >>> from eval.distances.rows import Rows
    >>> one, other = (Rows(np.array([counts]), np.arange(1)) for counts in ([2.0, 0.0], [0.0, 2.0]))
    >>> divergence(one, one, np.random.default_rng(0)), divergence(one, other, np.random.default_rng(0))
    (0.0, 1.0)
    """
    from scipy.spatial.distance import jensenshannon

    p, q = (
        np.append(rows.values.sum(axis=0), np.count_nonzero(~rows.values.any(axis=1))) for rows in (sample, reference)
    )
    return float(jensenshannon(p, q, base=2) ** 2)


def bar_facts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 2, 15) the summed similarity and the number of pairs of bars for each lag of 1 to 15 bars.

    Bars are 4 beats, counted from the first onset to the last. The similarity of two bars is |A n B| / |A u B| of their
    notes, which are equal if position in the bar, pitch and duration are. Pairs without any onset do not count.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> bar_facts(example(), pd.DataFrame())[:, 1, 0].tolist()  # pairs of adjacent bars
    [1.0, 0.0]
    """
    common = windows.common
    onset = common.notes["onset"].astype(np.int64)
    lengths = bars(windows)
    owner = np.repeat(np.arange(len(windows)), lengths)  # the window of each bar
    starts = np.cumsum(lengths) - lengths
    bar = starts[common.owner] + onset // STEPS_PER_BAR
    shape = np.column_stack([onset % STEPS_PER_BAR, common.notes["pitch"], common.notes["duration"]])
    kinds, kind = np.unique(shape, axis=0, return_inverse=True)
    sizes = np.bincount(bar, minlength=len(owner))
    key = np.sort(bar * len(kinds) + kind)

    facts = np.zeros((len(windows), 2, LAGS))
    for lag in range(1, LAGS + 1):
        pairs = np.flatnonzero(owner[lag:] == owner[:-lag])
        again = np.isin(key + lag * len(kinds), key, assume_unique=True)
        shared = np.bincount(key[again] // max(1, len(kinds)), minlength=len(owner))[pairs]
        union = sizes[pairs] + sizes[pairs + lag] - shared
        similarity = shared / np.maximum(1, union)
        facts[:, 0, lag - 1] = np.bincount(owner[pairs], similarity, minlength=len(windows))
        facts[:, 1, lag - 1] = np.bincount(owner[pairs], union > 0, minlength=len(windows))
    return facts


def bar_similarity(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the bar-similarity error, 0 to 1: the weighted mean over lags t of |L_t(sample) - L_t(reference)|.

    L_t is the mean similarity of all pairs of bars that are t apart, over all windows of the set. It is 0 in a sample
    without such pairs, so windows too short to repeat anything score no better than those that do not repeat. The
    weight of a lag is its number of pairs in the reference: windows cut by tokens rarely reach the long lags, and a
    plain mean, as published, would mostly be the noise of a few pairs. NaN if the reference has no pairs, as in windows
    of a single bar.

    B. Yu et al., "Museformer" (2022), https://arxiv.org/abs/2210.10349.

    >>> from eval.distances.rows import Rows
    >>> repeated, varied = (Rows(np.array([[[similar], [1.0]]]), np.arange(1)) for similar in (1.0, 0.25))
    >>> bar_similarity(repeated, varied, np.random.default_rng(0))
    0.75
    """
    (ours, pairs), (theirs, real_pairs) = sample.values.sum(axis=0), reference.values.sum(axis=0)
    if not real_pairs.any():
        return math.nan
    error = np.abs(ours / np.maximum(1, pairs) - theirs / np.maximum(1, real_pairs))
    return float(np.average(error, weights=real_pairs))


def event_counts(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    weights: NDArray[np.int64] | None = None,
    *,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return a table of the sums of weights (1 each by default) by row and column."""
    flat = np.bincount(row * shape[1] + column, weights, minlength=shape[0] * shape[1])
    return flat.reshape(shape).astype(np.float64)

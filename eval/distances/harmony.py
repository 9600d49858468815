"""Which notes sound together, how chords follow one another, and how bars resemble earlier bars.

Facts are counts for each window on the common grid (`Windows.common`), which begins with the window's first note; the
distances are of the counts of whole sets. None of them depends on the key.
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
STEPS_PER_CHORD = STEPS_PER_BAR // 2  # half a bar of 4/4, or a second where there are no beats
LAGS = 15


def interval_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 12) steps for which two keys sound at each interval, modulo the octave.

    Column k counts, over all pairs of simultaneous notes of different pitch, the steps in which both sound whose
    distance is k semitones modulo 12.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> interval_counts(example(), pd.DataFrame()).sum().item()  # no two notes sound together
    0.0
    """
    common = windows.common
    start, end, owner = common.notes["onset"].astype(np.int64), common.ends, common.owner
    pitch = common.notes["pitch"].astype(np.int64)
    # On one time line of all windows, a note meets those after it that begin before it ends.
    span = int(end.max(initial=0)) + 1
    line = owner * span + start
    meets = np.searchsorted(line, owner * span + end) - np.arange(len(line)) - 1
    first = np.repeat(np.arange(len(line)), meets)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(meets) - meets, meets)
    gap = np.abs(pitch[first] - pitch[second])
    steps = np.where(gap > 0, np.minimum(end[first], end[second]) - start[second], 0)
    return _counts(owner[first], gap % 12, steps, shape=(len(windows), 12))


def chord_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 192) occurrences of each pair of successive chords: qualities of both, and semitones between roots.

    Chords are those of `chords`; column (q * 4 + r) * 12 + m is a chord of quality q before one of quality r whose root
    is m semitones higher, modulo 12. Pairs with silence have m = 0.

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
    return _counts(owner[1:][together], pair[together], shape=(len(windows), kinds * kinds * 12))


def chords(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the chord of every half-bar (2 beats; a second where there are none): quality, root, window, (m,) each.

    Quality is a place in `TRIADS`, or `SILENCE`; the root is a pitch class. The chord is the triad whose tones sound
    longest within the slot, of equal ones that of which the lowest note is the root, else the third, else the fifth:
    a choice in which transposed music has transposed chords.

    >>> from eval.metrics.windows import example
    >>> quality, root, window = chords(example())
    >>> root.tolist()
    [0, 4, 7, 11]
    """
    common = windows.common
    onset, end = common.notes["onset"].astype(np.int64), common.ends
    # Whoever ends last in a window says how many slots it has; one without notes has none.
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
    above_bass = _counts(slot, (pitch - bass[slot]) % 12, steps, shape=(total, 12))
    candidates = sorted(product(range(len(TRIADS)), range(12)), key=_inversion)
    tones = np.zeros((12, len(candidates)))
    for column, (quality, root) in enumerate(candidates):
        tones[np.add(TRIADS[quality], root) % 12, column] = 1
    best = np.array(candidates)[np.argmax(above_bass @ tones, axis=1)]  # the first of equal ones
    kind = np.where(above_bass.any(axis=1), best[:, 0], SILENCE)
    return kind, (best[:, 1] + bass) % 12, np.repeat(np.arange(len(windows)), slots)


def _inversion(chord: tuple[int, int]) -> int:
    """Return which tone of a triad, its root so far above the bass, the bass is: 0, 1, 2, or 3 for none of them."""
    quality, root = chord
    bass = -root % 12
    return TRIADS[quality].index(bass) if bass in TRIADS[quality] else len(TRIADS[quality])


def divergence(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the Jensen-Shannon divergence of the sets' summed counts in bits, 0 to 1.

    H((p + q) / 2) - H(p) / 2 - H(q) / 2, p and q the shares of each kind. Finite samples are apart by about
    (K - 1) / (4 N ln 2) for N counts of K kinds in each. A window without any counts has one of a kind of its own,
    "nothing", so that a set is no nearer for having such windows; never NaN.

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
    """Return (n, 2, 15): for each lag of 1 to 15 bars the summed similarity of pairs of bars, and how many pairs.

    Bars are 4 beats from the first onset to the last; that of two bars is |A n B| / |A u B| of their notes, equal in
    place, pitch and duration. Pairs of bars in which no note begins do not count.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> bar_facts(example(), pd.DataFrame())[:, 1, 0].tolist()  # pairs of adjacent bars
    [1.0, 0.0]
    """
    common = windows.common
    onset = common.notes["onset"].astype(np.int64)
    lengths = bars(windows)
    owner = np.repeat(np.arange(len(windows)), lengths)  # of each bar
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
    """Return the bar-similarity error, 0 to 1: mean over lags t of |L_t(sample) - L_t(reference)|.

    L_t is the mean similarity of all pairs of bars that are t apart, over all windows of the set, and 0 in a sample
    without such pairs: windows too short to repeat anything are no better than those that do not. A lag weighs as much
    as it has pairs in the reference: windows cut by tokens rarely reach the long lags, and a plain mean, as published,
    would be the noise of a handful of pairs. NaN where the reference has no pairs, as in windows of a single bar.

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


def _counts(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    weights: NDArray[np.int64] | None = None,
    *,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return a table with the weights (1 each by default) summed at their rows and columns."""
    flat = np.bincount(row * shape[1] + column, weights, minlength=shape[0] * shape[1])
    return flat.reshape(shape).astype(np.float64)

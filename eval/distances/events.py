"""Counts of musical events in windows: the order of notes, not only how often each occurs.

Each function returns one row of counts per window, on the common grid (`Windows.common`), which begins with the
window's first note. Sets of windows are compared by `eval.distances.harmony.divergence` of the sums.

Outer lines are what a listener follows: of the notes that begin together, the highest is in the upper line and the
lowest in the lower one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eval.distances.harmony import event_counts
from eval.metrics.rhythm import sounding
from eval.metrics.windows import STEPS_PER_BAR

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from eval.metrics.windows import Windows

REGISTER = 4  # semitones
WIDEST_STEP = 13  # semitones: an octave, and one kind for all wider steps
LONGEST = 24  # steps of the common grid, one and a half bars; longer durations count as this
MOST_TOGETHER = 9  # notes; more count as this
# Upper limits (exclusive) of the classes of times between onsets, in steps of the common grid: up to a sixteenth, an
# eighth, a dotted eighth, a quarter, up to a dotted quarter, a half, and longer.
INTER_ONSETS = (2, 3, 4, 5, 7, 9)


class _Onsets(NamedTuple):
    """The distinct onsets of all windows.

    Attributes:
        owner: (k,) window of each onset.
        time: (k,) grid step.
        low: (k,) lowest pitch that begins there.
        high: (k,) highest pitch that begins there.
        notes: (k,) number of notes that begin there.
    """

    owner: NDArray[np.int64]
    time: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    notes: NDArray[np.int64]


def register_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 32) the number of notes in each register of four semitones, from MIDI pitch 0.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> register_counts(example(), pd.DataFrame())[0, 15:19].tolist()
    [2.0, 3.0, 2.0, 1.0]
    """
    common = windows.common
    return event_counts(common.owner, common.notes["pitch"].astype(np.int64) // REGISTER, shape=(len(windows), 32))


def pitch_class_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 12) the number of notes of each pitch class.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> pitch_class_counts(example(), pd.DataFrame())[0, :5].tolist()
    [2.0, 0.0, 1.0, 0.0, 1.0]
    """
    common = windows.common
    return event_counts(common.owner, common.notes["pitch"].astype(np.int64) % 12, shape=(len(windows), 12))


def inter_onset_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 49) the number of pairs of successive times between distinct onsets, by the classes of both.

    Column 7 a + b counts a time of class a that is followed by one of class b; see `INTER_ONSETS`.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> inter_onset_counts(example(), pd.DataFrame())[0, 3 * 7 + 3].item()  # quarters follow quarters
    6.0
    """
    onsets = _onsets(windows)
    kinds = len(INTER_ONSETS) + 1
    between = np.searchsorted(INTER_ONSETS, np.diff(onsets.time), side="right")
    within = onsets.owner[1:] == onsets.owner[:-1]
    both = within[1:] & within[:-1]
    pair = between[:-1] * kinds + between[1:]
    return event_counts(onsets.owner[2:][both], pair[both], shape=(len(windows), kinds * kinds))


def duration_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 24) the number of notes of each duration in steps of the common grid; longer ones count as 24.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> duration_counts(example(), pd.DataFrame())[0, 3].item()
    8.0
    """
    common = windows.common
    kind = np.minimum(common.notes["duration"].astype(np.int64), LONGEST) - 1
    return event_counts(common.owner, kind, shape=(len(windows), LONGEST))


def place_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 16) the number of notes that begin at each sixteenth of the bar; bars begin with the window.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> place_counts(example(), pd.DataFrame())[0, ::4].tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    common = windows.common
    place = common.notes["onset"].astype(np.int64) % STEPS_PER_BAR
    return event_counts(common.owner, place, shape=(len(windows), STEPS_PER_BAR))


def upper_line_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 27) the number of steps of the upper line by their size, -13 to 13 semitones; wider ones count as 13.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> upper_line_counts(example(), pd.DataFrame())[0, 14:16].tolist()  # up by a semitone, by a tone
    [2.0, 5.0]
    """
    onsets = _onsets(windows)
    return _step_counts(onsets.owner, onsets.high, len(windows))


def lower_line_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 27) the number of steps of the lower line by their size; see `upper_line_counts`.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> lower_line_counts(example(), pd.DataFrame())[0, 14:16].tolist()
    [2.0, 5.0]
    """
    onsets = _onsets(windows)
    return _step_counts(onsets.owner, onsets.low, len(windows))


def struck_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 9) the number of onsets at which 1, 2, ... notes begin together; more than 9 count as 9.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> struck_counts(example(), pd.DataFrame())[0, :2].tolist()
    [8.0, 0.0]
    """
    onsets = _onsets(windows)
    kind = np.minimum(onsets.notes, MOST_TOGETHER) - 1
    return event_counts(onsets.owner, kind, shape=(len(windows), MOST_TOGETHER))


def sounding_counts(windows: Windows, _scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, 10) the number of steps in which 0, 1, ... pitches sound; more than 9 count as 9.

    >>> import pandas as pd
    >>> from eval.metrics.windows import example
    >>> sounding_counts(example(), pd.DataFrame())[0, :2].tolist()
    [0.0, 32.0]
    """
    parts = sounding(windows)
    kind = np.minimum(parts.level, MOST_TOGETHER)
    return event_counts(parts.owner, kind, parts.steps, shape=(len(windows), MOST_TOGETHER + 1))


def _onsets(windows: Windows) -> _Onsets:
    """Return the distinct onsets of all windows; the notes of a window are sorted by onset, then pitch."""
    common = windows.common
    time, pitch = common.notes["onset"].astype(np.int64), common.notes["pitch"].astype(np.int64)
    starts = np.flatnonzero(np.diff(time, prepend=-1) | np.diff(common.owner, prepend=-1))
    ends = np.append(starts[1:], len(time))[: len(starts)]  # none if there are no notes
    return _Onsets(common.owner[starts], time[starts], pitch[starts], pitch[ends - 1], ends - starts)


def _step_counts(owner: NDArray[np.int64], pitch: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return (count, 27) the number of steps from one pitch of a line to the next, by size."""
    within = owner[1:] == owner[:-1]
    step = np.clip(np.diff(pitch), -WIDEST_STEP, WIDEST_STEP) + WIDEST_STEP
    return event_counts(owner[1:][within], step[within], shape=(count, 2 * WIDEST_STEP + 1))

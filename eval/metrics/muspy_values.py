"""Values of muspy's own metrics, for comparison with papers that report them unchanged.

Some of them are not what their names say; see `eval.metrics.rhythm` for the corrected ones. The library's two metrics
of drum patterns are left out, because without drums they are always NaN.

muspy: H.-W. Dong, K. Chen, J. McAuley and T. Berg-Kirkpatrick, "MusPy: A Toolkit for Symbolic Music Generation",
ISMIR 2020, https://arxiv.org/abs/2008.01951.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.windows import STEPS_PER_BAR, STEPS_PER_BEAT

if TYPE_CHECKING:
    import pandas as pd

    from eval.metrics.windows import Windows

# Names of muspy's functions, and the arguments that have no default.
_ARGUMENTS: dict[str, dict[str, int | str]] = {
    "n_pitches_used": {},
    "n_pitch_classes_used": {},
    "pitch_range": {},
    "pitch_entropy": {},
    "pitch_class_entropy": {},
    "pitch_in_scale_rate": {"root": 0, "mode": "major"},
    "scale_consistency": {},
    "polyphony": {},
    "polyphony_rate": {},
    "empty_beat_rate": {},
    "empty_measure_rate": {"measure_resolution": STEPS_PER_BAR},
    "groove_consistency": {"measure_resolution": STEPS_PER_BAR},
}
RAW: tuple[str, ...] = tuple(_ARGUMENTS)


def score_raw(windows: Windows) -> pd.DataFrame:
    """Return (n, metrics) float64 values of muspy's functions on the common grid: row i is window i, columns are `RAW`.

    Defaults are the library's: `polyphony_rate` counts steps with more than two pitches. A beat is 4 steps and a bar
    16. Onsets stay as they are, as in muspy: the beats before the first note of a file are empty, and bars begin where
    those of the file do. On a grid without beats these are half a second and two seconds by convention, unrelated to
    what was played, so that `empty_beat_rate`, `empty_measure_rate` and `groove_consistency` say little there. A window
    without notes has counts and a range of 0 and NaN for everything else.

    >>> from eval.metrics.windows import example
    >>> score_raw(example())["pitch_range"].tolist()
    [12.0, 0.0]
    """
    import muspy
    import pandas as pd

    rows = []
    for piece in windows.on_common_grid().pieces():
        columns = (piece.notes[name].tolist() for name in ("onset", "pitch", "duration", "velocity"))
        # Always one track, because five metrics raise without one; only notes, because pedal events add to the length.
        track = muspy.Track(notes=list(map(muspy.Note, *columns)))
        music = muspy.Music(resolution=STEPS_PER_BEAT, tracks=[track])
        rows.append([float(getattr(muspy, name)(music, **options)) for name, options in _ARGUMENTS.items()])
    # An entropy of nothing is -0.0 in muspy.
    return pd.DataFrame(np.array(rows, dtype=np.float64).reshape(-1, len(RAW)) + 0.0, columns=list(RAW))

"""A set of windows as tokens, notes, scores and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.distances.copying import copy_rates
from eval.distances.harmony import bar_facts
from eval.distances.noise_floor import SampleOrigin
from eval.metrics.table import score
from eval.metrics.windows import Windows
from eval.statistics.intervals import ratio_error
from replication.windows.cutting import Cutting, cut

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from eval.distances.copying import TrainingIndex
    from replication.tokens.protocol import Encoding

FORM = ("lag", "value", "error", "reach")


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredWindows:
    """Windows and the metrics of each.

    Attributes:
        windows: n windows of music.
        scores: n rows, one column per metric; see `eval.metrics.table.score`.
        songs: (n,) song of the reference that each window comes from or was made from; a generated window is a song of
            its own.
        origin: Relation of the windows to the reference.
    """

    windows: Windows
    scores: pd.DataFrame
    songs: NDArray[Any]
    origin: SampleOrigin = SampleOrigin.INDEPENDENT

    @classmethod
    def of(
        cls, windows: Windows, songs: NDArray[Any] | None = None, origin: SampleOrigin = SampleOrigin.INDEPENDENT
    ) -> ScoredWindows:
        """Score windows; without `songs`, every window is a song of its own."""
        songs = np.arange(len(windows)) if songs is None else songs
        return cls(windows=windows, scores=score(windows), songs=songs, origin=origin)


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleSet:
    """A set of windows as tokens and as notes.

    Attributes:
        scored: Notes and their scores.
        groups: (n,) group of each window; shared runs of notes within a group do not count as copies. Windows of one
            song are a group, except that a repeated window counts as a copy.
        tokens: (k, L) uint16 token ids, which token models are evaluated on.
        valid: (n,) whether the tokens of each window follow the grammar; NaN if the window never was tokens.
        repairs: (n,) tokens that decoding repaired; NaN likewise.
    """

    scored: ScoredWindows
    groups: NDArray[Any]
    tokens: NDArray[np.uint16]
    valid: NDArray[Any]
    repairs: NDArray[Any]


def read(tokens: NDArray[np.uint16], encoding: Encoding, songs: NDArray[Any] | None = None) -> SampleSet:
    """Decode and score (n, L) token ids; without `songs`, every window is a song of its own."""
    decoded = [encoding.decode(row) for row in tokens.tolist()]
    windows = Windows.joined([item.notes for item in decoded], encoding.grid)
    scored = ScoredWindows.of(windows, songs=songs)
    return SampleSet(
        scored=scored,
        groups=scored.songs,
        tokens=tokens,
        valid=np.array([item.valid for item in decoded], dtype=float),
        repairs=np.array([item.repairs for item in decoded], dtype=float),
    )


def encode_windows(windows: Windows, encoding: Encoding, *, length: int) -> NDArray[np.uint16]:
    """Encode windows as (k, L) token ids, the first L tokens of each; those that fill less than half are left out."""
    cutting = Cutting(length=length, first_only=True)
    rows = [
        tokens
        for piece in windows.pieces()
        if len(piece.notes)
        for tokens, _, _ in cut(piece.notes, encoding, cutting, train=False)
    ]
    return np.concatenate([np.empty((0, length), np.uint16), *rows])


def table_of(music: SampleSet, known: TrainingIndex) -> pd.DataFrame:
    """Return one row per window: sample, valid, repairs, song, copied (see `copy_rates`), then the metrics."""
    table = music.scored.scores.copy()
    columns = {
        "sample": range(len(table)),
        "valid": music.valid,
        "repairs": music.repairs,
        "song": music.scored.songs,
        "copied": copy_rates(music.scored.windows, known),
    }
    for place, (name, values) in enumerate(columns.items()):
        table.insert(place, name, values)
    return table


def form_of(music: SampleSet) -> pd.DataFrame:
    """Return the similarity of bars that are `lag` bars apart, one row for each lag that occurs.

    Columns: lag, 1 to 15; value, L_t of `eval.distances.harmony.bar_similarity`, 0 to 1; error, its standard error over
    songs; reach, the share of windows with such a pair of bars. No rows on a grid without beats, which has no bars.
    """
    import pandas as pd

    windows = music.scored.windows
    if not windows.beats:
        return pd.DataFrame(columns=list(FORM), dtype=float)
    similar, pairs = bar_facts(windows, music.scored.scores).transpose(1, 2, 0)  # (15, n) each
    rows = [
        (lag, alike.sum() / count.sum(), ratio_error(alike, count, music.scored.songs), (count > 0).mean())
        for lag, (alike, count) in enumerate(zip(similar, pairs, strict=True), 1)
        if count.any()
    ]
    return pd.DataFrame(rows, columns=list(FORM))


def raw_means(music: SampleSet) -> dict[str, float]:
    """Return the means of muspy's own numbers, for comparison with other papers only.

    As in those papers, windows for which a metric is not defined are left out; `nan_rate` reports their share.
    """
    from eval.metrics.muspy_values import score_raw

    return {str(name): float(value) for name, value in score_raw(music.scored.windows).mean().items()}


def notes_of(windows: Windows) -> pd.DataFrame:
    """Return one row per note: sample (number of the window), onset, duration (beats or seconds), pitch, velocity."""
    import pandas as pd

    columns = {name: windows.notes[name].astype(float) / windows.steps for name in ("onset", "duration")}
    columns |= {name: windows.notes[name].astype(int) for name in ("pitch", "velocity")}
    return pd.DataFrame({"sample": windows.owner, **columns})

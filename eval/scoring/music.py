"""Windows of music as tokens, as notes, as scores, and as tables of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.distances.copying import copy_rates
from eval.distances.harmony import bar_facts
from eval.distances.noise_floor import Origin
from eval.metrics.table import score
from eval.metrics.windows import Windows
from eval.statistics.intervals import ratio_error
from replication.windows.cutting import Cutting, cut

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from eval.distances.copying import Known
    from replication.tokens.protocol import Encoding

FORM = ("lag", "value", "error", "reach")


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A set of windows with what was computed of each.

    Attributes:
        windows: n windows of music.
        scores: n rows, a column per metric; see `eval.metrics.table.score`.
        songs: (n,) the song of the reference that each window is from or was made from; of generated windows, each a
            song of its own.
        origin: how the windows relate to the reference.
    """

    windows: Windows
    scores: pd.DataFrame
    songs: NDArray[Any]
    origin: Origin = Origin.INDEPENDENT

    @classmethod
    def of(cls, windows: Windows, songs: NDArray[Any] | None = None, origin: Origin = Origin.INDEPENDENT) -> Scored:
        """Score windows; without songs, each is one of its own."""
        songs = np.arange(len(windows)) if songs is None else songs
        return cls(windows=windows, scores=score(windows), songs=songs, origin=origin)


@dataclass(frozen=True, kw_only=True, eq=False)
class Music:
    """Windows of music as tokens and as notes.

    Attributes:
        scored: the notes and their scores.
        kin: (n,) what may share runs of notes without being a copy: windows of one song, but for a window come again.
        tokens: (k, L) uint16, what a model of tokens is shown of them.
        valid: (n,) whether each was written without any mistake of grammar; NaN where it never was tokens.
        repairs: (n,) tokens that reading each had to mend; NaN likewise.
    """

    scored: Scored
    kin: NDArray[Any]
    tokens: NDArray[np.uint16]
    valid: NDArray[Any]
    repairs: NDArray[Any]


def read(tokens: NDArray[np.uint16], encoding: Encoding, songs: NDArray[Any] | None = None) -> Music:
    """Return (n, L) token ids as music; without songs, each window is one of its own."""
    decoded = [encoding.decode(row) for row in tokens.tolist()]
    windows = Windows.joined([item.notes for item in decoded], encoding.grid)
    scored = Scored.of(windows, songs=songs)
    return Music(
        scored=scored,
        kin=scored.songs,
        tokens=tokens,
        valid=np.array([item.valid for item in decoded], dtype=float),
        repairs=np.array([item.repairs for item in decoded], dtype=float),
    )


def written(windows: Windows, encoding: Encoding, *, length: int) -> NDArray[np.uint16]:
    """Return music as (k, L) token ids, the first window of each; what fills less than half a window is left out."""
    cutting = Cutting(length=length, first_only=True)
    rows = [
        tokens
        for piece in windows.pieces()
        if len(piece.notes)
        for tokens, _, _ in cut(piece.notes, encoding, cutting, train=False)
    ]
    return np.concatenate([np.empty((0, length), np.uint16), *rows])


def table_of(music: Music, known: Known) -> pd.DataFrame:
    """Return a row per window: sample, valid, repairs, song, copied (see `copy_rates`), then the metrics."""
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


def form_of(music: Music) -> pd.DataFrame:
    """Return how alike bars are that are so many bars apart, a row for each lag that a window is long enough for.

    Columns: lag, 1 to 15; value, L_t of `eval.distances.harmony.bar_similarity`, 0 to 1; error, its standard error over
        songs;
    reach, the share of windows with such a pair of bars. No rows on a grid without beats, where there are no bars.
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


def raw_means(music: Music) -> dict[str, float]:
    """Return the means of muspy's own numbers, which are for comparison with other papers only.

    As those papers do, they leave out windows for which a metric is not defined; which these are says `nan_rate`.
    """
    from eval.metrics.muspy_values import score_raw

    return {str(name): float(value) for name, value in score_raw(music.scored.windows).mean().items()}


def notes_of(windows: Windows) -> pd.DataFrame:
    """Return notes as rows: sample (number of the window), onset and duration (beats or seconds), pitch, velocity."""
    import pandas as pd

    columns = {name: windows.notes[name].astype(float) / windows.steps for name in ("onset", "duration")}
    columns |= {name: windows.notes[name].astype(int) for name in ("pitch", "velocity")}
    return pd.DataFrame({"sample": windows.owner, **columns})

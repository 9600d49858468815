"""Windows of music as tokens, as notes, as scores, and as tables of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.panel import Scored
from eval.windows import Windows
from replication.cutting import Cutting, cut
from replication.files import atomic

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from replication.tokens import Encoding


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


def table_of(music: Music) -> pd.DataFrame:
    """Return a row per window: sample, valid, repairs, song, then the metrics."""
    table = music.scored.scores.copy()
    columns = {
        "sample": range(len(table)),
        "valid": music.valid,
        "repairs": music.repairs,
        "song": music.scored.songs,
    }
    for place, (name, values) in enumerate(columns.items()):
        table.insert(place, name, values)
    return table


def raw_means(music: Music) -> dict[str, float]:
    """Return the means of muspy's own numbers, which are for comparison with other papers only.

    As those papers do, they leave out windows for which a metric is not defined; which these are says `nan_rate`.
    """
    from eval.muspy_raw import score_raw

    return {str(name): float(value) for name, value in score_raw(music.scored.windows).mean().items()}


def notes_of(windows: Windows) -> pd.DataFrame:
    """Return notes as rows: sample (number of the window), onset and duration (beats or seconds), pitch, velocity."""
    import pandas as pd

    columns = {name: windows.notes[name].astype(float) / windows.steps for name in ("onset", "duration")}
    columns |= {name: windows.notes[name].astype(int) for name in ("pitch", "velocity")}
    return pd.DataFrame({"sample": windows.owner, **columns})


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically."""
    with atomic(path) as draft:
        table.to_parquet(draft, index=False)

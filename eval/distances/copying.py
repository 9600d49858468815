"""What a set of windows has from the training split, and how often it repeats itself.

All of it counts runs of successive notes, written as differences of onset and pitch (in the sense of the originality
report of Yin et al. 2022): a run in another key, or begun later, is the same; at another tempo, or with one note
changed, it is not. Other people's music shares runs with training too, so that a share says something beside that of
the test split alone, of as many windows. There, training windows that share `RUN` onsets with the test split have been
left out (replication/windows/prepared.py): its share of those is next to 0, and its longest run is shorter than it
would be.

Runs are looked for within single windows of the training split: of a passage that straddles two of them, a copy is seen
in part.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.metrics.windows import Windows, evenly, means
from replication.midi.piece import NOTE
from replication.util.errors import UserError
from replication.util.files import DamagedError, atomic, undamaged
from replication.util.locks import locked
from replication.windows import duplicates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from replication.midi.piece import Grid
    from replication.tokens.protocol import Encoding
    from replication.windows.duplicates import Grams

    Kind = Callable[[Windows], Grams]  # the runs of a kind in windows; `Grams.pieces` are their numbers

LIMIT = 2**18  # training windows that are indexed at most: half a minute of decoding


def _note_runs(windows: Windows, *, length: int) -> Grams:
    return duplicates.note_runs(windows.notes, windows.owner.astype(np.int32), length=length)


def _onset_runs(windows: Windows) -> Grams:
    return duplicates.runs(windows.notes, windows.owner.astype(np.int32))


# By the number of their notes. 8 are a motif, 16 a phrase; 4 tell how varied music is; 1 are the notes.
NOTE_RUNS: dict[int, Kind] = {length: partial(_note_runs, length=length) for length in (1, 4, 8, 12, 16)}


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingIndex:
    """What training has.

    Attributes:
        windows: those of the training split that are indexed.
        share: how many of all they are, in (0, 1]; below 1, what is copied from the others is not seen.
    """

    windows: Windows
    share: float
    _hashes: dict[Kind, NDArray[np.uint64]] = field(default_factory=dict)

    @classmethod
    def of(cls, tokens: NDArray[np.uint16], encoding: Encoding) -> TrainingIndex:
        """Index the (n, L) token ids of a training split: all of up to `LIMIT`, else as many evenly spread."""
        rows = evenly(len(tokens), LIMIT)
        decoded = [encoding.decode(tokens[row].tolist()).notes for row in rows]
        return cls(windows=Windows.joined(decoded, encoding.grid), share=len(rows) / max(len(tokens), 1))

    def save(self, path: Path) -> None:
        """Write what is indexed to a file of numpy's, whole or not at all."""
        with atomic(path) as draft:
            np.savez(draft, notes=self.windows.notes, sizes=self.windows.sizes, share=self.share)

    @classmethod
    def load(cls, path: Path, grid: Grid) -> TrainingIndex:
        """Return what `save` wrote, on the grid that it was made on.

        Raises:
            UserError: if the file is damaged.
        """
        try:
            with undamaged(), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                windows = Windows.cut(arrays["notes"].astype(NOTE, casting="no"), arrays["sizes"], grid)
                share = float(arrays["share"])
        except DamagedError as error:
            raise UserError(f"{path} is damaged ({error}); delete it to index the training split again") from None
        return cls(windows=windows, share=share)

    def has(self, hashes: NDArray[np.uint64], kind: Kind) -> NDArray[np.bool_]:
        """Return which of (m,) hashes of runs of a kind training has; its own are sorted once."""
        if kind not in self._hashes:
            self._hashes[kind] = duplicates.distinct(kind(self.windows).hashes)
        return duplicates.known(hashes, self._hashes[kind])


def training_index(path: Path, tokens: NDArray[np.uint16], encoding: Encoding) -> TrainingIndex:
    """Return `TrainingIndex.of` from the file, which is made if it is not there; say so if not all is indexed.

    Raises:
        UserError: if the file is damaged.
    """
    with locked(path):
        if not path.exists():
            TrainingIndex.of(tokens, encoding).save(path)
    known = TrainingIndex.load(path, encoding.grid)
    if known.share < 1:
        print(f"warning: copies are looked for in {known.share:.1%} of the training windows", file=sys.stderr)
    return known


@dataclass(frozen=True, kw_only=True)
class Copying:
    """A measure of how much is copied, from training or within the set.

    Attributes:
        label: for people.
        function: (windows, known, songs) -> value, of n windows and the (n,) numbers of their songs; a share in [0, 1]
            or a number of notes; NaN where there is no run to count.
        unit: of the value, "1" for a share.
    """

    label: str
    function: Callable[[Windows, TrainingIndex, NDArray[np.int64]], float]
    unit: str = "1"


def memorisation(windows: Windows, known: TrainingIndex, songs: ArrayLike) -> dict[str, float]:
    """Return the value of every row of `COPYING`, of n windows and the (n,) song of each.

    Windows of one song may share runs; a sample is a song of its own. The values of distinct_4, self_copy and
    longest_run depend on n: compare them at equal n only.

    Raises:
        UserError: if the windows are on another grid than training.
        ValueError: for another number of songs than of windows.
    """
    _check_grid(windows, known.windows)
    numbers = np.unique(np.asarray(songs), return_inverse=True)[1].astype(np.int64)
    if numbers.shape != (len(windows),):
        raise ValueError(f"{len(windows)} windows need as many songs, not {numbers.shape}")
    return {name: row.function(windows, known, numbers) for name, row in COPYING.items()}


def copy_rates(windows: Windows, known: TrainingIndex) -> NDArray[np.float64]:
    """Return the (n,) share of each window's runs of 8 notes that training has; NaN for a window without such a run."""
    runs = NOTE_RUNS[8]
    grams = runs(windows)
    return means(known.has(grams.hashes, runs), grams.pieces.astype(np.int64), len(windows))


class Pair(NamedTuple):
    """A window and the training window that shares the most runs of 8 notes with it."""

    window: int
    training: int  # the number of the other among those that were given
    share: float  # of the window's runs of 8 notes, those that the other has
    longest: int  # notes of the longest run that both have


def nearest(windows: Windows, training: Windows, k: int = 3) -> list[Pair]:
    """Return the k windows that share the most runs of 8 notes with one training window; fewer if fewer share any.

    By the number of runs, not by their share, which is 1 for any window of a single run that training has.

    Raises:
        UserError: if the windows are on another grid than training.
    """
    _check_grid(windows, training)
    shared, others = _closest(windows, training)
    total = np.bincount(NOTE_RUNS[8](windows).pieces, minlength=len(windows))
    return [
        Pair(
            window=index,
            training=int(others[index]),
            share=float(shared[index] / total[index]),
            longest=_longest(windows.take([index]), training.take([others[index]])),
        )
        for index in np.argsort(-shared, kind="stable")[:k].tolist()
        if shared[index]
    ]


def _check_grid(windows: Windows, training: Windows) -> None:
    if windows.grid != training.grid:
        raise UserError(f"windows on {windows.grid} and training on {training.grid} share no grid: read both on one")


def _share(kept: NDArray[np.bool_]) -> float:
    return float(kept.mean()) if len(kept) else math.nan


def _copied(windows: Windows, known: TrainingIndex, _: NDArray[np.int64], *, runs: Kind) -> float:
    """Return the share of the runs of all windows that training has."""
    return _share(known.has(runs(windows).hashes, runs))


def _shared(ours: Grams, theirs: Grams) -> NDArray[np.uint64]:
    hashes = duplicates.distinct(ours.hashes)
    return hashes[duplicates.known(hashes, duplicates.distinct(theirs.hashes))]


def _longest_run(windows: Windows, known: TrainingIndex, _: NDArray[np.int64]) -> float:
    """Return the notes of the longest run that training has; NaN without notes."""
    return float(_longest(windows, known.windows)) or math.nan


def _longest(windows: Windows, training: Windows) -> int:
    """Search by halves: whoever shares a run shares all shorter ones, so that those who do not can be left aside."""
    low, high = 0, int(min(windows.sizes.max(initial=0), training.sizes.max(initial=0)))
    middle = min(8, high)  # first: it leaves few of a large corpus
    while low < high:
        ours, theirs = (_note_runs(part, length=middle) for part in (windows, training))
        had = _shared(ours, theirs)
        if len(had):
            low = middle
            windows, training = (
                part.take(np.unique(grams.pieces[duplicates.known(grams.hashes, had)]))
                for part, grams in ((windows, ours), (training, theirs))
            )
        else:
            high = middle - 1
        middle = (low + high + 1) // 2
    return low


def _nearest_share(windows: Windows, known: TrainingIndex, _: NDArray[np.int64]) -> float:
    """Return the share of the runs of 8 notes that the closest training window of each window has."""
    total = len(NOTE_RUNS[8](windows).hashes)
    return float(_closest(windows, known.windows)[0].sum() / total) if total else math.nan


def _closest(windows: Windows, training: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (n,) how many runs of 8 notes of each window the closest training window has, and (n,) which that is."""
    from scipy.sparse import csr_array

    ours, theirs = NOTE_RUNS[8](windows), NOTE_RUNS[8](training)
    shared = _shared(ours, theirs)
    if not len(shared):
        return np.zeros(len(windows), np.int64), np.zeros(len(windows), np.int64)

    def table(grams: Grams, rows: int) -> Any:  # noqa: ANN401 - scipy publishes no types
        kept = duplicates.known(grams.hashes, shared)
        cells = (grams.pieces[kept], np.searchsorted(shared, grams.hashes[kept]))
        return csr_array((np.ones(kept.sum(), np.int64), cells), shape=(rows, len(shared)))  # adds up equal cells

    together = table(ours, len(windows)) @ (table(theirs, len(training)) > 0).T
    return together.max(axis=1).toarray().ravel(), together.argmax(axis=1).ravel()


def _distinct(windows: Windows, _: TrainingIndex, __: NDArray[np.int64]) -> float:
    """Return the distinct runs of 4 notes over all of them (distinct-n, Li et al. 2016)."""
    hashes = NOTE_RUNS[4](windows).hashes
    return len(duplicates.distinct(hashes)) / len(hashes) if len(hashes) else math.nan


def _self_copied(windows: Windows, _: TrainingIndex, songs: NDArray[np.int64]) -> float:
    """Return the share of the runs of 8 notes that a window of another song has too."""
    grams = NOTE_RUNS[8](windows)
    runs = np.unique(grams.hashes, return_inverse=True)[1]
    count = int(songs.max(initial=0)) + 1
    owners = np.bincount(np.unique(runs * count + songs[grams.pieces]) // count)
    return _share(owners[runs] > 1)


def _from_training(runs: Kind, named: str) -> Copying:
    return Copying(label=f"{named} from training", function=partial(_copied, runs=runs))


COPYING: dict[str, Copying] = {
    **{f"copy_{length}": _from_training(NOTE_RUNS[length], f"{length}-note runs") for length in (8, 12, 16)},
    "copy_onsets": _from_training(_onset_runs, f"{duplicates.RUN}-onset runs"),
    "longest_run": Copying(label="longest run from training", unit="notes", function=_longest_run),
    "nearest": Copying(label="8-note runs from the nearest window", function=_nearest_share),
    "distinct_4": Copying(label="distinct 4-note runs", function=_distinct),
    "self_copy": Copying(label="8-note runs of another sample", function=_self_copied),
}

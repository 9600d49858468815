"""How much a set of windows copies from the training split, and how often it repeats itself.

All measures count runs of successive notes, written as differences of onset and pitch (as in the originality report of
Yin et al. 2022): a transposed or delayed run is the same run; a run at another tempo or with one note changed is not.
Music by other people shares runs with training too, so compare a share only with that of as many windows of the test
split. Training windows that share `RUN` onsets with the test split were left out (replication/windows/prepared.py): the
test split's share of those runs is close to 0, and its longest run is shorter than it would otherwise be.

Runs are searched within single windows of the training split: a copy of a passage that straddles two of them is found
only in part.
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
from replication.util.files import DamagedError, atomic, open_arrays
from replication.util.locks import locked
from replication.windows import duplicates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from replication.midi.piece import TimeGrid
    from replication.tokens.protocol import Encoding
    from replication.windows.duplicates import NGrams

    Kind = Callable[[Windows], NGrams]  # the runs of a kind in windows; `NGrams.pieces` are their numbers

LIMIT = 2**18  # maximum number of indexed training windows, which take half a minute to decode


def _note_runs(windows: Windows, *, length: int) -> NGrams:
    return duplicates.note_runs(windows.notes, windows.owner.astype(np.int32), length=length)


def _onset_runs(windows: Windows) -> NGrams:
    return duplicates.onset_runs(windows.notes, windows.owner.astype(np.int32))


# By number of notes: 8 are a motif, 16 a phrase; runs of 4 show how varied music is; runs of 1 are the notes.
NOTE_RUNS: dict[int, Kind] = {length: partial(_note_runs, length=length) for length in (1, 4, 8, 12, 16)}


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingIndex:
    """Index of the training split.

    Attributes:
        windows: Indexed windows of the training split.
        share: Share of the training windows that is indexed, in (0, 1]; copies of the others are not found.
    """

    windows: Windows
    share: float
    _hashes: dict[Kind, NDArray[np.uint64]] = field(default_factory=dict)

    @classmethod
    def of(cls, tokens: NDArray[np.uint16], encoding: Encoding) -> TrainingIndex:
        """Index (n, L) token ids of a training split: all of them, or `LIMIT` evenly spread ones."""
        rows = evenly(len(tokens), LIMIT)
        decoded = [encoding.decode(tokens[row].tolist()).notes for row in rows]
        return cls(windows=Windows.joined(decoded, encoding.grid), share=len(rows) / max(len(tokens), 1))

    def save(self, path: Path) -> None:
        """Write the index to an .npz file atomically."""
        with atomic(path) as draft:
            np.savez(draft, notes=self.windows.notes, sizes=self.windows.sizes, share=self.share)

    @classmethod
    def load(cls, path: Path, grid: TimeGrid) -> TrainingIndex:
        """Read the index that `save` wrote; `grid` is the grid it was made on.

        Raises:
            UserError: If the file is damaged.
        """
        try:
            with open_arrays(path) as arrays:
                windows = Windows.cut(arrays["notes"].astype(NOTE, casting="no"), arrays["sizes"], grid)
                share = float(arrays["share"])
        except DamagedError as error:
            raise UserError(f"{path} is damaged ({error}); delete it to index the training split again") from None
        return cls(windows=windows, share=share)

    def has(self, hashes: NDArray[np.uint64], kind: Kind) -> NDArray[np.bool_]:
        """Return which of (m,) hashes of runs of a kind occur in training; the training hashes are sorted once."""
        if kind not in self._hashes:
            self._hashes[kind] = duplicates.sorted_unique(kind(self.windows).hashes)
        return duplicates.contained(hashes, self._hashes[kind])


def training_index(path: Path, tokens: NDArray[np.uint16], encoding: Encoding) -> TrainingIndex:
    """Read the index from `path`, building it first if it is missing; warn if it does not cover all windows.

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
    """A measure of copying, from training or within the set.

    Attributes:
        label: Name in tables and figures.
        function: (windows, training, songs) -> value for n windows and the (n,) numbers of their songs: a share in
            [0, 1] or a number of notes; NaN if there is no run to count.
        unit: Unit of the value, "1" for a share.
    """

    label: str
    function: Callable[[Windows, TrainingIndex, NDArray[np.int64]], float]
    unit: str = "1"


def memorisation(windows: Windows, known: TrainingIndex, songs: ArrayLike) -> dict[str, float]:
    """Return the value of every row of `COPYING` for n windows and the (n,) song of each.

    Windows of one song may share runs; a sample is a song of its own. distinct_4, self_copy and longest_run depend on
    n: compare them at equal n only.

    Raises:
        UserError: If the windows are on another grid than training.
        ValueError: If the number of songs differs from the number of windows.

    >>> from eval.metrics.windows import example
    >>> training = TrainingIndex(windows=example(), share=1.0)
    >>> memorisation(example(), training, [0, 1])["copy_8"]
    1.0
    """
    _check_grid(windows, known.windows)
    numbers = np.unique(np.asarray(songs), return_inverse=True)[1].astype(np.int64)
    if numbers.shape != (len(windows),):
        raise ValueError(f"{len(windows)} windows need as many songs, not {numbers.shape}")
    return {name: row.function(windows, known, numbers) for name, row in COPYING.items()}


def copy_rates(windows: Windows, known: TrainingIndex) -> NDArray[np.float64]:
    """Return the (n,) share of the 8-note runs of each window that occur in training; NaN without such runs.

    >>> from eval.metrics.windows import example
    >>> training = TrainingIndex(windows=example(), share=1.0)
    >>> copy_rates(example(), training).tolist()
    [1.0, nan]
    """
    runs = NOTE_RUNS[8]
    grams = runs(windows)
    return means(known.has(grams.hashes, runs), grams.pieces.astype(np.int64), len(windows))


class Pair(NamedTuple):
    """A window and the training window that shares the most runs of 8 notes with it."""

    window: int
    training: int  # index of the training window
    share: float  # share of the window's 8-note runs that the training window has
    longest: int  # notes of the longest shared run


def nearest(windows: Windows, training: Windows, k: int = 3) -> list[Pair]:
    """Return the k windows that share the most 8-note runs with one training window; fewer if fewer share any.

    Ordered by the number of runs, not their share, which is 1 for any window whose only run occurs in training.

    Raises:
        UserError: If the windows are on another grid than training.

    >>> from eval.metrics.windows import example
    >>> nearest(example(), example())
    [Pair(window=0, training=0, share=1.0, longest=8)]
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
        raise UserError(
            f"windows on {windows.grid} and training on {training.grid} cannot be compared: read both on one grid"
        )


def _share(kept: NDArray[np.bool_]) -> float:
    return float(kept.mean()) if len(kept) else math.nan


def _copied(windows: Windows, known: TrainingIndex, _: NDArray[np.int64], *, runs: Kind) -> float:
    """Return the share of the runs of all windows that occur in training."""
    return _share(known.has(runs(windows).hashes, runs))


def _shared(ours: NGrams, theirs: NGrams) -> NDArray[np.uint64]:
    hashes = duplicates.sorted_unique(ours.hashes)
    return hashes[duplicates.contained(hashes, duplicates.sorted_unique(theirs.hashes))]


def _longest_run(windows: Windows, known: TrainingIndex, _: NDArray[np.int64]) -> float:
    """Return the number of notes of the longest run that occurs in training; NaN without notes."""
    return float(_longest(windows, known.windows)) or math.nan


def _longest(windows: Windows, training: Windows) -> int:
    """Find the longest shared run by bisection: a window that shares no run of a length shares no longer one."""
    low, high = 0, int(min(windows.sizes.max(initial=0), training.sizes.max(initial=0)))
    middle = min(8, high)  # start with 8: few windows of a large corpus remain
    while low < high:
        ours, theirs = (_note_runs(part, length=middle) for part in (windows, training))
        shared = _shared(ours, theirs)
        if len(shared):
            low = middle
            windows, training = (
                part.take(np.unique(grams.pieces[duplicates.contained(grams.hashes, shared)]))
                for part, grams in ((windows, ours), (training, theirs))
            )
        else:
            high = middle - 1
        middle = (low + high + 1) // 2
    return low


def _nearest_share(windows: Windows, known: TrainingIndex, _: NDArray[np.int64]) -> float:
    """Return the share of 8-note runs that each window shares with its closest training window."""
    total = len(NOTE_RUNS[8](windows).hashes)
    return float(_closest(windows, known.windows)[0].sum() / total) if total else math.nan


def _closest(windows: Windows, training: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the (n,) numbers of 8-note runs shared with the closest training window, and (n,) its index."""
    from scipy.sparse import csr_array

    ours, theirs = NOTE_RUNS[8](windows), NOTE_RUNS[8](training)
    shared = _shared(ours, theirs)
    if not len(shared):
        return np.zeros(len(windows), np.int64), np.zeros(len(windows), np.int64)

    def table(grams: NGrams, rows: int) -> Any:  # noqa: ANN401 - scipy publishes no types
        kept = duplicates.contained(grams.hashes, shared)
        cells = (grams.pieces[kept], np.searchsorted(shared, grams.hashes[kept]))
        return csr_array((np.ones(kept.sum(), np.int64), cells), shape=(rows, len(shared)))  # adds up equal cells

    together = table(ours, len(windows)) @ (table(theirs, len(training)) > 0).T
    return together.max(axis=1).toarray().ravel(), together.argmax(axis=1).ravel()


def _distinct(windows: Windows, _: TrainingIndex, __: NDArray[np.int64]) -> float:
    """Return the number of distinct 4-note runs over the number of all of them (distinct-n, Li et al. 2016)."""
    hashes = NOTE_RUNS[4](windows).hashes
    return len(duplicates.sorted_unique(hashes)) / len(hashes) if len(hashes) else math.nan


def _self_copied(windows: Windows, _: TrainingIndex, songs: NDArray[np.int64]) -> float:
    """Return the share of 8-note runs that also occur in a window of another song."""
    grams = NOTE_RUNS[8](windows)
    runs = np.unique(grams.hashes, return_inverse=True)[1]
    count = int(songs.max(initial=0)) + 1
    owners = np.bincount(np.unique(runs * count + songs[grams.pieces]) // count)
    return _share(owners[runs] > 1)


def _from_training(runs: Kind, named: str) -> Copying:
    return Copying(label=f"{named} from training", function=partial(_copied, runs=runs))


COPYING: dict[str, Copying] = {
    **{f"copy_{length}": _from_training(NOTE_RUNS[length], f"{length}-note runs") for length in (8, 12, 16)},
    "copy_onsets": _from_training(_onset_runs, f"{duplicates.RUN_LENGTH}-onset runs"),
    "longest_run": Copying(label="longest run from training", unit="notes", function=_longest_run),
    "nearest": Copying(label="8-note runs from the nearest window", function=_nearest_share),
    "distinct_4": Copying(label="distinct 4-note runs", function=_distinct),
    "self_copy": Copying(label="8-note runs of another sample", function=_self_copied),
}

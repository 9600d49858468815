"""Which pieces are copies, which are one family, and to which split each goes."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replication.util.files import DamagedError, atomic, undamaged
from replication.windows import duplicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from replication.corpora.reading import Loaded
    from replication.windows.duplicates import Grams

# The test split is large because the distances to it, and the noise floor between its halves, need pieces.
SHARES = {"train": 0.75, "validation": 0.05, "test": 0.20}
SPLITS = tuple(SHARES)
# A family of more pieces, and of a larger share of all, goes to training: testing on one family tests little.
LARGE, LARGE_SHARE = 4, 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Kinship:
    """How the pieces of a corpus are related.

    Attributes:
        kept: (n,) whether a piece is the first of all that are equal but for key, loudness and starting time.
        families: (n,) the number of the first piece of each piece's family.
    """

    kept: NDArray[np.bool_]
    families: NDArray[np.int32]


def kinship(loaded: Loaded) -> Kinship:
    """Return how the pieces are related, from beside them if it was found out before."""
    path = loaded.folder / f"kinship-{duplicates.EDITION}-{loaded.digest[:16]}.npz"
    if path.exists():
        try:
            with undamaged(), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return Kinship(kept=arrays["kept"], families=arrays["families"])
        except DamagedError as error:
            print(f"warning: {path} is damaged ({error}); comparing the pieces again", file=sys.stderr)
    count = len(loaded.ids)
    seen: set[bytes] = set()
    kept = np.zeros(count, bool)
    for number, piece in enumerate(loaded.pieces):
        if len(piece.notes) and (shape := duplicates.shape(piece.notes)) not in seen:
            seen.add(shape)
            kept[number] = True
    kinds = (duplicates.intervals, duplicates.melodies)
    pairs = [duplicates.related(duplicates.collect(loaded.blocks(), kind, notes=loaded.notes), count) for kind in kinds]
    found = Kinship(kept=kept, families=duplicates.families(np.concatenate(pairs), count))
    with atomic(path) as draft:
        np.savez_compressed(draft, kept=found.kept, families=found.families)
    return found


def deal(names: Sequence[str], families: NDArray[np.int32], eligible: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Deal families to the splits by `SHARES`, in an order that depends on the names of their first pieces alone.

    Args:
        names: of the pieces.
        families: (n,) as in `Kinship`.
        eligible: (n,) pieces that count; a family without one goes to training.

    Returns:
        (n,) the number of each piece's split in `SPLITS`; each split gets a family if there are three.
    """
    members = np.bincount(families[eligible], minlength=len(families))
    small = np.flatnonzero((members > 0) & (members <= max(LARGE, LARGE_SHARE * eligible.sum())))
    order = sorted(
        small.tolist(), key=lambda family: hashlib.sha256(names[family].encode(errors="surrogateescape")).digest()
    )
    test, validation = (max(1, round(SHARES[name] * np.count_nonzero(members))) for name in ("test", "validation"))
    splits = np.zeros(len(families), np.int8)
    splits[order[:test]] = SPLITS.index("test")
    splits[order[test : test + validation]] = SPLITS.index("validation")
    dealt: NDArray[np.int8] = splits[families]
    return dealt


@dataclass(frozen=True, kw_only=True, eq=False)
class Spans:
    """Stretches of music: windows, of which each is from a piece's onset to before another.

    Attributes:
        pieces: (k,) the number of each one's piece.
        begins: (k,) grid step.
        ends: (k,) grid step.
    """

    pieces: NDArray[np.int32]
    begins: NDArray[np.int32]
    ends: NDArray[np.int32]

    def holding(self, pieces: NDArray[np.int32], onsets: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return which spans, (k,), hold one of these onsets of pieces."""
        places = np.sort(_places(pieces, onsets))
        first, last = (np.searchsorted(places, _places(self.pieces, steps)) for steps in (self.begins, self.ends))
        return first < last


def _places(pieces: NDArray[np.int32], steps: NDArray[np.int32]) -> NDArray[np.int64]:
    return (pieces.astype(np.int64) << 32) + steps


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What the test split has in common with the training split.

    In a corpus of more than `replication.windows.duplicates.GRAMS` notes it is measured on a sample of the runs, all of
    which `windows` counts.

    Attributes:
        onsets: the share of the test split's runs of `RUN` onsets, with all their notes, that are in training too.
        notes: the same of runs of `RUN` notes.
        windows: the test windows that hold such a run of onsets.
    """

    onsets: float
    notes: float
    windows: int


def leak(
    windows: Spans, runs: Grams, notes: Grams, splits: NDArray[np.int8], trained: NDArray[np.bool_] | None = None
) -> Leak:
    """Measure what two splits share.

    Args:
        windows: of all pieces.
        runs: of all pieces, by onsets.
        notes: of all pieces, by notes.
        splits: (n,) the number of each piece's split; -1 for a piece that is left out.
        trained: (k,) the windows that training sees; those of the training split if not given.
    """
    test, train = SPLITS.index("test"), SPLITS.index("train")
    trained = splits[windows.pieces] == train if trained is None else trained
    rates = []
    for grams in (notes, runs):
        asked = splits[grams.pieces] == test
        there = duplicates.distinct(grams.hashes[_inside(grams, windows, trained)])
        found = duplicates.known(grams.hashes[asked], there)
        rates.append(float(found.mean()) if len(found) else 0.0)
    copied = np.flatnonzero(asked)[found]
    holding = windows.holding(runs.pieces[copied], runs.onsets[copied]) & (splits[windows.pieces] == test)
    return Leak(onsets=rates[1], notes=rates[0], windows=int(holding.sum()))


def _inside(grams: Grams, windows: Spans, which: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which n-grams begin in one of these windows."""
    begins = np.sort(_places(windows.pieces[which], windows.begins[which]))
    ends = np.sort(_places(windows.pieces[which], windows.ends[which]))
    places = _places(grams.pieces, grams.onsets)
    order = np.argsort(places)
    inside = np.empty(len(places), bool)
    inside[order] = np.searchsorted(begins, places[order], side="right") > np.searchsorted(ends, places[order], "right")
    return inside

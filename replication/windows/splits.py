"""Find copies and families of pieces, assign families to splits, and measure what the splits share."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replication.util.files import DamagedError, atomic, open_arrays
from replication.windows import duplicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from replication.corpora.reading import Loaded
    from replication.windows.duplicates import NGrams

# The test split is large because the distances to it, and the noise floor between its halves, need many pieces.
SHARES = {"train": 0.75, "validation": 0.05, "test": 0.20}
SPLITS = tuple(SHARES)
# Larger families, by pieces and by share of all pieces, go to training: songs are the units of the statistics, and few
# large ones would fill the test split.
MAX_TEST_FAMILY, MAX_TEST_FAMILY_SHARE = 4, 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Families:
    """The duplicates and the families of related pieces in a corpus of n pieces.

    Attributes:
        unique: (n,) whether each piece is the first of its copies; copies may differ in key, velocities and start.
        family: (n,) family of each piece, named by the number of its first piece.
    """

    unique: NDArray[np.bool_]
    family: NDArray[np.int32]


def find_families(loaded: Loaded) -> Families:
    """Find the duplicates and families of a corpus; the result is cached in the folder of the pieces.

    Pieces are one family if their files say that they are one song, or if they share many of their notes or much of
    their tune; see `replication.windows.duplicates`. Pieces that a third one links are one family too.
    """
    path = loaded.folder / f"families-{duplicates.EDITION}-{loaded.digest[:16]}.npz"
    if path.exists():
        try:
            with open_arrays(path) as arrays:
                return Families(unique=arrays["unique"], family=arrays["family"])
        except DamagedError as error:
            print(f"warning: {path} is damaged ({error}); comparing the pieces again", file=sys.stderr)
    count = len(loaded.ids)
    seen: set[bytes] = set()
    unique = np.zeros(count, bool)
    for number, piece in enumerate(loaded.pieces):
        if len(piece.notes) and (fingerprint := duplicates.fingerprint(piece.notes)) not in seen:
            seen.add(fingerprint)
            unique[number] = True
    pairs = [_same_group(loaded.groups)]
    for kind, share in (
        (duplicates.interval_ngrams, duplicates.FAMILY_SHARE),
        (duplicates.melody_ngrams, duplicates.TUNE_SHARE),
    ):
        grams = duplicates.collect_ngrams(loaded.blocks(), kind, notes=loaded.notes)
        pairs.append(duplicates.related_pairs(grams, count, share=share))
    found = Families(unique=unique, family=duplicates.connected_families(np.concatenate(pairs), count))
    with atomic(path) as draft:
        np.savez_compressed(draft, unique=found.unique, family=found.family)
    return found


def _same_group(groups: Sequence[str]) -> NDArray[np.int64]:
    """Return (k, 2) pairs that link each piece to the first one of its group."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(group, number), number) for number, group in enumerate(groups)]
    return np.array(pairs, np.int64).reshape(-1, 2)


def assign_splits(names: Sequence[str], families: NDArray[np.int32], eligible: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Assign families to the splits, in an order that depends only on the names of their first pieces.

    The test split gets families until it has its share of the pieces, then the validation split does; see `SHARES`.

    Args:
        names: (n,) names of the pieces.
        families: (n,) family of each piece, as in `Families`.
        eligible: (n,) pieces that count towards the shares; a family without any goes to training.

    Returns:
        (n,) index in `SPLITS` of the split of each piece. With three families or more, no split is empty.
    """
    members = np.bincount(families[eligible], minlength=len(families))
    small = np.flatnonzero((members > 0) & (members <= max(MAX_TEST_FAMILY, MAX_TEST_FAMILY_SHARE * eligible.sum())))
    order = sorted(
        small.tolist(), key=lambda family: hashlib.sha256(names[family].encode(errors="surrogateescape")).digest()
    )
    pieces = np.cumsum(members[order])
    share = np.cumsum([SHARES["test"], SHARES["validation"]]) * members.sum()
    test, validation = np.searchsorted(pieces, np.round(share), side="right").tolist()
    test = max(1, min(test, len(order) - 1))
    validation = max(test + 1, validation)
    splits = np.zeros(len(families), np.int8)
    splits[order[:test]] = SPLITS.index("test")
    splits[order[test:validation]] = SPLITS.index("validation")
    assigned: NDArray[np.int8] = splits[families]
    return assigned


@dataclass(frozen=True, kw_only=True, eq=False)
class Spans:
    """Spans of music, each from one onset of a piece up to another.

    Attributes:
        pieces: (k,) number of the piece of each span.
        begins: (k,) first grid step of each span.
        ends: (k,) grid step after each span.
    """

    pieces: NDArray[np.int32]
    begins: NDArray[np.int32]
    ends: NDArray[np.int32]

    def containing(self, pieces: NDArray[np.int32], onsets: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return for each span, (k,), whether it contains one of these (m,) onsets of (m,) pieces."""
        places = np.sort(_places(pieces, onsets))
        first, last = (np.searchsorted(places, _places(self.pieces, steps)) for steps in (self.begins, self.ends))
        return first < last


def _places(pieces: NDArray[np.int32], steps: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return one integer per grid step of a piece, in the order of pieces and steps."""
    return (pieces.astype(np.int64) << 32) + steps


@dataclass(frozen=True, kw_only=True)
class Leak:
    """The overlap of the test split with the training split.

    In a corpus of more than `replication.windows.duplicates.MAX_NGRAMS` notes, it is measured on a sample of the runs.

    Attributes:
        onsets: Share of the test split's runs of `RUN_LENGTH` onsets, with all their notes, that training contains too.
        notes: Share of the test split's runs of `RUN_LENGTH` notes that training contains too.
        windows: Number of test windows that contain such a run of onsets.
    """

    onsets: float
    notes: float
    windows: int


def measure_leak(
    windows: Spans, runs: NGrams, notes: NGrams, splits: NDArray[np.int8], trained: NDArray[np.bool_] | None = None
) -> Leak:
    """Measure the overlap of the test split with the training split.

    Args:
        windows: Windows of all pieces, (k,).
        runs: Runs of onsets of all pieces.
        notes: Runs of notes of all pieces.
        splits: (n,) index of the split of each piece; -1 for an omitted piece.
        trained: (k,) whether training uses each window; by default all windows of the training split.
    """
    test, train = SPLITS.index("test"), SPLITS.index("train")
    trained = splits[windows.pieces] == train if trained is None else trained
    rates = []
    for grams in (notes, runs):
        tested = splits[grams.pieces] == test
        known = duplicates.sorted_unique(grams.hashes[_inside(grams, windows, trained)])
        found = duplicates.contained(grams.hashes[tested], known)
        rates.append(float(found.mean()) if len(found) else 0.0)
    copied = np.flatnonzero(tested)[found]
    holding = windows.containing(runs.pieces[copied], runs.onsets[copied]) & (splits[windows.pieces] == test)
    return Leak(onsets=rates[1], notes=rates[0], windows=int(holding.sum()))


def _inside(grams: NGrams, windows: Spans, which: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each n-gram whether it begins in one of the windows that the mask `which` selects."""
    begins = np.sort(_places(windows.pieces[which], windows.begins[which]))
    ends = np.sort(_places(windows.pieces[which], windows.ends[which]))
    places = _places(grams.pieces, grams.onsets)
    order = np.argsort(places)
    inside = np.empty(len(places), bool)
    inside[order] = np.searchsorted(begins, places[order], side="right") > np.searchsorted(ends, places[order], "right")
    return inside

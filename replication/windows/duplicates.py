"""What pieces share: copies, families of near copies, and runs that one has from another.

All of it is blind to the key. A piece is cut into n-grams of successive notes or onsets, written as differences and
hashed; pieces that share many n-grams are one family (containment, as in Broder 1997), and a run of `RUN` onsets that
two pieces share is a copy. Where a corpus has more than `GRAMS` n-grams, only those whose hashes are 0 modulo a number
are kept (FracMinHash, Irber et al. 2022): memory stays bounded, and shares are estimates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

# Part of every cache key: raise it when the same pieces come to be other families or runs.
EDITION = 2
# Twelve notes are long enough that what shares them by chance is rare, but for chorales, where they are three chords:
# there, and everywhere, a copy is a run of as many onsets with all their notes.
RUN = 12
GRAMS = 12_000_000  # of one kind in memory; ADL's 11 million are all taken, of Lakh's one in fifteen or so
# Of the n-grams of the smaller of two pieces, the share that makes them one family. Lower, and idioms chain strangers:
# at 0.2 a family of 188 of ADL's pieces comes up, at 0.3 the largest has 93.
SHARE = 0.3
LEAST = 4  # n-grams that two pieces of a family share at least
CROWD = 64  # pieces; those of a larger crowd that share an n-gram are compared each with the next only

_FACTOR = np.uint64(6364136223846793005)  # Knuth's multiplier, of a rolling hash modulo 2^64


@dataclass(frozen=True, kw_only=True, eq=False)
class Grams:
    """Hashed n-grams of many pieces.

    Attributes:
        hashes: (m,) uint64.
        pieces: (m,) int32, the number of the piece that each is from.
        onsets: (m,) int32, the grid step that each begins at.
    """

    hashes: NDArray[np.uint64]
    pieces: NDArray[np.int32]
    onsets: NDArray[np.int32]


def shape(notes: NDArray[Any]) -> bytes:
    """Return a hash of (n,) notes that is equal for copies in another key, at another loudness, or begun later."""
    rows = np.stack(
        (notes["onset"] - notes["onset"][0], notes["duration"], notes["pitch"].astype(int) - int(notes["pitch"][0]))
    )
    return hashlib.sha256(rows.astype("<i8").tobytes()).digest()


def intervals(notes: NDArray[Any], pieces: NDArray[np.int32]) -> Grams:
    """Return the runs of `RUN` notes as pitch intervals: equal in every key and at every tempo.

    Args:
        notes: (n,) notes of several pieces one after another.
        pieces: (n,) number of the piece of each.
    """
    steps = np.diff(notes["pitch"].astype(np.int64)).astype(np.uint64)
    return _rolled(steps, pieces, notes["onset"])


def melodies(notes: NDArray[Any], pieces: NDArray[np.int32]) -> Grams:
    """Return the runs of `RUN` notes of the upper voice, repeated ones as one; see `intervals`."""
    top = _ends(notes, pieces)
    top = top[_changes(notes["pitch"][top], pieces[top])]
    return intervals(notes[top], pieces[top])


def note_runs(notes: NDArray[Any], pieces: NDArray[np.int32], *, length: int = RUN) -> Grams:
    """Return the runs of so many notes as differences of pitch and onset; see `intervals`."""
    pitch, onset = (np.diff(notes[name].astype(np.int64)).astype(np.uint64) for name in ("pitch", "onset"))
    return _rolled(pitch + (onset << np.uint64(8)), pieces, notes["onset"], length=length)


def runs(notes: NDArray[Any], pieces: NDArray[np.int32], *, length: int = RUN) -> Grams:
    """Return the runs of so many onsets with all their notes, as differences; see `intervals`."""
    ends = _ends(notes, pieces)
    if not len(ends):
        return _rolled(np.empty(0, np.uint64), pieces, notes["onset"], length=length)
    starts = np.concatenate(([0], ends[:-1] + 1))
    pitch, onset = notes["pitch"].astype(np.int64), notes["onset"][starts].astype(np.int64)
    bass = pitch[starts]
    over_bass = (pitch - np.repeat(bass, np.diff(starts, append=len(notes)))).astype(np.uint64)
    chords = np.add.reduceat(_mixed(over_bass), starts)
    moves = np.diff(bass).astype(np.uint64) + (np.diff(onset).astype(np.uint64) << np.uint64(8))
    return _rolled(chords[1:] + _mixed(moves), pieces[starts], notes["onset"][starts], opening=chords, length=length)


def collect(
    blocks: Iterable[tuple[NDArray[Any], NDArray[np.int32]]],
    grams: Callable[[NDArray[Any], NDArray[np.int32]], Grams],
    *,
    notes: int,
) -> Grams:
    """Return the n-grams of a corpus of so many notes, read block by block; about `GRAMS` of them at most."""
    modulus = np.uint64(max(1, -(-notes // GRAMS)))
    parts = []
    for block in blocks:
        found = grams(*block)
        keep = found.hashes % modulus == 0
        parts.append((found.hashes[keep], found.pieces[keep], found.onsets[keep]))
    if not parts:
        return Grams(hashes=np.empty(0, np.uint64), pieces=np.empty(0, np.int32), onsets=np.empty(0, np.int32))
    hashes, pieces, onsets = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Grams(hashes=hashes, pieces=pieces, onsets=onsets)


def related(grams: Grams, count: int) -> NDArray[np.int64]:
    """Return (k, 2) pairs of the `count` pieces that share at least `SHARE` of the n-grams of the smaller."""
    # Sorting one integer is many times faster than sorting by two keys; 40 bits tell the n-grams well enough apart.
    keys = distinct((grams.hashes >> np.uint64(24) << np.uint64(24)) | grams.pieces.astype(np.uint64))
    pieces, hashes = (keys & np.uint64(2**24 - 1)).astype(np.int64), keys >> np.uint64(24)
    sizes = np.bincount(pieces, minlength=count)
    starts = np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1]))) if len(hashes) else np.empty(0, int)
    owners = np.diff(starts, append=len(hashes))
    pairs, room = [np.empty(0, np.int64)], 2 * GRAMS
    for size in range(2, int(owners.max(initial=0)) + 1):
        members = pieces[starts[owners == size][:, None] + np.arange(size)]
        one, other = np.triu_indices(min(size, CROWD), 1)
        if size > CROWD or len(members) * len(one) > room:  # so that pairs do not outgrow memory
            one, other = np.arange(size - 1), np.arange(1, size)
        room -= len(members) * len(one)
        pairs.append((members[:, one] * count + members[:, other]).ravel())
    together = np.sort(np.concatenate(pairs))
    firsts = np.flatnonzero(np.concatenate((np.ones(min(len(together), 1), bool), np.diff(together) != 0)))
    linked, shared = together[firsts], np.diff(firsts, append=len(together))
    both = np.stack((linked // max(count, 1), linked % max(count, 1)), axis=1)
    close = (shared >= LEAST) & (shared >= SHARE * sizes[both].min(axis=1, initial=2**62))
    chosen: NDArray[np.int64] = both[close]
    return chosen


def families(pairs: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Return the family of each piece, (count,): the number of its first member."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    _, firsts, labels = np.unique(labels, return_index=True, return_inverse=True)
    return firsts[labels].astype(np.int32)


def known(hashes: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which hashes are among others, which are `distinct`."""
    found = np.zeros(len(hashes), bool)
    if len(among):
        order = np.argsort(hashes)  # neighbours are looked up in the same corner of memory
        places = np.searchsorted(among, hashes[order]).clip(max=len(among) - 1)
        found[order] = among[places] == hashes[order]
    return found


def distinct(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the sorted distinct hashes; `numpy.unique` takes ten times as long on millions."""
    ordered = np.sort(hashes)
    once: NDArray[np.uint64] = ordered[np.concatenate((np.ones(min(len(ordered), 1), bool), np.diff(ordered) != 0))]
    return once


def _rolled(
    steps: NDArray[np.uint64],
    pieces: NDArray[np.int32],
    onsets: NDArray[np.int32],
    opening: NDArray[np.uint64] | None = None,
    *,
    length: int = RUN,
) -> Grams:
    """Hash every `length` - 1 successive steps of a piece, and what the first event is."""
    count = max(len(pieces) - length + 1, 0)
    mixed = _mixed(steps)
    hashes = np.zeros(count, np.uint64) if opening is None else _mixed(opening[:count])
    for offset in range(length - 1):
        hashes = hashes * _FACTOR + mixed[offset : offset + count]
    within = pieces[:count] == pieces[length - 1 : length - 1 + count]
    return Grams(hashes=_mixed(hashes[within]), pieces=pieces[:count][within], onsets=onsets[:count][within])


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread values over all 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _ends(notes: NDArray[Any], pieces: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return where each onset has its last, which is its highest, note."""
    return np.flatnonzero(np.append(_changes(notes["onset"], pieces)[1:], True)) if len(notes) else np.empty(0, np.intp)


def _changes(values: NDArray[Any], pieces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return where a value differs from the one before, or is the first of its piece."""
    changed = (values[1:] != values[:-1]) | (pieces[1:] != pieces[:-1])
    return np.concatenate((np.ones(min(len(values), 1), bool), changed))

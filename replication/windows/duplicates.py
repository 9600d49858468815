"""Find copies, families of near-duplicate pieces, and runs of notes that pieces share, in whatever key they are.

A piece is cut into n-grams of successive notes or onsets, which are written as differences and hashed. Pieces that
share many n-grams of all their notes or of their tunes are one family (containment, as in Broder 1997). A run of
`RUN_LENGTH` onsets that two pieces share is a copy. If a corpus has more than `MAX_NGRAMS` n-grams, only those whose
hashes are 0 modulo a number are kept (FracMinHash, Irber et al. 2022): memory stays bounded, and shares become
estimates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

# Part of every cache key. Raise it when a change gives other families or runs for the same pieces.
EDITION = 3
# Twelve notes are rarely shared by chance, except in chorales, where they are three chords. A copy is therefore a run
# of twelve onsets with all their notes, in every corpus.
RUN_LENGTH = 12
MAX_NGRAMS = 12_000_000  # n-grams of one kind in memory: all 11 million of ADL, about one in fifteen of Lakh
# Two pieces are one family if they share this part of the n-grams of all notes of the smaller one. With lower values,
# common idioms chain unrelated pieces.
FAMILY_SHARE = 0.3
# The same for the n-grams of the tune, which ornaments interrupt. Of 220 pairs of chorales with the same title, 65 %
# share this part, and so do 101 of 63,683 pairs with different titles, most of which are one tune with two texts. At
# 0.1 the largest family of ADL has 575 of 10,896 pieces, at 0.15 it has 221, at 0.2 it has 111; the largest of 1,200
# imitations of chorales (js-fakes) has 135, 122 and 48. Long tunes hardly depend on it: POP909 has 906 families at all
# three, and piano-midi.de has 333 to 335.
TUNE_SHARE = 0.15
MIN_SHARED = 4  # n-grams that two pieces of a family share at least
MAX_OWNERS = 64  # if more pieces share an n-gram, each is compared only with the next

_FACTOR = np.uint64(6364136223846793005)  # Knuth's multiplier, for a rolling hash modulo 2^64


@dataclass(frozen=True, kw_only=True, eq=False)
class NGrams:
    """Hashed n-grams of many pieces.

    Attributes:
        hashes: (m,) uint64, the hash of each n-gram.
        pieces: (m,) int32, the number of the piece of each n-gram.
        onsets: (m,) int32, the grid step at which each n-gram begins.
    """

    hashes: NDArray[np.uint64]
    pieces: NDArray[np.int32]
    onsets: NDArray[np.int32]


def fingerprint(notes: NDArray[Any]) -> bytes:
    """Return a hash of (n,) notes that is equal for copies in another key, with other velocities, or begun later."""
    rows = np.stack(
        (notes["onset"] - notes["onset"][0], notes["duration"], notes["pitch"].astype(int) - int(notes["pitch"][0]))
    )
    return hashlib.sha256(rows.astype("<i8").tobytes()).digest()


def interval_ngrams(notes: NDArray[Any], pieces: NDArray[np.int32]) -> NGrams:
    """Return the runs of `RUN_LENGTH` notes as pitch intervals, which are equal in every key and at every tempo.

    Args:
        notes: (n,) notes of several pieces, one piece after another.
        pieces: (n,) number of the piece of each note.
    """
    steps = np.diff(notes["pitch"].astype(np.int64)).astype(np.uint64)
    return _rolled(steps, pieces, notes["onset"])


def melody_ngrams(notes: NDArray[Any], pieces: NDArray[np.int32]) -> NGrams:
    """Return the runs of `RUN_LENGTH` notes of the tune, without repetitions; see `interval_ngrams`.

    The tune is the line of the highest sounding notes (the skyline of Uitdenbogerd and Zobel 1998): moving inner voices
    below a held note are not part of it. Without repetitions and durations, a tune is the same for other texts and in
    other metres.
    """
    top = _ends(notes, pieces)
    top = top[~_covered(notes, pieces)[top]]
    top = top[_changes(notes["pitch"][top], pieces[top])]
    return interval_ngrams(notes[top], pieces[top])


def note_runs(notes: NDArray[Any], pieces: NDArray[np.int32], *, length: int = RUN_LENGTH) -> NGrams:
    """Return the runs of `length` notes as differences of pitch and onset; see `interval_ngrams`."""
    pitch, onset = (np.diff(notes[name].astype(np.int64)).astype(np.uint64) for name in ("pitch", "onset"))
    return _rolled(pitch + (onset << np.uint64(8)), pieces, notes["onset"], length=length)


def onset_runs(notes: NDArray[Any], pieces: NDArray[np.int32], *, length: int = RUN_LENGTH) -> NGrams:
    """Return the runs of `length` onsets with all their notes, as differences; see `interval_ngrams`."""
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


def collect_ngrams(
    blocks: Iterable[tuple[NDArray[Any], NDArray[np.int32]]],
    grams: Callable[[NDArray[Any], NDArray[np.int32]], NGrams],
    *,
    notes: int,
) -> NGrams:
    """Return the n-grams of a corpus, at most about `MAX_NGRAMS` of them.

    Args:
        blocks: Notes of the corpus and the number of the piece of each, block by block.
        grams: Function that returns the n-grams of a block.
        notes: Number of notes of the corpus.
    """
    modulus = np.uint64(max(1, -(-notes // MAX_NGRAMS)))
    parts = []
    for block in blocks:
        found = grams(*block)
        keep = found.hashes % modulus == 0
        parts.append((found.hashes[keep], found.pieces[keep], found.onsets[keep]))
    if not parts:
        return NGrams(hashes=np.empty(0, np.uint64), pieces=np.empty(0, np.int32), onsets=np.empty(0, np.int32))
    hashes, pieces, onsets = (np.concatenate(column) for column in zip(*parts, strict=True))
    return NGrams(hashes=hashes, pieces=pieces, onsets=onsets)


def related_pairs(grams: NGrams, count: int, *, share: float) -> NDArray[np.int64]:
    """Return the (k, 2) pairs, out of `count` pieces, that have at least this share of the smaller's n-grams in common.

    They have at least `MIN_SHARED` n-grams in common.
    """
    # Sorting one integer is many times faster than sorting by two keys, and 40 bits of the hash are enough.
    keys = sorted_unique((grams.hashes >> np.uint64(24) << np.uint64(24)) | grams.pieces.astype(np.uint64))
    pieces, hashes = (keys & np.uint64(2**24 - 1)).astype(np.int64), keys >> np.uint64(24)
    sizes = np.bincount(pieces, minlength=count)
    starts = np.flatnonzero(np.concatenate(([True], hashes[1:] != hashes[:-1]))) if len(hashes) else np.empty(0, int)
    owners = np.diff(starts, append=len(hashes))
    pairs, room = [np.empty(0, np.int64)], 2 * MAX_NGRAMS
    for size in range(2, int(owners.max(initial=0)) + 1):
        members = pieces[starts[owners == size][:, None] + np.arange(size)]
        one, other = np.triu_indices(min(size, MAX_OWNERS), 1)
        if size > MAX_OWNERS or len(members) * len(one) > room:  # bounds the memory for pairs
            one, other = np.arange(size - 1), np.arange(1, size)
        room -= len(members) * len(one)
        pairs.append((members[:, one] * count + members[:, other]).ravel())
    together = np.sort(np.concatenate(pairs))
    firsts = np.flatnonzero(np.concatenate((np.ones(min(len(together), 1), bool), np.diff(together) != 0)))
    linked, shared = together[firsts], np.diff(firsts, append=len(together))
    both = np.stack((linked // max(count, 1), linked % max(count, 1)), axis=1)
    close = (shared >= MIN_SHARED) & (shared >= share * sizes[both].min(axis=1, initial=2**62))
    chosen: NDArray[np.int64] = both[close]
    return chosen


def connected_families(pairs: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    """Return the family of each piece, (count,), named by the number of its first member.

    Args:
        pairs: (k, 2) numbers of related pieces; families are the connected components.
        count: Number of pieces.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    _, firsts, labels = np.unique(labels, return_index=True, return_inverse=True)
    return firsts[labels].astype(np.int32)


def contained(hashes: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return for each hash, (n,), whether it is among others, which are sorted and unique.

    >>> contained(np.array([5, 1, 9], np.uint64), np.array([1, 5], np.uint64)).tolist()
    [True, True, False]
    """
    found = np.zeros(len(hashes), bool)
    if len(among):
        order = np.argsort(hashes)  # sorted lookups are close together in memory
        places = np.searchsorted(among, hashes[order]).clip(max=len(among) - 1)
        found[order] = among[places] == hashes[order]
    return found


def sorted_unique(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the sorted unique hashes, ten times as fast as `numpy.unique` for millions."""
    ordered = np.sort(hashes)
    once: NDArray[np.uint64] = ordered[np.concatenate((np.ones(min(len(ordered), 1), bool), np.diff(ordered) != 0))]
    return once


def _rolled(
    steps: NDArray[np.uint64],
    pieces: NDArray[np.int32],
    onsets: NDArray[np.int32],
    opening: NDArray[np.uint64] | None = None,
    *,
    length: int = RUN_LENGTH,
) -> NGrams:
    """Hash every `length` - 1 successive steps of a piece, together with the first event if `opening` is given."""
    count = max(len(pieces) - length + 1, 0)
    mixed = _mixed(steps)
    hashes = np.zeros(count, np.uint64) if opening is None else _mixed(opening[:count])
    for offset in range(length - 1):
        hashes = hashes * _FACTOR + mixed[offset : offset + count]
    within = pieces[:count] == pieces[length - 1 : length - 1 + count]
    return NGrams(hashes=_mixed(hashes[within]), pieces=pieces[:count][within], onsets=onsets[:count][within])


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread values over all 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _ends(notes: NDArray[Any], pieces: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the index of the last, and thus highest, note of each onset."""
    return np.flatnonzero(np.append(_changes(notes["onset"], pieces)[1:], True)) if len(notes) else np.empty(0, np.intp)


def _covered(notes: NDArray[Any], pieces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return for each note whether a higher one that began earlier still sounds when it begins."""
    onsets = notes["onset"].astype(np.int64)
    ends = onsets + notes["duration"]
    own = pieces * (ends.max(initial=0) + 1)  # notes of a piece lie after those of the previous one
    onsets, ends = onsets + own, ends + own
    covered = np.zeros(len(notes), bool)
    latest, higher = np.zeros(len(notes), np.int64), np.zeros(len(notes), np.int64)  # of the notes above a pitch
    for pitch in np.unique(notes["pitch"])[::-1]:
        at = notes["pitch"] == pitch
        covered[at] = latest[at] > onsets[at]
        higher[at] = ends[at]
        latest = np.maximum.accumulate(higher)
    return covered


def _changes(values: NDArray[Any], pieces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return for each value whether it differs from the previous one or is the first of its piece."""
    changed = (values[1:] != values[:-1]) | (pieces[1:] != pieces[:-1])
    return np.concatenate((np.ones(min(len(values), 1), bool), changed))

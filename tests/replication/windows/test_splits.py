from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from replication.corpora.corpus import CORPORA
from replication.corpora.reading import load
from replication.midi.piece import Piece, sorted_notes
from replication.midi.synthetic import compose
from replication.windows import duplicates
from replication.windows.duplicates import (
    RUN_LENGTH,
    collect_ngrams,
    contained,
    note_runs,
    onset_runs,
    sorted_unique,
)
from replication.windows.splits import SPLITS, Spans, assign_splits, find_families, measure_leak

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.corpora.sources import Item
    from replication.midi.piece import TimeGrid
    from replication.windows.duplicates import NGrams

NAMES = [f"song {number}" for number in range(100)]
ALONE = np.arange(100, dtype=np.int32)
ALL = np.ones(100, bool)
TRAIN, VALIDATION, TEST = range(3)


def test_splits_get_their_shares_of_the_families() -> None:
    assert np.bincount(assign_splits(NAMES, ALONE, ALL)).tolist() == [75, 5, 20]
    assert SPLITS == ("train", "validation", "test")
    assert sorted(assign_splits(NAMES[:3], ALONE[:3], ALL[:3]).tolist()) == [0, 1, 2]


def test_a_family_goes_to_one_split() -> None:
    families = ALONE // 4 * 4
    for _, split in zip(families, assign_splits(NAMES, families, ALL), strict=True):
        assert split in (TRAIN, VALIDATION, TEST)
    splits = assign_splits(NAMES, families, ALL)
    assert all(len(set(splits[families == family].tolist())) == 1 for family in families)


def test_splits_get_their_shares_of_the_pieces() -> None:
    families = np.sort(np.random.default_rng(0).permutation(np.r_[ALONE[:60], np.repeat(ALONE[60:70], 4)]))
    names = [f"song {number}" for number in range(100)]
    numbers = np.searchsorted(families, families).astype(np.int32)  # named by their first pieces
    counts = np.bincount(assign_splits(names, numbers, ALL), minlength=3)
    assert counts.sum() == 100
    assert 17 <= counts[TEST] <= 20
    assert 22 <= counts[TEST] + counts[VALIDATION] <= 25


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 1, 98), (4, 4, 4), (1, 4, 1), (4, 1, 1, 60), (2, 2, 2, 2, 2)])
def test_no_split_is_empty_from_three_families_on(sizes: tuple[int, ...]) -> None:
    families = np.repeat(np.cumsum((0, *sizes[:-1])), sizes).astype(np.int32)
    splits = assign_splits([f"song {number}" for number in range(len(families))], families, families >= 0)
    assert set(splits.tolist()) == {TRAIN, VALIDATION, TEST}


def test_pieces_of_one_song_are_one_family_whatever_their_notes(tmp_path: Path) -> None:
    songs = ("one", "two", "one", "three", "two", "four")
    pieces = [
        Piece(notes=compose(np.random.default_rng(number)), id=str(number), group=group)
        for number, group in enumerate(songs)
    ]

    class Given:
        """A source of these pieces."""

        def key(self, cache: Path) -> str:  # noqa: ARG002 - part of the protocol
            return "given"

        def items(self, grid: TimeGrid) -> Iterator[Item]:  # noqa: ARG002 - part of the protocol
            return iter(pieces)

    loaded = load(replace(CORPORA["synthetic"], source=Given()), tmp_path)
    assert loaded.groups == songs
    assert [piece.group for piece in loaded.pieces] == list(songs)
    assert find_families(loaded).family.tolist() == [0, 1, 0, 3, 1, 5]
    assert find_families(loaded).unique.all()


@pytest.mark.slow
def test_settings_of_one_chorale_are_in_one_split(tmp_path: Path) -> None:
    loaded = load(CORPORA["bach"], tmp_path)
    families = find_families(loaded)
    family = dict(zip(loaded.ids, families.family.tolist(), strict=True))
    for together in (
        # O Haupt voll Blut und Wunden, Befiehl du deine Wege and Herzlich tut mich verlangen have one tune.
        ("bwv244.15", "bwv270", "bwv153.5", "bwv244.17"),
        ("bwv227.1", "bwv227.3", "bwv64.8", "bwv358"),  # Jesu, meine Freude
        ("bwv260", "bwv104.6", "bwv112.5-sc"),  # Allein Gott in der Hoeh sei Ehr
        ("bwv190.7", "bwv190.7-inst"),  # one movement without and with instruments above the choir
    ):
        assert len({family[name] for name in together}) == 1, together
    sizes = np.bincount(families.family[families.unique])
    assert np.count_nonzero(sizes) > 200
    assert sizes.max() < 15
    splits = np.where(families.unique, assign_splits(loaded.ids, families.family, families.unique), -1)
    assert len(set(families.family[splits == TEST].tolist())) > 45
    # The highest note of each onset, as published measurements of copying have it, in runs of nine.
    grams = collect_ngrams(loaded.blocks(), _upper_runs, notes=loaded.notes)
    known = sorted_unique(grams.hashes[splits[grams.pieces] == TRAIN])
    shares = [
        contained(sorted_unique(grams.hashes[grams.pieces == piece]), known).mean()
        for piece in np.flatnonzero(splits == TEST)
    ]
    assert max(shares) < 0.1


def _upper_runs(notes: NDArray[Any], pieces: NDArray[np.int32]) -> NGrams:
    top = duplicates._ends(notes, pieces)
    steps = np.diff(notes["pitch"][top].astype(np.int64)).astype(np.uint64)
    return duplicates._rolled(steps, pieces[top], notes["onset"][top], length=9)


def test_a_song_keeps_its_split_when_songs_are_added() -> None:
    few, many = assign_splits(NAMES[:60], ALONE[:60], ALL[:60]), assign_splits(NAMES, ALONE, ALL)
    assert np.count_nonzero((few == TRAIN) & (many[:60] != TRAIN)) < 10


def test_large_families_and_pieces_that_are_not_eligible_go_to_training() -> None:
    families = np.where(ALONE < 30, 0, ALONE).astype(np.int32)
    assert set(assign_splits(NAMES, families, ALL)[:30].tolist()) == {TRAIN}
    short = ALONE < 30
    splits = assign_splits(NAMES, ALONE, ~short)
    assert set(splits[short].tolist()) == {TRAIN}
    assert np.bincount(splits).tolist() == [82, 4, 14]


def test_a_leak_measures_the_runs_that_test_windows_share_with_training_windows() -> None:
    rng = np.random.default_rng(0)
    pitches = rng.integers(40, 90, (3, 100)).tolist()
    songs = [sorted_notes([(3 * step, 2, pitch, 64) for step, pitch in enumerate(part)]) for part in pitches]
    songs[2][50:] = songs[0][50:]  # the test song has the second half of a training song
    notes, pieces = np.concatenate(songs), np.repeat(np.arange(3, dtype=np.int32), 100)
    by_onset, by_note = (collect_ngrams([(notes, pieces)], kind, notes=300) for kind in (onset_runs, note_runs))
    splits = np.array([TRAIN, VALIDATION, TEST], np.int8)
    begins = np.tile(np.arange(0, 300, 75, dtype=np.int32), 3)  # four windows of 25 notes each
    windows = Spans(pieces=np.repeat(np.arange(3, dtype=np.int32), 4), begins=begins, ends=begins + 75)
    found = measure_leak(windows, by_onset, by_note, splits)
    count = 100 - RUN_LENGTH + 1
    assert found.onsets == found.notes == (50 - RUN_LENGTH + 1) / count
    assert found.windows == 2
    kept = (windows.pieces == 0) & (windows.begins != 150)  # without the third window
    assert measure_leak(windows, by_onset, by_note, splits, kept).onsets == (25 - RUN_LENGTH + 1) / count
    assert measure_leak(windows, by_onset, by_note, splits, np.zeros(12, bool)).windows == 0
    assert measure_leak(windows, by_onset, by_note, np.array([TRAIN, TEST, -1], np.int8)).onsets == 0


def test_spans_contain_the_ngrams_that_begin_in_them() -> None:
    notes = sorted_notes([(3 * step, 2, 40 + step % 7 * 5 + step % 3, 64) for step in range(20)])
    grams = onset_runs(notes, np.full(20, 4, np.int32))
    spans = Spans(
        pieces=np.array([3, 4, 4, 4], np.int32),
        begins=np.array([0, 0, 1, 12], np.int32),
        ends=np.array([99, 1, 12, 99], np.int32),
    )
    assert spans.containing(grams.pieces, grams.onsets).tolist() == [False, True, True, True]
    assert spans.containing(grams.pieces[grams.onsets == 12], grams.onsets[grams.onsets == 12]).tolist() == [
        False,
        False,
        False,
        True,
    ]

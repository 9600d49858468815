from __future__ import annotations

import numpy as np

from replication.midi.piece import sorted_notes
from replication.windows.duplicates import RUN_LENGTH, collect_ngrams, note_runs, onset_runs
from replication.windows.splits import SPLITS, Spans, assign_splits, measure_leak

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

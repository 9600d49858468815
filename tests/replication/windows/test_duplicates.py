from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from replication.midi.piece import sorted_notes
from replication.midi.synthetic import compose
from replication.windows import duplicates
from replication.windows.duplicates import (
    RUN_LENGTH,
    collect_ngrams,
    connected_families,
    contained,
    fingerprint,
    interval_ngrams,
    melody_ngrams,
    note_runs,
    onset_runs,
    related_pairs,
    sorted_unique,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KINDS = (interval_ngrams, melody_ngrams, note_runs, onset_runs)


def song(seed: int) -> NDArray[Any]:
    """Return notes that share no run with those of other seeds."""
    rng = np.random.default_rng(seed)
    onsets = np.cumsum(rng.integers(1, 9, 60))
    return sorted_notes(
        [(int(o), 4, int(p), 64) for o in onsets for p in rng.choice(np.arange(40, 90), 3, replace=False)]
    )


def changed(notes: NDArray[Any], *, by: int = 0, later: int = 0, slower: int = 1) -> NDArray[Any]:
    notes = notes.copy()
    notes["pitch"] = notes["pitch"].astype(int) + by
    notes["onset"] = notes["onset"] * slower + later
    return notes


def block(*pieces: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    numbers = np.repeat(np.arange(len(pieces), dtype=np.int32), [len(piece) for piece in pieces])
    return np.concatenate(pieces), numbers


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_in_another_key_or_later_has_the_same_ngrams(kind: Any) -> None:  # noqa: ANN401 - a function
    original = kind(*block(song(0))).hashes.tolist()
    assert kind(*block(changed(song(0), by=5, later=13))).hashes.tolist() == original
    assert not set(kind(*block(song(1))).hashes.tolist()) & set(original)


def test_tempo_matters_to_runs_and_not_to_intervals() -> None:
    slow = changed(song(0), slower=2)
    for kind, same in ((interval_ngrams, True), (melody_ngrams, True), (note_runs, False), (onset_runs, False)):
        shared = set(kind(*block(song(0))).hashes.tolist()) & set(kind(*block(slow)).hashes.tolist())
        assert bool(shared) == same


@pytest.mark.parametrize("kind", KINDS)
def test_no_ngram_spans_two_pieces(kind: Any) -> None:  # noqa: ANN401 - a function
    alone = [kind(*block(song(seed))).hashes.tolist() for seed in range(3)]
    together = kind(*block(*(song(seed) for seed in range(3))))
    assert together.hashes.tolist() == [value for part in alone for value in part]
    assert np.bincount(together.pieces).tolist() == [len(part) for part in alone]
    assert kind(*block(song(0)[: RUN_LENGTH - 1])).hashes.tolist() == []
    assert kind(*block(song(0)[:0])).hashes.tolist() == []


def test_a_run_of_onsets_depends_on_all_notes_of_its_chords() -> None:
    notes = song(0)
    count = len(np.unique(notes["onset"]))
    found = onset_runs(*block(notes))
    assert len(found.hashes) == count - RUN_LENGTH + 1
    assert found.onsets.tolist() == np.unique(notes["onset"])[: count - RUN_LENGTH + 1].tolist()
    other = notes.copy()
    place = np.flatnonzero(notes["onset"] == found.onsets[20])[1]  # an inner voice of one chord
    other["pitch"][place] += 1 if other["pitch"][place] + 1 != other["pitch"][place + 1] else -1
    differ = np.flatnonzero(onset_runs(*block(other)).hashes != found.hashes)
    assert differ.tolist() == list(range(20 - RUN_LENGTH + 1, 21))


@pytest.mark.parametrize("kind", [note_runs, onset_runs])
@pytest.mark.parametrize("length", [1, 4, 8, 16])
def test_a_run_has_the_given_length(kind: Any, length: int) -> None:  # noqa: ANN401 - a function
    assert kind(*block(song(0)), length=RUN_LENGTH).hashes.tolist() == kind(*block(song(0))).hashes.tolist()
    events = len(song(0)) if kind is note_runs else len(np.unique(song(0)["onset"]))
    found = kind(*block(song(0), song(1)), length=length)
    assert np.bincount(found.pieces).tolist() == [events - length + 1] * 2
    shifted = kind(*block(changed(song(0), by=5, later=13)), length=length)
    assert shifted.hashes.tolist() == found.hashes[: events - length + 1].tolist()


def test_the_hashes_of_runs_equal_those_of_stored_results() -> None:
    assert note_runs(*block(song(0))).hashes[:2].tolist() == [7710718361310449060, 12394807927587887575]
    assert onset_runs(*block(song(0))).hashes[:2].tolist() == [13137417053287008149, 1350499822820914552]


def test_many_ngrams_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = [song(seed) for seed in range(20)]
    total = sum(map(len, notes))
    blocks = [block(*notes[:10]), (block(*notes[10:])[0], block(*notes[10:])[1] + 10)]
    whole = collect_ngrams(blocks, note_runs, notes=total)
    assert whole.hashes.tolist() == note_runs(*block(*notes)).hashes.tolist()
    monkeypatch.setattr(duplicates, "MAX_NGRAMS", total // 4)
    part = collect_ngrams(blocks, note_runs, notes=total)
    assert 0.15 < len(part.hashes) / len(whole.hashes) < 0.35
    assert set(part.hashes.tolist()) == {value for value in whole.hashes.tolist() if value % 4 == 0}


def test_near_copies_are_related_and_other_pieces_are_not() -> None:
    half = np.concatenate((song(0)[:90], changed(song(7)[:90], later=int(song(0)["onset"][90]) + 9)))
    pieces = [song(0), song(1), changed(song(0), by=-3, slower=2), half, song(2)]
    pairs = related_pairs(collect_ngrams([block(*pieces)], interval_ngrams, notes=900), 5, share=0.3)
    assert {tuple(pair) for pair in pairs.tolist()} == {(0, 2), (0, 3), (2, 3)}
    assert connected_families(pairs, 5).tolist() == [0, 1, 0, 0, 4]


def chorale(seed: int, tune: list[int], *, by: int = 0, beats: Sequence[int] = (8,), ornament: int = 0) -> NDArray[Any]:
    """Return a tune over three lower voices, which move twice as fast and depend on the seed.

    Args:
        seed: Seed of the lower voices.
        tune: Pitches of the tune.
        by: Semitones up.
        beats: Durations of the tune's notes, repeated as often as needed; each is even.
        ornament: If above 0, every so many notes of the tune, one is followed by a passing note.
    """
    rng, rows, start = np.random.default_rng(seed), [], 0
    for number, pitch in enumerate(tune):
        duration = beats[number % len(beats)]
        passing = ornament and number % ornament == 0
        rows.append((start, duration // 2 if passing else duration, pitch + by, 64))
        if passing:
            rows.append((start + duration // 2, duration // 2, pitch + by + 1, 64))
        for onset in (start, start + duration // 2):
            rows += [
                (onset, duration // 2, int(low) + by, 64) for low in rng.choice(np.arange(40, 58), 3, replace=False)
            ]
        start += duration
    return sorted_notes(rows)


def test_the_tune_is_one_in_any_key_and_metre_and_over_any_harmony() -> None:
    tunes = np.random.default_rng(0).integers(60, 80, (3, 60)).tolist()
    pieces = [
        chorale(0, tunes[0]),
        chorale(1, tunes[1]),
        chorale(2, tunes[0], by=-4),
        chorale(3, tunes[0], beats=(8, 4), by=7),
        chorale(4, tunes[0], ornament=20),
        chorale(5, tunes[2]),
    ]
    blocks, notes = [block(*pieces)], sum(map(len, pieces))
    grams = collect_ngrams(blocks, melody_ngrams, notes=notes)
    pairs = related_pairs(grams, len(pieces), share=duplicates.TUNE_SHARE)
    assert connected_families(pairs, len(pieces)).tolist() == [0, 1, 0, 0, 0, 5]
    first, second = (set(grams.hashes[grams.pieces == number].tolist()) for number in (0, 2))
    assert first == second
    all_notes = collect_ngrams(blocks, interval_ngrams, notes=notes)
    assert len(related_pairs(all_notes, len(pieces), share=duplicates.FAMILY_SHARE)) == 0


def test_a_note_is_covered_while_a_higher_one_that_began_before_it_sounds() -> None:
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(60)), int(rng.integers(1, 20)), int(rng.integers(50, 60)), 64) for _ in range(300)]
    pieces = [sorted_notes(rows[start : start + 75]) for start in range(0, 300, 75)]
    notes, numbers = block(*pieces)
    expected = [
        any(
            one["onset"] < note["onset"] < one["onset"] + one["duration"] and one["pitch"] > note["pitch"]
            for one in pieces[number]
        )
        for note, number in zip(notes, numbers, strict=True)
    ]
    highest = duplicates._ends(notes, numbers)
    assert duplicates._covered(notes, numbers)[highest].tolist() == np.array(expected)[highest].tolist()
    assert 0 < np.mean(expected) < 1


def test_many_copies_are_one_family_and_a_common_idiom_makes_none() -> None:
    size = duplicates.MAX_OWNERS + 20
    copies = [np.concatenate((song(0), changed(song(seed)[:30], later=999))) for seed in range(1, size)]
    unrelated = [np.concatenate((song(0)[:30], changed(song(seed), later=999))) for seed in range(1, size)]
    for pieces, families_found in ((copies, 1), (unrelated, size - 1)):
        pairs = related_pairs(
            collect_ngrams([block(*pieces)], interval_ngrams, notes=sum(map(len, pieces))), len(pieces), share=0.3
        )
        assert len(set(connected_families(pairs, len(pieces)).tolist())) == families_found


def test_without_pairs_every_piece_is_a_family() -> None:
    assert connected_families(np.empty((0, 2), np.int64), 3).tolist() == [0, 1, 2]
    empty = collect_ngrams([], interval_ngrams, notes=0)
    assert related_pairs(empty, 0, share=0.3).shape == (0, 2)


def test_contained_tests_each_ngram() -> None:
    first, second, copy = (onset_runs(*block(notes)).hashes for notes in (song(0), song(1), changed(song(0), by=2)))
    assert contained(copy, sorted_unique(first)).all()
    assert not contained(second, sorted_unique(np.concatenate((first, copy)))).any()
    assert contained(np.concatenate((second, first)), sorted_unique(first)).tolist() == [False] * len(second) + [
        True
    ] * len(first)
    assert not contained(first, sorted_unique(first[:0])).any()


def test_the_fingerprint_ignores_only_key_velocities_and_start() -> None:
    notes = compose(np.random.default_rng(0))
    louder = changed(notes, by=1, later=4)
    louder["velocity"] = 100
    assert fingerprint(louder) == fingerprint(notes)
    for name in ("onset", "duration", "pitch"):
        other = notes.copy()
        other[name][5] += 1
        assert fingerprint(other) != fingerprint(notes)

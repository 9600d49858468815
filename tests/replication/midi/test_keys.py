from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.midi.keys import AsWritten, EveryKey, OneKey, estimate_key, in_one_key, transposed
from replication.midi.piece import NOTE, sorted_notes
from replication.midi.synthetic import compose
from replication.util.files import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEYS = [(tonic, major) for tonic in range(12) for major in (True, False)]

Row = tuple[int, int, int, int]

ROWS = st.lists(
    st.tuples(st.integers(0, 99), st.integers(1, 60), st.integers(0, 127), st.integers(1, 127)), min_size=1, max_size=40
)


def melody(tonic: int, steps: tuple[int, ...]) -> NDArray[Any]:
    return sorted_notes([(8 * k, 8, 60 + tonic + step, 64) for k, step in enumerate(steps)])


def cadence(tonic: int, *, major: bool) -> NDArray[Any]:
    """Return the cadence I IV V I, in minor with the leading note."""
    third, sixth = (4, 9) if major else (3, 8)
    chords = ((0, third, 7), (5, sixth, 12), (7, 11, 14), (0, third, 7))
    return sorted_notes([(8 * k, 8, 60 + tonic + step, 64) for k, chord in enumerate(chords) for step in chord])


@pytest.mark.parametrize(("tonic", "major"), KEYS)
def test_the_key_of_a_scale_and_of_a_cadence_is_found(tonic: int, major: bool) -> None:
    scale = (0, 2, 4, 5, 7, 9, 11, 12) if major else (0, 2, 3, 5, 7, 8, 11, 12)
    assert estimate_key(melody(tonic, scale)) == (tonic, major)
    assert estimate_key(cadence(tonic, major=major)) == (tonic, major)


@pytest.mark.parametrize(("tonic", "major"), KEYS)
def test_one_key_is_c_major_or_a_minor_at_most_half_an_octave_away(tonic: int, major: bool) -> None:
    notes = cadence(tonic, major=major)
    moved = in_one_key(notes)
    assert estimate_key(moved) == ((0, True) if major else (9, False))
    (semitones,) = set((moved["pitch"].astype(int) - notes["pitch"]).tolist())
    assert -5 <= semitones <= 6


def test_long_notes_count_for_more() -> None:
    tonic, fifth = (0, 80, 60, 64), (0, 80, 67, 64)
    chromatic = [(8 * k, 1, 60 + k, 64) for k in range(12)]
    assert estimate_key(sorted_notes([*chromatic, tonic, fifth, (0, 80, 64, 64)])) == (0, True)
    assert estimate_key(sorted_notes([*chromatic, tonic, fifth, (0, 80, 63, 64)])) == (0, False)


def test_the_estimate_is_the_best_correlation_with_the_published_ratings() -> None:
    major = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
    minor = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
    rng = np.random.default_rng(0)
    for _ in range(100):
        columns = [rng.integers(low, high, size=20) for low, high in ((0, 99), (1, 30), (21, 109), (1, 128))]
        notes = sorted_notes(np.rec.fromarrays(columns, dtype=NOTE))
        sounding = [int(notes["duration"][notes["pitch"] % 12 == k].sum()) for k in range(12)]
        fit = {
            (tonic, ratings is major): np.corrcoef(np.roll(sounding, -tonic), ratings)[0, 1]
            for ratings in (major, minor)
            for tonic in range(12)
        }
        assert estimate_key(notes) == max(fit, key=lambda key: fit[key])


@given(rows=ROWS, semitones=st.integers(-12, 12))
def test_transposing_moves_every_pitch_and_nothing_else(rows: list[Row], semitones: int) -> None:
    notes = sorted_notes([(onset, duration, 12 + pitch % 104, velocity) for onset, duration, pitch, velocity in rows])
    moved = transposed(notes, semitones)
    assert (moved["pitch"].astype(int) - notes["pitch"] == semitones).all()
    assert moved[["onset", "duration", "velocity"]].tolist() == notes[["onset", "duration", "velocity"]].tolist()


@given(rows=ROWS, semitones=st.integers(-30, 30))
def test_pitches_out_of_range_are_moved_back_by_octaves(rows: list[Row], semitones: int) -> None:
    notes = sorted_notes(rows)
    moved = transposed(notes, semitones)
    assert moved["pitch"].max() <= 127
    assert moved.tolist() == sorted_notes(moved).tolist()
    before, after = ({(int(n["onset"]), int(n["pitch"]) % 12) for n in part} for part in (notes, moved))
    assert after == {(onset, (pitch + semitones) % 12) for onset, pitch in before}


def test_of_two_notes_transposed_to_one_pitch_the_longer_is_kept() -> None:
    assert transposed(sorted_notes([(0, 4, 115, 9), (0, 8, 127, 9)]), 1).tolist() == [(0, 8, 116, 9)]


@pytest.mark.parametrize("number", range(10))
def test_transposing_a_piece_transposes_its_estimated_key(number: int) -> None:
    notes = compose(np.random.default_rng(number))
    tonic, major = estimate_key(notes)
    for semitones in range(-5, 7):
        moved = transposed(notes, semitones)
        assert estimate_key(moved) == ((tonic + semitones) % 12, major)
        assert estimate_key(in_one_key(moved)) == ((0, True) if major else (9, False))


def test_the_key_of_no_notes_is_c_major() -> None:
    nothing = np.empty(0, NOTE)
    assert estimate_key(nothing) == (0, True)
    assert in_one_key(nothing).tolist() == []


def test_if_all_keys_fit_equally_the_first_is_chosen() -> None:
    for pitches in (range(60, 72), range(60, 72, 2), range(61, 72, 2)):
        for duration in (1, 7, 1000003):
            tonic, _ = estimate_key(sorted_notes([(0, duration, pitch, 64) for pitch in pitches]))
            assert tonic == pitches[0] % 12


def test_choices_of_keys_have_different_digests() -> None:
    assert len({digest(keys) for keys in (AsWritten(), OneKey(), EveryKey(), EveryKey(semitones=(0, 1)))}) == 4
    assert EveryKey().semitones == (-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6)


def test_music21_finds_the_same_keys_in_bach() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from music21 import corpus

    for name in ("bwv66.6", "bwv7.7", "bwv269", "bwv277", "bwv364"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score: Any = corpus.parse(f"bach/{name}")
            theirs = score.analyze("key.krumhansl-kessler")
            rows = [
                (48 * note.getOffsetInHierarchy(score), 48 * note.quarterLength, pitch.midi, 64)
                for note in score.recurse().notes
                for pitch in note.pitches
            ]
        assert estimate_key(sorted_notes(rows)) == (theirs.tonic.pitchClass, theirs.mode == "major"), name

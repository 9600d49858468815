"""The sound of MIDI files."""

from __future__ import annotations

import importlib.util
import re
import wave
from pathlib import Path

import numpy as np
import pytest

from etude.cli.wav import RATE, sound, wav
from replication.midi.piece import Beats, Piece, sorted_notes
from replication.midi.smf import read_seconds, write_midi
from replication.util.errors import UserError
from tests.support.midi_bytes import after, meta, midi, note, track
from tests.support.program import assert_user_error, etude


def written(path: Path, *notes: tuple[int, int, int, int]) -> Path:
    """Write notes (onset and duration in beats of half a second, pitch, velocity) as a MIDI file."""
    write_midi(Piece(notes=sorted_notes(notes), id="x", group="x", grid=Beats(steps_per_beat=1)), path)
    return path


@pytest.mark.parametrize("pitch", [45, 69, 81])
def test_a_note_sounds_at_its_pitch_for_its_duration(pitch: int, tmp_path: Path) -> None:
    samples = sound(written(tmp_path / "a.mid", (2, 4, pitch, 100)))
    heard = np.flatnonzero(samples)
    assert heard[0] / RATE == pytest.approx(1, abs=0.001)
    assert heard[-1] / RATE == pytest.approx(3, abs=0.001)
    assert np.abs(samples).max() == 1
    tone = samples[RATE : 3 * RATE]
    loudest = np.abs(np.fft.rfft(tone)).argmax() * RATE / len(tone)
    assert loudest == pytest.approx(440 * 2 ** ((pitch - 69) / 12), abs=1)


def test_a_file_holds_the_sound(tmp_path: Path) -> None:
    midi = written(tmp_path / "a.mid", (0, 2, 60, 100))
    wav((midi,), output=tmp_path / "sound")
    with wave.open(str(tmp_path / "sound" / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        content = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    expected = sound(midi)
    assert len(content) == len(expected)
    assert np.abs(content / (0.9 * 32767) - expected).max() < 1 / 32767


def seconds(path: Path, content: bytes) -> float:
    """Return how long a file sounds; its sound has no silence at the end."""
    path.write_bytes(content)
    samples = sound(path)
    assert np.flatnonzero(samples)[-1] >= len(samples) - 5
    return len(samples) / RATE


def test_the_tempo_of_any_track_counts(tmp_path: Path) -> None:
    slow = meta(0x51, (1_000_000).to_bytes(3, "big"))
    beats = note(60, length=480) + note(62, length=480)
    assert seconds(tmp_path / "a.mid", midi(track(), track(slow, beats))) == pytest.approx(2, abs=0.001)
    change = track(after(0, 0xC0, 0), after(480, 0xB0, 7, 100), slow)  # after the first beat
    assert seconds(tmp_path / "b.mid", midi(track(beats), change)) == pytest.approx(1.5, abs=0.001)


def test_overlapping_notes_of_one_key_last_as_long_as_the_reader_says(tmp_path: Path) -> None:
    # Onsets at 0 and 240, ends at 480 and 960, paired first in, first out, at 480 ticks to half a second.
    overlap = after(0, 0x90, 60, 64) + after(240, 0x90, 60, 64) + after(240, 0x80, 60, 0) + after(480, 0x80, 60, 0)
    content = midi(track(overlap))
    assert seconds(tmp_path / "a.mid", content) == pytest.approx(1, abs=0.001)
    assert read_seconds(content).tolist() == [(0, 0.5, 60, 64), (0.25, 1, 60, 64)]


def test_a_file_with_fewer_tracks_than_promised_sounds(tmp_path: Path) -> None:
    content = midi(track(note(60, length=480)), track(note(72, length=480)), count=8)
    assert seconds(tmp_path / "a.mid", content) == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"junk", "cannot be read as MIDI (unreadable)"),
        (midi(track(note(channel=9))), "cannot be read as MIDI (no piano)"),
        (midi(track(note(60, wait=2**22)), ticks_per_beat=1), "cannot be read as MIDI (too long)"),
        (midi(track(note(60, wait=2**24))), "lasts 4.9 hours: give a file of at most 4"),
    ],
)
def test_what_the_reader_rejects_is_refused_for_its_reason(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)):
        sound(tmp_path / "a.mid")


def test_a_soundfont_plays_every_note_to_its_end(tmp_path: Path) -> None:
    pytest.importorskip("fluidsynth", reason="FluidSynth is not installed")
    import pretty_midi

    font = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
    (tmp_path / "a.mid").write_bytes(midi(track(note(60, length=960)), track(note(60, wait=240, length=240))))
    samples = np.abs(sound(tmp_path / "a.mid", font))
    assert samples[int(0.9 * RATE) : RATE].max() > 0.1  # the short note has not ended the long one
    assert samples[int(1.5 * RATE) :].max() < 0.02
    (tmp_path / "junk.sf2").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"junk\.sf2 cannot be played by FluidSynth: give a soundfont"):
        sound(tmp_path / "a.mid", tmp_path / "junk.sf2")


def test_a_soundfont_needs_fluidsynth_and_a_file(tmp_path: Path) -> None:
    midi_file = written(tmp_path / "a.mid", (0, 2, 60, 100))
    with pytest.raises(UserError, match=r"absent\.sf2 is not a file: give the path of a soundfont"):
        wav((midi_file,), soundfont=tmp_path / "absent.sf2")
    if importlib.util.find_spec("fluidsynth") is None:
        with pytest.raises(UserError, match="install it and `pip install pyfluidsynth`"):
            wav((midi_file,), soundfont=midi_file)


def test_a_piece_without_notes_is_silent(tmp_path: Path) -> None:
    midi = written(tmp_path / "a.mid")
    wav((midi,))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert not any(file.readframes(file.getnframes()))


def test_files_that_would_overwrite_each_other_are_refused(tmp_path: Path) -> None:
    files = tuple(written(tmp_path / name / "000.mid", (0, 1, 60, 64)) for name in ("a", "b"))
    with pytest.raises(UserError, match=r"2 files would be written to .*000\.wav"):
        wav(files, output=tmp_path / "sound")
    assert not (tmp_path / "sound").exists()
    wav(files)
    assert all(file.with_suffix(".wav").exists() for file in files)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    assert_user_error(etude("wav", "absent.mid", folder=tmp_path), "absent.mid is not a file")
    with pytest.raises(UserError, match="name one or more MIDI files"):
        wav(())

"""The sound of MIDI files."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from etude.cli.wav import RATE, sound, wav
from replication.midi.piece import Beats, Piece, sorted_notes
from replication.midi.smf import write_midi
from replication.util.errors import UserError
from tests.support.program import assert_user_error, etude

if TYPE_CHECKING:
    from pathlib import Path


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


def test_mistakes_give_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    assert_user_error(etude("wav", "broken.mid", folder=tmp_path), "broken.mid cannot be read as MIDI")
    assert_user_error(etude("wav", "absent.mid", folder=tmp_path), "absent.mid is not a file")
    assert_user_error(etude("wav", folder=tmp_path), "name one or more MIDI files")

"""`etude wav`: convert MIDI files to sound, as in `etude wav runs/cpu/bach/e2e/0/midi/*.mid --output sound`."""

from __future__ import annotations

import wave
from collections import Counter
from pathlib import Path  # noqa: TC003 - tyro reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from replication.corpora.archives import LARGEST
from replication.midi.smf import TIMED_NOTE, MidiError, Reason, read_seconds
from replication.util.errors import UserError
from replication.util.files import atomic
from replication.util.paths import folder_at, is_regular

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 44_100  # samples per second
LONGEST = 4 * 60 * 60  # seconds; five gigabytes of samples
_PARTIALS = 4  # of each tone; those of the highest key stay below half of the rate
_LOUDEST = 0.9 * (2**15 - 1)


def wav(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE.mid", help="MIDI files")],
    output: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="PATH", help="folder of the .wav files", help_behavior_hint="(default: next to each MIDI file)"
        ),
    ] = None,
    soundfont: Annotated[
        Path | None,
        tyro.conf.arg(
            metavar="FILE.sf2",
            help="play with this soundfont through FluidSynth",
            help_behavior_hint="(default: plain tones, which sound the same on every machine)",
        ),
    ] = None,
) -> None:
    """Convert MIDI files to .wav files: the notes as corpora are read, in seconds by the tempo of the file."""
    if not files:
        raise UserError("no file given: name one or more MIDI files, such as runs/cpu/bach/e2e/0/midi/000.mid")
    into = output and folder_at(output)
    targets = [(into or file.parent) / f"{file.stem}.wav" for file in files]
    ((target, times),) = Counter(targets).most_common(1)
    if times > 1:
        raise UserError(
            f"{times} files would be written to {target}: leave out --output, or give different --output folders"
        )
    if soundfont and not is_regular(soundfont):
        raise UserError(f"{soundfont} is not a file: give the path of a soundfont (.sf2)")
    for file, target in zip(files, targets, strict=True):
        save_sound(sound(file, soundfont), target)
        print(target)


def sound(path: Path, soundfont: Path | None = None) -> NDArray[np.float64]:
    """Return the sound of a MIDI file, from time 0 to the end of the last note, with a soundfont until it has faded.

    The notes are those that corpora are read with (`read_seconds`), of all instruments but drums.

    Args:
        path: MIDI file.
        soundfont: Soundfont whose piano plays the notes instead of plain tones.

    Returns:
        (n,) at `RATE` samples per second, with a peak of 1; empty if the file has no notes, as a sample may have none.

    Raises:
        UserError: If there is no such file, it is rejected by the reader or lasts longer than `LONGEST`, or the
            soundfont cannot be played.
    """
    notes = _notes(path)
    if not len(notes):
        return np.empty(0)
    if (seconds := float(notes["end"].max())) > LONGEST:
        raise UserError(f"{path} lasts {seconds / 3600:.1f} hours: give a file of at most {LONGEST // 3600}")
    found = _tones(notes)[: int(np.ceil(RATE * seconds))] if soundfont is None else _played(notes, soundfont)
    found /= np.abs(found).max(initial=0) or 1
    return found


def _notes(path: Path) -> NDArray[Any]:
    if not is_regular(path):
        raise UserError(f"{path} is not a file: give the path of a MIDI file")
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} cannot be read as MIDI ({Reason.TOO_LARGE}); give another file")
        return read_seconds(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); make it readable") from error
    except MidiError as error:
        reason = error.reason
    if reason is Reason.EMPTY:
        return np.empty(0, TIMED_NOTE)
    raise UserError(f"{path} cannot be read as MIDI ({reason}); give another file")


def _tones(notes: NDArray[Any]) -> NDArray[np.float64]:
    from pretty_midi import Instrument, Note

    piano = Instrument(program=0)
    piano.notes = [Note(velocity, pitch, onset, end) for onset, end, pitch, velocity in notes.tolist()]
    found: NDArray[np.float64] = piano.synthesize(fs=RATE, wave=_tone)
    return found


def _tone(phase: NDArray[Any]) -> NDArray[Any]:
    """Return a wave a little richer than a sine: the amplitude of partial k is 1 / k^2."""
    partials = np.arange(1, _PARTIALS + 1)
    waves: NDArray[Any] = (np.sin(phase[:, None] * partials) / partials**2).sum(axis=1)
    return waves


def _played(notes: NDArray[Any], soundfont: Path) -> NDArray[np.float64]:
    """Return the notes played by FluidSynth, on as many pianos as it takes that none has two notes of a key at once.

    On one piano, FluidSynth would end these together.
    """
    from pretty_midi import Instrument, Note, PrettyMIDI

    try:
        from fluidsynth import Synth
    except ImportError as error:
        raise UserError("--soundfont plays through FluidSynth: install it and `pip install pyfluidsynth`") from error
    synthesizer = Synth(samplerate=RATE)
    font = synthesizer.sfload(str(soundfont))
    if synthesizer.program_select(0, font, 0, 0) < 0:
        raise UserError(f"{soundfont} cannot be played by FluidSynth: give a soundfont (.sf2) with a piano")
    pianos, busy = list[Instrument](), list[dict[int, float]]()  # and when each key of each piano becomes free
    for onset, end, pitch, velocity in notes.tolist():
        number = next((number for number, keys in enumerate(busy) if keys.get(pitch, 0) <= onset), len(pianos))
        if number == len(pianos):
            pianos.append(Instrument(program=0))
            busy.append({})
        pianos[number].notes.append(Note(velocity, pitch, onset, end))
        busy[number][pitch] = end
    music = PrettyMIDI()
    music.instruments = pianos
    found: NDArray[np.float64] = music.fluidsynth(synthesizer=synthesizer, sfid=font, normalize=False)
    synthesizer.delete()
    return found


def save_sound(samples: NDArray[np.float64], path: Path) -> None:
    """Write (n,) samples between -1 and 1 as a 16-bit mono .wav file."""
    with atomic(path) as draft, wave.open(str(draft), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(_LOUDEST * samples).astype("<i2").tobytes())

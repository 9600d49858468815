"""MIDI files as sound: `etude wav runs/cpu/bach/e2e/0/midi/*.mid --output sound`."""

from __future__ import annotations

import wave
from collections import Counter
from pathlib import Path  # noqa: TC003 - tyro reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from replication.util.errors import UserError
from replication.util.files import atomic
from replication.util.paths import folder_at, is_regular

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 44_100  # samples a second
_PARTIALS = 4  # of the tone: the highest key's stay below half of the rate
_LOUDEST = 0.9 * (2**15 - 1)


def wav(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE.mid", help="MIDI files")],
    output: Annotated[
        Path | None, tyro.conf.arg(metavar="PATH", help="the folder of the .wav files; beside each file if not given")
    ] = None,
) -> None:
    """Write MIDI files as .wav files, in plain tones that sound the same on every machine."""
    if not files:
        raise UserError("no file is named: give one MIDI file or more, such as runs/cpu/bach/e2e/0/midi/000.mid")
    into = output and folder_at(output)
    targets = [(into or file.parent) / f"{file.stem}.wav" for file in files]
    ((target, times),) = Counter(targets).most_common(1)
    if times > 1:
        raise UserError(f"{times} files would become {target}: leave --output away, or give each a folder of its own")
    for file, target in zip(files, targets, strict=True):
        save_sound(sound(file), target)
        print(target)


def sound(path: Path) -> NDArray[np.float64]:
    """Return what a MIDI file sounds like: (n,) at `RATE` samples a second, the loudest 1 or -1, unless all is silent.

    Raises:
        UserError: if there is no such file, or if it is no MIDI file.
    """
    from pretty_midi import PrettyMIDI

    if not is_regular(path):
        raise UserError(f"{path} is no file: give the path of a MIDI file")
    # The parser meets whatever is on people's disks, and reports damage as several types of exception.
    try:
        found: NDArray[np.float64] = PrettyMIDI(str(path)).synthesize(fs=RATE, wave=_tone, normalize=False)
    except Exception as error:
        raise UserError(f"{path} cannot be read as MIDI ({error}); give another file") from error
    peak = np.abs(found).max(initial=0)
    return found / peak if peak else found


def _tone(phase: NDArray[Any]) -> NDArray[Any]:
    """Return a wave a little richer than a sine: partials whose strength falls with the square of their number."""
    partials = np.arange(1, _PARTIALS + 1)
    waves: NDArray[Any] = (np.sin(phase[:, None] * partials) / partials**2).sum(axis=1)
    return waves


def save_sound(samples: NDArray[np.float64], path: Path) -> None:
    """Write (n,) samples between -1 and 1 as a .wav file of 16 bits and one channel."""
    with atomic(path) as draft, wave.open(str(draft), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(_LOUDEST * samples).astype("<i2").tobytes())

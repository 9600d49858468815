"""`etude wav`: convert MIDI files to sound, as in `etude wav runs/cpu/bach/e2e/0/midi/*.mid --output sound`."""

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

RATE = 44_100  # samples per second
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
) -> None:
    """Convert MIDI files to .wav files with plain tones, which sound the same on every machine."""
    if not files:
        raise UserError("no file given: name one or more MIDI files, such as runs/cpu/bach/e2e/0/midi/000.mid")
    into = output and folder_at(output)
    targets = [(into or file.parent) / f"{file.stem}.wav" for file in files]
    ((target, times),) = Counter(targets).most_common(1)
    if times > 1:
        raise UserError(
            f"{times} files would be written to {target}: leave out --output, or give different --output folders"
        )
    for file, target in zip(files, targets, strict=True):
        save_sound(sound(file), target)
        print(target)


def sound(path: Path) -> NDArray[np.float64]:
    """Return the sound of a MIDI file: (n,) at `RATE` samples per second, with a peak of 1 unless all is silent.

    Raises:
        UserError: If there is no such file, or it is not a MIDI file.
    """
    from pretty_midi import PrettyMIDI

    if not is_regular(path):
        raise UserError(f"{path} is not a file: give the path of a MIDI file")
    # The parser reports damaged files by many types of exceptions.
    try:
        found: NDArray[np.float64] = PrettyMIDI(str(path)).synthesize(fs=RATE, wave=_tone, normalize=False)
    except Exception as error:
        raise UserError(f"{path} cannot be read as MIDI ({error}); give another file") from error
    peak = np.abs(found).max(initial=0)
    return found / peak if peak else found


def _tone(phase: NDArray[Any]) -> NDArray[Any]:
    """Return a wave a little richer than a sine: the amplitude of partial k is 1 / k^2."""
    partials = np.arange(1, _PARTIALS + 1)
    waves: NDArray[Any] = (np.sin(phase[:, None] * partials) / partials**2).sum(axis=1)
    return waves


def save_sound(samples: NDArray[np.float64], path: Path) -> None:
    """Write (n,) samples between -1 and 1 as a 16-bit mono .wav file."""
    with atomic(path) as draft, wave.open(str(draft), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(_LOUDEST * samples).astype("<i2").tobytes())

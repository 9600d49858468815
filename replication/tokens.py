"""Music as words: the paper's run-length code, its vocabulary, its grammar, and the way back.

A window is a sequence of L token ids: `[CLS]`, the music, `[SEP]`, then `[PAD]` to the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from replication.errors import UserError
from replication.piece import NOTE, PAPER_GRID, Grid, sorted_notes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

# Every encoding begins its vocabulary with these.
PAD, CLS, SEP = 0, 1, 2
MARKS = ("[PAD]", "[CLS]", "[SEP]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """What a sequence of tokens says.

    Attributes:
        notes: (n,) array of `NOTE`, in a piece's order.
        repairs: tokens that the grammar does not allow where they stood; decoding passed over them.
    """

    notes: NDArray[Any]
    repairs: int

    @property
    def valid(self) -> bool:
        """Whether the sequence follows the grammar to the letter and plays at least one note."""
        return self.repairs == 0 and len(self.notes) > 0


class Encoding(Protocol):
    """A reversible code between notes and token ids."""

    @property
    def grid(self) -> Grid:
        """The length of the time step that the code counts in."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words by token id; the first three are `MARKS`."""

    def representable(self, notes: NDArray[Any]) -> NDArray[Any]:
        """Return the notes as the code can write them; the identity on what `decode` returns."""

    def windows(self, notes: NDArray[Any], length: int) -> list[NDArray[np.uint16]]:
        """Cut (n,) notes between notes into windows of (length,) token ids, each readable by itself."""

    def decode(self, tokens: Iterable[int]) -> Decoded:
        """Read token ids; never raises on a model's output."""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The run-length code of the replicated project, with one time unit for both directions.

    Two state variables: `v` sets the velocity and `d` the duration, each written only when it changes. `p` plays a
    note with the current state. `a` advances the time by the current duration, which is first set to the waiting
    time. So notes that start together are a run of `p` tokens: `v64 d8 p60 p64 p67 a p65` is a chord, then one note.
    The original decoded with a unit four times shorter than it had encoded with; here both use an eighth of a beat.
    """

    low_pitch: int = 30  # pitches are folded by octaves into [low, high)
    high_pitch: int = 96
    low_velocity: int = 32  # velocities are clamped to [low, 127], then floored to a multiple of the step
    velocity_step: int = 4
    longest: int = 56  # grid steps; longer notes are cut, longer waits are written as several
    grid: Grid = PAPER_GRID

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:  # noqa: D102 - see Encoding
        pitches = (f"p{pitch}" for pitch in range(self.low_pitch, self.high_pitch))
        velocities = (f"v{velocity}" for velocity in range(self.low_velocity, 128, self.velocity_step))
        durations = (f"d{duration}" for duration in range(1, self.longest + 1))
        return (*MARKS, "a", *pitches, *velocities, *durations)

    @cached_property
    def _id(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.vocabulary)}

    def representable(self, notes: NDArray[Any]) -> NDArray[Any]:  # noqa: D102 - see Encoding
        result = notes.astype(NOTE)
        pitch = notes["pitch"].astype(int)
        pitch += 12 * (np.maximum(self.low_pitch - pitch + 11, 0) // 12)
        pitch -= 12 * (np.maximum(pitch - self.high_pitch + 12, 0) // 12)
        velocity = np.clip(notes["velocity"], self.low_velocity, 127)
        result["pitch"] = pitch
        result["velocity"] = velocity - velocity % self.velocity_step
        result["duration"] = np.clip(notes["duration"], 1, self.longest)
        return sorted_notes(result)

    def windows(self, notes: NDArray[Any], length: int) -> list[NDArray[np.uint16]]:  # noqa: D102 - see Encoding
        windows: list[list[int]] = []
        room, now, velocity, duration = 0, 0, 0, 0
        for onset, steps, pitch, loudness in self.representable(notes).tolist():
            words = self._write(onset, steps, pitch, loudness, now=now, velocity=velocity, duration=duration)
            if len(words) > room:  # a window starts at its first note, with nothing set
                words = self._write(onset, steps, pitch, loudness, now=onset, velocity=0, duration=0)
                windows.append([])
                room = length - 2  # the marks
            windows[-1].extend(self._id[word] for word in words)
            room -= len(words)
            now, velocity, duration = onset, loudness, steps
        return [frame(window, length) for window in windows]

    def _write(
        self, onset: int, steps: int, pitch: int, loudness: int, *, now: int, velocity: int, duration: int
    ) -> list[str]:
        """Return the words that wait until a note's onset and play it, from the state that the code is in."""
        words = []
        while now < onset:
            wait = min(onset - now, self.longest)
            words += ["a"] if wait == duration else [f"d{wait}", "a"]
            now, duration = now + wait, wait
        if loudness != velocity:
            words.append(f"v{loudness}")
        if steps != duration:
            words.append(f"d{steps}")
        return [*words, f"p{pitch}"]

    def decode(self, tokens: Iterable[int]) -> Decoded:  # noqa: D102 - see Encoding
        inside, repairs = unframe(tokens)
        now, velocity, duration = 0, 0, 0
        rows = []
        for token in inside:
            kind, value = self.vocabulary[token][0], self.vocabulary[token][1:]
            if kind == "v":
                velocity = int(value)
            elif kind == "d":
                duration = int(value)
            elif kind == "a" and duration:
                now += duration
            elif kind == "p" and duration and velocity:
                rows.append((now, duration, int(value), velocity))
            else:  # a mark inside, or a note or a wait before its state was set
                repairs += 1
        return Decoded(notes=sorted_notes(rows), repairs=repairs)


def frame(inside: Sequence[int], length: int) -> NDArray[np.uint16]:
    """Put token ids between the marks and fill up: (length,)."""
    window = np.full(length, PAD, dtype=np.uint16)
    window[: len(inside) + 2] = [CLS, *inside, SEP]
    return window


def unframe(tokens: Iterable[int]) -> tuple[list[int], int]:
    """Return the ids between the marks, and how many marks are missing or followed by what should not be there."""
    ids = [int(token) for token in tokens]
    repairs = 0
    if ids[:1] == [CLS]:
        ids = ids[1:]
    else:
        repairs += 1
    if SEP not in ids:
        return ids, repairs + 1
    end = ids.index(SEP)
    return ids[:end], repairs + sum(token != PAD for token in ids[end + 1 :])


def to_text(encoding: Encoding, tokens: Iterable[int]) -> str:
    """Return the words of a sequence, separated by blanks, without padding."""
    return " ".join(encoding.vocabulary[token] for token in tokens if token != PAD)


def from_text(encoding: Encoding, text: str) -> list[int]:
    """Return the token ids of words separated by white space.

    Raises:
        UserError: for a word that the vocabulary does not have.
    """
    ids = {word: index for index, word in enumerate(encoding.vocabulary)}
    try:
        return [ids[word] for word in text.split()]
    except KeyError as error:
        examples = " ".join(encoding.vocabulary[::40])
        raise UserError(f"{error.args[0]!r} is no word of this encoding; its words look like {examples}") from None


ENCODINGS: dict[str, Encoding] = {"paper": Paper()}

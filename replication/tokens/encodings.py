"""Our own encodings of music, and the table of all."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from replication.midi.piece import NOTE, PAPER_GRID, Grid, sorted_notes
from replication.tokens.protocol import MARKS, Decoded, pack, spell, unframe
from replication.tokens.remi import Remi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from replication.tokens.protocol import Encoding


@dataclass(frozen=True, kw_only=True)
class _Classes(ABC):
    """The pitches, velocities and durations that our encodings tell apart, and the words for them."""

    low_pitch: int = 30  # pitches are folded by octaves into [low, high)
    high_pitch: int = 96
    low_velocity: int = 32  # velocities are clamped to [low, 127], then floored to a multiple of the step
    velocity_step: int = 4
    longest: int = 56  # grid steps; longer notes are cut, longer waits are written as several
    grid: Grid = PAPER_GRID
    packages: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def _time_words(self) -> tuple[str, ...]:
        """The words that advance the time."""

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        pitches = (f"p{pitch}" for pitch in range(self.low_pitch, self.high_pitch))
        velocities = (f"v{velocity}" for velocity in range(self.low_velocity, 128, self.velocity_step))
        durations = (f"d{duration}" for duration in range(1, self.longest + 1))
        return (*MARKS, *self._time_words, *pitches, *velocities, *durations)

    @cached_property
    def _start(self) -> dict[str, int]:
        """The least token id of each kind of word."""
        return {word[0]: index for index, word in reversed(tuple(enumerate(self.vocabulary)))}

    def representable(self, notes: NDArray[Any]) -> NDArray[Any]:
        result = notes.astype(NOTE)
        pitch = notes["pitch"].astype(int)
        pitch += 12 * (np.maximum(self.low_pitch - pitch + 11, 0) // 12)
        pitch -= 12 * (np.maximum(pitch - self.high_pitch + 12, 0) // 12)
        velocity = np.clip(notes["velocity"], self.low_velocity, 127)
        result["pitch"] = pitch
        result["velocity"] = velocity - velocity % self.velocity_step
        result["duration"] = np.clip(notes["duration"], 1, self.longest)
        return sorted_notes(result)

    def _note_ids(self, notes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return the (n,) token ids of the notes' pitches, velocities and durations."""
        return (
            self._start["p"] + (notes["pitch"].astype(int) - self.low_pitch),
            self._start["v"] + (notes["velocity"].astype(int) - self.low_velocity) // self.velocity_step,
            self._start["d"] + (notes["duration"].astype(int) - 1),
        )

    def _waits(self, notes: NDArray[Any], length: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return (n,) how many longest waits lead to each note from the one before, and the steps that remain.

        As many as a window's length stand for more: then the note opens a window, where nothing waits for it.
        """
        times, rest = np.divmod(np.diff(notes["onset"], prepend=notes["onset"][:1]), self.longest)
        return np.minimum(times, length), rest


@dataclass(frozen=True, kw_only=True)
class Paper(_Classes):
    """The run-length code of the replicated project, with one time unit for both directions.

    Two state variables: `v` sets the velocity and `d` the duration, each written only when it changes. `p` plays a
    note with the current state. `a` advances the time by the current duration, which is first set to the waiting
    time. So notes that start together are a run of `p` tokens: `v64 d8 p60 p64 p67 a p65` is a chord, then one note.
    The original decoded with a unit four times shorter than it had encoded with; here both use an eighth of a beat.
    """

    @property
    def _time_words(self) -> tuple[str, ...]:
        return ("a",)

    def windows(self, notes: NDArray[Any], length: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:  # noqa: D102 - see Encoding
        notes = self.representable(notes)
        pitch, velocity, duration = self._note_ids(notes)
        times, rest = self._waits(notes, length)
        longest, wait = self._start["d"] - 1 + self.longest, self._start["d"] - 1 + rest
        # The duration that is set before a note, after its longest waits, and after what is left to wait.
        before = np.roll(duration, 1)
        between = np.where(times > 0, longest, before)
        after = np.where(rest > 0, wait, between)
        slots = (
            (longest, between != before, 0),
            (self._start["a"], times, 0),
            (wait, after != between, 0),
            (self._start["a"], rest > 0, 0),
            (velocity, velocity != np.roll(velocity, 1), 1),
            (duration, duration != after, 1),
            (pitch, 1, 1),
        )
        return pack(notes["onset"], slots, length)

    def decode(self, tokens: Iterable[int]) -> Decoded:  # noqa: D102 - see Encoding
        inside, repairs = unframe(tokens)
        now, velocity, duration = 0, 0, 0
        rows = []
        for word in spell(self.vocabulary, inside):
            kind, value = word[0], word[1:]
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


@dataclass(frozen=True, kw_only=True)
class Triples(_Classes):
    """Every note in full, as pitch, velocity and duration; `t` shifts the time before a note that starts later.

    The grammar is `(t* p v d)+`: `p60 v64 d8 p64 v64 d8 t8 p65 v64 d4` is two notes together, then one 8 steps later.
    A wait longer than the longest is several shifts, the largest first.
    """

    @property
    def _time_words(self) -> tuple[str, ...]:
        return tuple(f"t{steps}" for steps in range(1, self.longest + 1))

    def windows(self, notes: NDArray[Any], length: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:  # noqa: D102 - see Encoding
        notes = self.representable(notes)
        pitch, velocity, duration = self._note_ids(notes)
        times, rest = self._waits(notes, length)
        shift = self._start["t"] - 1
        slots = (
            (shift + self.longest, times, 0),
            (shift + rest, rest > 0, 0),
            (pitch, 1, 1),
            (velocity, 1, 1),
            (duration, 1, 1),
        )
        return pack(notes["onset"], slots, length)

    def decode(self, tokens: Iterable[int]) -> Decoded:  # noqa: D102 - see Encoding
        inside, repairs = unframe(tokens)
        words = spell(self.vocabulary, inside)
        kinds = "".join(word[0] for word in words)
        music = "".join(kinds.rpartition("pvd")[:2])  # a shift after the last whole note leads nowhere
        repairs += len(kinds)
        now, rows = 0, []
        for found in re.finditer("t|pvd", music):
            values = [int(word[1:]) for word in words[slice(*found.span())]]
            repairs -= len(values)
            if len(values) == 1:
                now += values[0]
            else:
                pitch, velocity, duration = values
                rows.append((now, duration, pitch, velocity))
        return Decoded(notes=sorted_notes(rows), repairs=repairs)


ENCODINGS: dict[str, Encoding] = {"paper": Paper(), "triples": Triples(), "remi": Remi()}


def encoding_on(name: str, grid: Grid) -> Encoding:
    """Return a row of `ENCODINGS` that counts in the steps of a grid.

    Raises:
        UserError: if the encoding needs beats, and the grid has none.
    """
    encoding: Encoding = replace(ENCODINGS[name], grid=grid)  # type: ignore[type-var]  # all rows are dataclasses
    return encoding

"""The encodings `Paper` and `Triples`, and the table of all encodings."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from replication.midi.piece import NOTE, PAPER_GRID, TimeGrid, sorted_notes
from replication.tokens.protocol import SPECIAL_TOKENS, Decoded, pack, strip_special, words_of
from replication.tokens.remi import Remi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from replication.tokens.protocol import Encoding


@dataclass(frozen=True, kw_only=True)
class _NoteVocabulary(ABC):
    """The pitches, velocities and durations that `Paper` and `Triples` distinguish, and their words.

    Attributes:
        low_pitch: Lowest pitch.
        high_pitch: Highest pitch plus one; pitches are folded by octaves into [low_pitch, high_pitch).
        low_velocity: Lowest velocity; velocities are clamped to [low_velocity, 127].
        velocity_step: Velocities are floored to a multiple of this.
        longest: Longest duration in grid steps; longer notes are cut, longer waits take several tokens.
        grid: Time grid.
    """

    low_pitch: int = 30
    high_pitch: int = 96
    low_velocity: int = 32
    velocity_step: int = 4
    longest: int = 56
    grid: TimeGrid = PAPER_GRID
    packages: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def _time_words(self) -> tuple[str, ...]:
        """Words that advance the time."""

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        pitches = (f"p{pitch}" for pitch in range(self.low_pitch, self.high_pitch))
        velocities = (f"v{velocity}" for velocity in range(self.low_velocity, 128, self.velocity_step))
        durations = (f"d{duration}" for duration in range(1, self.longest + 1))
        return (*SPECIAL_TOKENS, *self._time_words, *pitches, *velocities, *durations)

    @cached_property
    def _start(self) -> dict[str, int]:
        """Smallest token id of each kind of word."""
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
        """Return the (n,) token ids of the pitches, velocities and durations."""
        return (
            self._start["p"] + (notes["pitch"].astype(int) - self.low_pitch),
            self._start["v"] + (notes["velocity"].astype(int) - self.low_velocity) // self.velocity_step,
            self._start["d"] + (notes["duration"].astype(int) - 1),
        )

    def _waits(self, notes: NDArray[Any], length: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Divide the time between each note and the previous one into (n,) longest waits and (n,) remaining steps.

        The number of waits is capped at the length of a window: such a note begins a window, where no wait is written.
        """
        times, rest = np.divmod(np.diff(notes["onset"], prepend=notes["onset"][:1]), self.longest)
        return np.minimum(times, length), rest


@dataclass(frozen=True, kw_only=True)
class Paper(_NoteVocabulary):
    """The run-length encoding of the replicated project, with one time unit for encoding and decoding.

    There are two state variables: `v` sets the velocity and `d` the duration, and each is written only when it changes.
    `p` plays a note with the current state. `a` advances the time by the current duration, which is first set to the
    waiting time. Notes that begin together are thus a run of `p` tokens: `v64 d8 p60 p64 p67 a p65` is a chord and then
    one note. The original decodes with a time unit four times shorter than the one it encodes with; here both use an
    eighth of a beat.

    >>> from replication.tokens.protocol import from_text
    >>> Paper().decode(from_text(Paper(), "[CLS] v64 d8 p60 p64 p67 a p65 [SEP]")).notes.tolist()
    [(0, 8, 60, 64), (0, 8, 64, 64), (0, 8, 67, 64), (8, 8, 65, 64)]
    """

    @property
    def _time_words(self) -> tuple[str, ...]:
        return ("a",)

    def windows(self, notes: NDArray[Any], length: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:  # noqa: D102 - see Encoding
        notes = self.representable(notes)
        pitch, velocity, duration = self._note_ids(notes)
        times, rest = self._waits(notes, length)
        longest, wait = self._start["d"] - 1 + self.longest, self._start["d"] - 1 + rest
        # The current duration before a note, after its longest waits, and after its remaining wait.
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
        inside, repairs = strip_special(tokens)
        now, velocity, duration = 0, 0, 0
        rows = []
        for word in words_of(self.vocabulary, inside):
            kind, value = word[0], word[1:]
            if kind == "v":
                velocity = int(value)
            elif kind == "d":
                duration = int(value)
            elif kind == "a" and duration:
                now += duration
            elif kind == "p" and duration and velocity:
                rows.append((now, duration, int(value), velocity))
            else:  # a special token inside, or a note or a wait before its state is set
                repairs += 1
        return Decoded(notes=sorted_notes(rows), repairs=repairs)


@dataclass(frozen=True, kw_only=True)
class Triples(_NoteVocabulary):
    """An encoding of every note in full, as pitch, velocity and duration; `t` advances the time.

    The grammar is `(t* p v d)+`: `p60 v64 d8 p64 v64 d8 t8 p65 v64 d4` is two notes together and one 8 steps later. A
    wait that exceeds the longest duration takes several `t` tokens, the largest first.

    >>> from replication.tokens.protocol import from_text
    >>> Triples().decode(from_text(Triples(), "[CLS] p60 v64 d8 p64 v64 d8 t8 p65 v64 d4 [SEP]")).notes.tolist()
    [(0, 8, 60, 64), (0, 8, 64, 64), (8, 4, 65, 64)]
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
        inside, repairs = strip_special(tokens)
        words = words_of(self.vocabulary, inside)
        kinds = "".join(word[0] for word in words)
        music = "".join(kinds.rpartition("pvd")[:2])  # `t` after the last complete note has no effect
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


def encoding_on(name: str, grid: TimeGrid) -> Encoding:
    """Return the encoding of a row of `ENCODINGS` on a time grid.

    Raises:
        UserError: If the encoding needs beats and the grid has none.
    """
    encoding: Encoding = replace(ENCODINGS[name], grid=grid)  # type: ignore[type-var]  # all rows are dataclasses
    return encoding

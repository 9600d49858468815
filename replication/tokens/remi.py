"""The REMI encoding, implemented by MidiTok: an independent encoding to compare `Paper` and `Triples` with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from replication.midi.piece import NOTE, PAPER_GRID, Beats, sorted_notes
from replication.tokens.protocol import SPECIAL_TOKENS, Decoded, pack, strip_special, words_of
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from miditok import REMI
    from numpy.typing import NDArray

BEATS_PER_BAR = 4
KINDS = {"Bar": "B", "Position": "P", "Pitch": "p", "Velocity": "v", "Duration": "d"}
# A position is valid only if a note follows before the next position or bar.
GRAMMAR = re.compile("B|P(?=[^BP]*pvd)|pvd")


@dataclass(frozen=True, kw_only=True)
class Remi:
    """REMI (Huang and Yang, Pop Music Transformer, ACM Multimedia 2020), encoded and decoded by MidiTok.

    A piece is one track in bars of four beats from step 0, without tempo, chords or rests. A bar token begins each bar,
    including empty ones, and a position token each onset in it; every note is written in full as pitch, velocity and
    duration. The grammar is `(Bar+ (Position (Pitch Velocity Duration)+)+)+` with increasing positions within a bar.

    Attributes:
        velocities: Number of velocity classes, evenly spaced up to 127.
        longest: Longest duration in beats; longer notes are cut.
        grid: Time grid, with beats.

    Raises:
        UserError: If the grid has no beats.
    """

    velocities: int = 32
    longest: int = 7
    grid: Beats = PAPER_GRID
    packages: ClassVar[tuple[str, ...]] = ("miditok",)

    def __post_init__(self) -> None:
        if not isinstance(self.grid, Beats):
            raise UserError(f"REMI needs a grid in beats, not {self.grid}; choose another encoding or corpus")

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:  # noqa: D102 - see Encoding
        per_beat = self.grid.steps_per_beat
        steps = (divmod(steps, per_beat) for steps in range(1, self.longest * per_beat + 1))
        return (
            *SPECIAL_TOKENS,
            "Bar_None",
            *(f"Pitch_{pitch}" for pitch in range(128)),
            *(f"Velocity_{velocity}" for velocity in self._loudness),
            *(f"Duration_{beats}.{rest}.{per_beat}" for beats, rest in steps),
            *(f"Position_{position}" for position in range(self._bar)),
        )

    @property
    def _bar(self) -> int:
        return BEATS_PER_BAR * self.grid.steps_per_beat

    @property
    def _loudness(self) -> NDArray[Any]:
        """Velocity of each class."""
        return 127 * np.arange(1, self.velocities + 1) // self.velocities

    @cached_property
    def _start(self) -> dict[str, int]:
        """Smallest token id of each kind of word."""
        kinds = [word.split("_")[0] for word in self.vocabulary]
        return {kind: kinds.index(kind) for kind in KINDS}

    def representable(self, notes: NDArray[Any]) -> NDArray[Any]:  # noqa: D102 - see Encoding
        result = notes.astype(NOTE)
        borders = (self._loudness[1:] + self._loudness[:-1]) / 2
        result["velocity"] = self._loudness[np.searchsorted(borders, notes["velocity"], side="right")]
        result["duration"] = np.clip(notes["duration"], 1, self.longest * self.grid.steps_per_beat)
        return sorted_notes(result)

    def windows(self, notes: NDArray[Any], length: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:  # noqa: D102 - see Encoding
        notes = self.representable(notes)
        bar, position = np.divmod(notes["onset"], self._bar)
        # Gaps are capped at the length of a window; the bars of a longer gap would be cut off again.
        bar = np.minimum(np.diff(bar, prepend=bar[:1]), length).cumsum()
        ids = self._tokenise(bar * self._bar + position, notes)
        # MidiTok writes before a note: a bar token per new bar, and a position token unless the onset is the same.
        pitch = np.flatnonzero((ids >= self._start["Pitch"]) & (ids < self._start["Velocity"]))
        bars = np.diff(np.cumsum(ids == self._start["Bar"])[pitch], prepend=0)
        slots = (
            (self._start["Bar"], bars, 1),
            (self._start["Position"] + position, ids[pitch - 1] >= self._start["Position"], 1),
            (ids[pitch], 1, 1),
            (ids[pitch + 1], 1, 1),
            (ids[pitch + 2], 1, 1),
        )
        return pack(notes["onset"], slots, length)

    def _tokenise(self, onsets: NDArray[Any], notes: NDArray[Any]) -> NDArray[Any]:
        """Return MidiTok's token ids for notes that are moved to these (n,) onsets."""
        from symusic import Note, Score, Track

        track = Note.from_numpy(
            onsets.astype(np.int32),
            notes["duration"].astype(np.int32),
            notes["pitch"].astype(np.int8),
            notes["velocity"].astype(np.int8),
        )
        score: Any = Score(self.grid.steps_per_beat)
        score.tracks.append(Track(notes=track))
        (sequence,) = _tokenizer(self).encode(score)
        return np.array(sequence.ids, dtype=np.int64)

    def decode(self, tokens: Iterable[int]) -> Decoded:  # noqa: D102 - see Encoding
        inside, repairs = strip_special(tokens)
        kept = self._grammatical(inside)
        tracks = _tokenizer(self).decode([kept]).tracks  # one track, or none if there are no notes
        played = (note for track in tracks for note in track.notes)
        notes = sorted_notes((note.time, note.duration, note.pitch, note.velocity) for note in played)
        notes["onset"] -= notes["onset"][:1]
        return Decoded(notes=notes, repairs=repairs + len(inside) - len(kept))

    def _grammatical(self, inside: list[int]) -> list[int]:
        """Return the token ids without those that the grammar does not allow at their positions."""
        kinds = "".join(KINDS.get(word.split("_")[0], "?") for word in words_of(self.vocabulary, inside))
        music = "".join(kinds.rpartition("pvd")[:2])  # a bar after the last complete note has no effect
        kept = []
        earliest, placed = self._bar, False  # no position is valid before the first bar
        for found in GRAMMAR.finditer(music):
            start, end = found.span()
            if kinds[start] == "B":
                earliest, placed = 0, False
            elif kinds[start] == "P":
                position = inside[start] - self._start["Position"]
                if position < earliest:
                    continue
                earliest, placed = position + 1, True
            elif not placed:
                continue
            kept += inside[start:end]
        return kept


@cache
def _tokenizer(remi: Remi) -> REMI:
    from miditok import REMI, TokenizerConfig

    return REMI(
        TokenizerConfig(
            pitch_range=(0, 127),
            beat_res={(0, remi.longest): remi.grid.steps_per_beat},
            num_velocities=remi.velocities,
            special_tokens=["PAD", "BOS", "EOS"],
            use_time_signatures=False,
            use_pitchdrum_tokens=False,
        )
    )

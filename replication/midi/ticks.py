"""Notes of a MIDI file in ticks, the time unit of the file, before they are quantised to a time grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEMPO = 120  # beats per minute; the default of a file without tempo events

SUSTAIN = 64  # controller number of the sustain pedal, and the smallest value at which it counts as down


@dataclass(frozen=True, kw_only=True, eq=False)
class Ticks:
    """The notes, tempo events and controller events of a MIDI file; at least one note.

    Attributes:
        per_beat: Ticks per beat, at least 1.
        time: (n,) onsets in ticks, at least 0.
        end: (n,) ends in ticks.
        pitch: (n,) pitches, 0..127.
        velocity: (n,) velocities, 1..127.
        tempos: (m,) arrays `time`, ascending, and `mspq`, microseconds per beat. Among events at the same time the last
            one counts.
        controls: For each track whose pedal counts, (k,) arrays `time`, ascending, `number` and `value`.
    """

    per_beat: int
    time: NDArray[Any]
    end: NDArray[Any]
    pitch: NDArray[Any]
    velocity: NDArray[Any]
    tempos: dict[str, NDArray[Any]]
    controls: list[dict[str, NDArray[Any]]]

    def seconds(self, time: Any) -> Any:  # noqa: ANN401 - a number or an array of them
        """Convert ticks of any shape to seconds by the tempo map."""
        if len(self.tempos["time"]) == 1 and self.tempos["time"][0] <= 0:  # most files have one tempo
            return time * (self.tempos["mspq"][0] / (1e6 * self.per_beat))
        parts = len(self.tempos["time"]) + 1
        since, pace, before = np.zeros(parts, np.int64), np.empty(parts), np.zeros(parts)
        since[1:], pace[0], pace[1:] = np.maximum(self.tempos["time"], 0), 60e6 / TEMPO, self.tempos["mspq"]
        pace /= 1e6 * self.per_beat
        np.cumsum((since[1:] - since[:-1]) * pace[:-1], out=before[1:])
        at = np.searchsorted(since, time, side="right") - 1
        return before[at] + (time - since[at]) * pace[at]

    def alignment(self) -> float:
        """Return the share of notes, 0..1, that begin within 1/48 beat of a quarter or a third of a beat."""
        near = np.zeros(len(self.time), bool)
        for parts in (4, 3):
            past = self.time * parts % self.per_beat
            near |= 48 * np.minimum(past, self.per_beat - past) <= parts * self.per_beat
        return float(near.mean())

    def ends_with_pedal(self) -> NDArray[Any]:
        """Return the (n,) ends in ticks with the sustain pedal applied.

        A note that ends while the pedal is down sounds until the pedal is lifted or its key is struck again; if neither
        happens, until the end of the music. The pedal counts as down when it is down in any track: a piano has one
        pedal, and many files write it in the track of one hand.
        """
        when, move = [np.array([-1])], [np.array([0])]
        for track in self.controls:
            pedal = track["number"] == SUSTAIN
            when.append(track["time"][pedal])
            move.append(np.diff((track["value"][pedal] >= SUSTAIN).astype(int), prepend=0))
        at = np.concatenate(when)
        order = np.argsort(at, kind="stable")
        at, down = at[order], np.cumsum(np.concatenate(move)[order]) > 0
        held = down[np.searchsorted(at, self.end, side="right") - 1]
        lifts = np.append(at[~down], np.inf)
        lift = np.minimum(lifts[np.searchsorted(lifts, self.end, side="right")], max(self.end.max(), at[-1]))
        order = np.lexsort((self.time, self.pitch))
        again = np.full(len(self.time), np.inf)
        again[order[:-1]] = np.where(np.diff(self.pitch[order]) == 0, self.time[order[1:]], np.inf)
        return np.where(held, np.maximum(self.end, np.minimum(lift, again)), self.end)

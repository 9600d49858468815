"""The notes of a MIDI file in its own unit of time, and what can be told of them before they stand on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEMPO = 120  # beats a minute, of a file that states none

SUSTAIN = 64  # the number of the pedal's controller, and the least of its values that means that it is down


@dataclass(frozen=True, kw_only=True, eq=False)
class Ticks:
    """At least one note, at ticks from 0.

    Attributes:
        per_beat: ticks to a beat, at least 1.
        time: (n,) onsets.
        end: (n,) ends.
        pitch: (n,) pitches, 0..127.
        velocity: (n,) velocities, 1..127.
        tempos: (m,) arrays `time`, in order, and `mspq`, microseconds to a beat; of several at a time, the last counts.
        controls: for each track whose pedal counts, (k,) arrays `time`, in order, `number` and `value`.
    """

    per_beat: int
    time: NDArray[Any]
    end: NDArray[Any]
    pitch: NDArray[Any]
    velocity: NDArray[Any]
    tempos: dict[str, NDArray[Any]]
    controls: list[dict[str, NDArray[Any]]]

    def seconds(self, time: Any) -> Any:  # noqa: ANN401 - a number or an array of them
        """Return when ticks of any shape sound, in seconds by the tempo map."""
        since = np.concatenate(([0], np.maximum(self.tempos["time"], 0)))
        pace = np.concatenate(([60e6 / TEMPO], self.tempos["mspq"])) / (1e6 * self.per_beat)
        before = np.concatenate(([0], np.cumsum(np.diff(since) * pace[:-1])))
        at = np.searchsorted(since, time, side="right") - 1
        return before[at] + (time - since[at]) * pace[at]

    def aligned(self) -> float:
        """Return the share of notes that begin within 1/48 beat of a quarter or a third of a beat."""
        near = np.zeros(len(self.time), bool)
        for parts in (4, 3):
            past = self.time * parts % self.per_beat
            near |= 48 * np.minimum(past, self.per_beat - past) <= parts * self.per_beat
        return float(near.mean())

    def silent(self) -> NDArray[Any]:
        """Return the (n,) ends with those at which the pedal is down moved to where the strings fall silent.

        That is where the pedal is lifted or the key is struck again; if neither comes, where the music ends. A piano
        has one pedal: it is down while it is down in any track, for many files write it beside one hand alone.
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

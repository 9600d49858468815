"""Read standard MIDI files (SMF) as pieces, and write pieces as MIDI files.

Reading keeps only the notes that a `Reading` selects. On a `Beats` grid, time is counted in the beats of the file and
the tempo is ignored; on a `Seconds` grid, the tempo map gives the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.midi.events import UNENDED, read_events
from replication.midi.piece import PAPER_GRID, Beats, Lost, Piece, from_columns, sorted_notes
from replication.midi.ticks import TEMPO, Ticks
from replication.util.errors import UserError
from replication.util.files import atomic

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.midi.piece import TimeGrid

# Steps of a piece. At the paper's resolution this is twelve days: only a damaged file is longer.
MAX_STEPS = 2**24

# Notes of a file. The longest performances have tens of thousands.
MAX_NOTES = 1_000_000

# Mean notes per onset: twice what two hands can play. None of the 11,072 readable files of ADL has more than 7.
MAX_NOTES_PER_ONSET = 20

TICKS_PER_BEAT = 480  # resolution of written files

# onset and end in seconds, pitch 0..127 (MIDI), velocity 1..127.
TIMED_NOTE = np.dtype([("onset", "<f8"), ("end", "<f8"), ("pitch", "u1"), ("velocity", "u1")])


class Reason(StrEnum):
    """The reasons for which a file is rejected."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NO_PIANO = "no piano"
    TOO_SHORT = "too short"
    TOO_LONG = "too long"
    TOO_DENSE = "too dense"
    TOO_MANY = "too many notes"
    TOO_LARGE = "too large"
    OFF_GRID = "off the grid"
    TOO_SLOW = "too slow"
    CRASHED = "crashed the reader"
    INDEPENDENT = "independent patterns"


class MidiError(Exception):
    """Raised when a file cannot be read as a piece.

    Attributes:
        reason: Reason for the rejection.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Merged:
    """Merge all tracks."""


@dataclass(frozen=True)
class First:
    """Use the first track that has notes. If each hand has its own track, one hand is lost."""


@dataclass(frozen=True)
class Named:
    """Merge the tracks with these names, for files that contain more than the piano part.

    Attributes:
        names: Track names.
    """

    names: tuple[str, ...]


Tracks = Merged | First | Named


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options for reading MIDI files as pieces.

    A track is the part of a track of the file that uses one channel and one program.

    Attributes:
        grid: Time grid of the pieces.
        tracks: Selection of tracks, among those that `drums` and `programs` admit.
        pedal: Whether the sustain pedal lengthens notes.
        drums: Whether to include the drum channel, whatever its programs.
        programs: First and last program (0..127) to include; 0 to 7 are pianos.
        shortest: Minimum number of notes; files with fewer are rejected as `TOO_SHORT`.
        aligned: Minimum share of notes that begin within 1/48 beat of a quarter or a third of a beat; files below it
            are rejected as `OFF_GRID`. By chance the share is about 1/4. Requires a `Beats` grid.

    Raises:
        UserError: If `aligned` is set and the grid has no beats.
    """

    grid: TimeGrid = PAPER_GRID
    tracks: Tracks = Merged()
    pedal: bool = False
    drums: bool = False
    programs: tuple[int, int] = (0, 127)
    shortest: int = 1
    aligned: float = 0.0

    def __post_init__(self) -> None:
        if self.aligned and not isinstance(self.grid, Beats):
            raise UserError(f"{self.grid} has no beats to align to; read on a grid of Beats or set aligned=0")


DEFAULT_READING = Reading()


def read_midi(
    content: bytes,
    *,
    id: str,  # noqa: A002 - the name of the piece's field
    group: str,
    reading: Reading = DEFAULT_READING,
) -> Piece:
    """Read a MIDI file as a piece; onsets and ends are rounded to the nearest step of the grid.

    Args:
        content: Content of a MIDI file; any bytes are safe.
        id: Id of the piece.
        group: Group of the piece.
        reading: Selection of notes, and the time grid.

    Raises:
        MidiError: If the file is rejected. The reasons `TOO_SLOW` and `CRASHED` are left to the caller to detect.
    """
    ticks, lost = _read(content, reading)
    return _piece(ticks, lost, id=id, group=group, reading=reading)


def _read(content: bytes, reading: Reading) -> tuple[Ticks, Lost]:
    """Return the notes of a file that a reading selects, and how many of them lack a note-off.

    Raises:
        MidiError: If the file cannot be read or has no such notes.
    """
    # Input may be arbitrary bytes, and the parser reports damage as several types of exception.
    try:
        return _parse(content, reading)
    except MidiError:
        raise
    except MemoryError as error:
        raise MidiError(Reason.TOO_LARGE) from error
    except Exception as error:
        raise MidiError(Reason.UNREADABLE) from error


def _piece(ticks: Ticks, lost: Lost, *, id: str, group: str, reading: Reading) -> Piece:  # noqa: A002 - as above
    """Return notes as a piece on the grid of a reading, or raise the reason why the reading rejects them."""
    if reading.aligned and ticks.alignment() < reading.aligned:
        raise MidiError(Reason.OFF_GRID)
    time, end = ticks.time, ticks.ends_with_pedal() if reading.pedal else ticks.end
    last = end.max()
    seconds = float(ticks.seconds(last))
    if isinstance(reading.grid, Beats):
        steps = reading.grid.steps_per_beat / ticks.per_beat
    else:
        time, end, last, steps = ticks.seconds(time), ticks.seconds(end), seconds, reading.grid.steps_per_second
    # MAX_STEPS - 1, because a note lasts at least one step, even at the very end.
    if last * steps > MAX_STEPS - 1:
        raise MidiError(Reason.TOO_LONG)
    notes = on_grid(time, end, ticks.pitch, ticks.velocity, steps=steps)
    if len(notes) < reading.shortest:
        raise MidiError(Reason.TOO_SHORT)
    if len(notes) > MAX_NOTES_PER_ONSET * (1 + np.count_nonzero(notes["onset"][1:] != notes["onset"][:-1])):
        raise MidiError(Reason.TOO_DENSE)
    return Piece(notes=notes, id=id, group=group, grid=reading.grid, seconds=seconds, lost=lost)


def _parse(content: bytes, reading: Reading) -> tuple[Ticks, Lost]:
    from symusic import Score

    events = read_events(content)
    if events.independent:
        raise MidiError(Reason.INDEPENDENT)
    score: Any = Score.from_midi(events.probed())
    if score.tpq == 0:  # no unit of time
        raise MidiError(Reason.UNREADABLE)
    tracks, lost = _selected(score, reading), Lost()
    notes = _columns(tracks)
    if len(notes["time"]) > MAX_NOTES:
        raise MidiError(Reason.TOO_MANY)
    if notes["duration"].max() >= UNENDED:
        events, counts = events.ended(set(notes["pitch"][notes["duration"] >= UNENDED].tolist()))
        score = Score.from_midi(events.probed())
        tracks = _selected(score, reading)
        notes, lost = _columns(tracks), Lost(*map(sum, zip(*(counts[number] for number in tracks), strict=True)))
    time = notes["time"]
    if time.min() < 0:  # the delta times add up to more than the parser's integers can hold
        raise MidiError(Reason.TOO_LONG)
    time = time.astype(np.int64)
    ticks = Ticks(
        per_beat=score.tpq,
        time=time,
        end=time + notes["duration"],
        pitch=notes["pitch"],
        velocity=notes["velocity"],
        tempos=score.tempos.numpy(),
        # Not the parser's `pedals`: on all channels but one, the first of them may wrongly begin at 0.
        controls=[track.controls.numpy() for track in tracks.values() if reading.pedal],
    )
    return ticks, lost


def _selected(score: Any, reading: Reading) -> dict[int, Any]:  # noqa: ANN401 - the parser has no types
    """Return the tracks that a reading selects, by their number among those that have notes."""
    tracks = dict(enumerate(track for track in score.tracks if len(track.notes)))
    if not tracks:
        raise MidiError(Reason.EMPTY)
    low, high = reading.programs
    tracks = {
        number: track
        for number, track in tracks.items()
        if (reading.drums if track.is_drum else low <= track.program <= high)
    }
    match reading.tracks:
        case First():
            tracks = dict(islice(tracks.items(), 1))
        case Named(names):
            tracks = {number: track for number, track in tracks.items() if track.name in names}
    if not tracks:
        raise MidiError(Reason.NO_PIANO)
    return tracks


def _columns(tracks: dict[int, Any]) -> dict[str, NDArray[Any]]:
    """Return the notes of tracks as arrays `time`, `duration`, `pitch` and `velocity`; adds them to the first track."""
    first, *others = [track.notes for track in tracks.values()]
    for notes in others:  # faster than joining arrays
        first.extend(notes)
    columns: dict[str, NDArray[Any]] = first.numpy()
    return columns


def on_grid(
    time: NDArray[Any], end: NDArray[Any], pitch: NDArray[Any], velocity: NDArray[Any], *, steps: float
) -> NDArray[Any]:
    """Quantise notes to a time grid: round onsets and ends to the nearest step, with durations of at least 1.

    Args:
        time: (n,) onsets in any unit of time.
        end: (n,) ends in the same unit.
        pitch: (n,) pitches, 0..127.
        velocity: (n,) velocities, 1..127.
        steps: Grid steps per unit of time.

    Returns:
        Notes in the order of `sorted_notes`.

    >>> onsets, ends = np.array([0.0, 0.52]), np.array([0.49, 1.0])
    >>> on_grid(onsets, ends, np.array([60, 64]), np.array([80, 80]), steps=8).tolist()
    [(0, 4, 60, 80), (4, 4, 64, 80)]
    """
    onset = np.rint(time * steps)
    return from_columns(onset, np.maximum(np.rint(end * steps) - onset, 1), pitch, velocity)


def read_seconds(content: bytes) -> NDArray[Any]:
    """Read the notes of a MIDI file in seconds by its tempo map, not rounded to a time grid.

    The notes are those of `read_midi` with `DEFAULT_READING`; of several with equal onset and pitch, the longest.

    Args:
        content: Content of a MIDI file; any bytes are safe.

    Returns:
        (n,) structured array of `TIMED_NOTE`, sorted by onset and then by pitch. A note lasts at least one tick.

    Raises:
        MidiError: If `read_midi` rejects the file.
    """
    ticks, lost = _read(content, DEFAULT_READING)
    _piece(ticks, lost, id="", group="", reading=DEFAULT_READING)  # or its reason for rejecting the file
    end = np.maximum(ticks.end, ticks.time + 1)
    order = np.lexsort((-ticks.velocity.astype(int), -end, ticks.pitch, ticks.time))
    place = np.stack((ticks.time, ticks.pitch))[:, order]
    order = order[np.append(True, (np.diff(place) != 0).any(axis=0))]
    notes = np.empty(len(order), TIMED_NOTE)
    notes["onset"], notes["end"] = ticks.seconds(ticks.time[order]), ticks.seconds(end[order])
    notes["pitch"], notes["velocity"] = ticks.pitch[order], ticks.velocity[order]
    return notes


def write_midi(piece: Piece, path: Path) -> None:
    """Write a piece as a MIDI file with one piano track at 120 beats per minute.

    A note ends at the latest when its key is struck again, because MIDI cannot say which of two notes of equal pitch
    ends. A piece without notes gives a valid file without notes. Equal pieces give equal bytes.

    Args:
        piece: Piece to write.
        path: `.mid` file to create or replace atomically.
    """
    from pretty_midi import Instrument, Note, PrettyMIDI

    resolution = TICKS_PER_BEAT
    if isinstance(piece.grid, Beats):
        # A step is a whole number of ticks, so that reading restores the grid exactly.
        resolution = piece.grid.steps_per_beat * max(1, TICKS_PER_BEAT // piece.grid.steps_per_beat)
        seconds = 60 / TEMPO / piece.grid.steps_per_beat
    else:
        seconds = 1 / piece.grid.steps_per_second
    piano = Instrument(program=0)
    piano.notes = [
        Note(velocity=velocity, pitch=pitch, start=onset * seconds, end=(onset + duration) * seconds)
        for onset, duration, pitch, velocity in _playable(piece.notes).tolist()
    ]
    score = PrettyMIDI(resolution=resolution, initial_tempo=TEMPO)
    score.instruments.append(piano)
    with atomic(path) as draft:
        score.write(str(draft))


def _playable(notes: NDArray[Any]) -> NDArray[Any]:
    """Return the (n,) notes, each shortened to end when its key is struck again."""
    notes = sorted_notes(notes)
    order = np.lexsort((notes["onset"], notes["pitch"]))
    by_key = notes[order]
    again = by_key["pitch"][1:] == by_key["pitch"][:-1]
    gap = np.where(again, np.diff(by_key["onset"]), by_key["duration"][:-1])
    notes["duration"][order[:-1]] = np.minimum(by_key["duration"][:-1], gap)
    return notes

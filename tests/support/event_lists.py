"""Lists of MIDI events, the bytes that they are written as, and the notes that they mean, found without the bytes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from replication.midi.piece import Beats, Lost, sorted_notes
from replication.midi.smf import MidiError, Reading, Reason, read_midi
from tests.support.midi_bytes import END, chunk, midi, quantity, riff

if TYPE_CHECKING:
    from numpy.typing import NDArray

TICKS_PER_BEAT = 480
IN_TICKS = Reading(grid=Beats(steps_per_beat=TICKS_PER_BEAT), drums=True)


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event of any kind.

    Attributes:
        wait: Delta time.
        status: First byte of the event.
        body: Rest of the event, with the length of a packet or a meta event.
        runs: Whether the status is left out where running status allows it.
    """

    wait: int
    status: int
    body: bytes
    runs: bool

    @property
    def of_channel(self) -> bool:
        """Whether it is an event of a channel."""
        return self.status < 0xF0


@dataclass(frozen=True, kw_only=True)
class Track:
    """Events of a track, and whether the track has an "end of track", after a wait."""

    events: tuple[Event, ...]
    last_wait: int
    closed: bool

    def written(self) -> bytes:
        """Return the chunk of the track."""
        parts, running = [], 0
        for event in self.events:
            omitted = event.runs and event.status == running
            parts.append(quantity(event.wait) + (b"" if omitted else bytes((event.status,))) + event.body)
            if event.of_channel:
                running = event.status
        return chunk(b"".join(parts) + (quantity(self.last_wait) + END[1:] if self.closed else b""))

    def notes(self) -> tuple[list[tuple[int, int, int, int]], Lost]:
        """Return (onset, duration, pitch, velocity) of all notes, in ticks, and the numbers of missing note-offs."""
        now, by_key = (
            0,
            defaultdict[tuple[int, int], list[tuple[int, int]]](list),
        )  # (time, velocity) of strikes and ends
        for event in self.events:
            now += event.wait
            if event.status >> 4 in {8, 9}:
                velocity = event.body[1] if event.status >> 4 == 9 else 0
                by_key[event.status & 15, event.body[0]].append((now, velocity))
        now += self.last_wait if self.closed else 0
        rows, restruck, unended = [], 0, 0
        for (_, pitch), moves in by_key.items():
            pairs = _in_order(moves)
            if any(end is None for _, end, _ in pairs):
                pairs = _one_at_a_time(moves)
                restruck += sum(struck for *_, struck in pairs)
                unended += sum(end is None for _, end, _ in pairs)
            rows += [
                (moves[strike][0], (now if end is None else moves[end][0]) - moves[strike][0], pitch, moves[strike][1])
                for strike, end, _ in pairs
            ]
        return rows, Lost(restruck, unended)


Pair = tuple[
    int, "int | None", bool
]  # numbers of the strike and of the event that ends it, and whether that is a strike


def _in_order(moves: list[tuple[int, int]]) -> list[Pair]:
    """Pair the first strike with the first end after it, and so on."""
    strikes = [number for number, (_, velocity) in enumerate(moves) if velocity]
    ends = [number for number, (_, velocity) in enumerate(moves) if not velocity]
    pairs: list[Pair] = []
    for strike in strikes:
        end = next((number for number in ends if number > strike), None)
        if end is not None:
            ends.remove(end)
        pairs.append((strike, end, False))
    return pairs


def _one_at_a_time(moves: list[tuple[int, int]]) -> list[Pair]:
    """End each strike with the next event of its key."""
    pairs: list[Pair] = []
    for number, (_, velocity) in enumerate(moves):
        if velocity:
            following = number + 1 if number + 1 < len(moves) else None
            pairs.append((number, following, following is not None and moves[following][1] > 0))
    return pairs


Case = tuple[list[Track], bool]


def check_notes(case: Case) -> None:
    """Assert that a file of these tracks, which may be wrapped in RIFF, is read as the notes that they mean."""
    tracks, wrapped = case
    content = midi(*(track.written() for track in tracks), ticks_per_beat=TICKS_PER_BEAT)
    found = [track.notes() for track in tracks]
    rows = [(onset, max(1, duration), *rest) for part, _ in found for onset, duration, *rest in part]
    expected: NDArray[Any] = sorted_notes(rows)  # type: ignore[arg-type]  # rows of four numbers
    try:
        piece = read_midi(riff(content) if wrapped else content, id="", group="", reading=IN_TICKS)
    except MidiError as error:
        assert error.reason is Reason.EMPTY  # noqa: PT017 - the other outcome is checked below
        assert not rows
    else:
        assert piece.notes.tolist() == expected.tolist()
        assert piece.lost == Lost(*map(sum, zip(*(lost for _, lost in found), strict=True)))


_WAIT = st.sampled_from((0, 0, 1, 2, 60, 127, 128, 240, 14_400, 15_000, 16_337, 16_383, 40_000))
_KEY, _CHANNEL, _BYTE = st.integers(59, 62), st.sampled_from((0, 0, 0, 1, 9)), st.integers(0, 127)
_TEXT = st.binary(max_size=5) | st.sampled_from((b"\xff\x2f\x00", b"\x00\xf0\x01", bytes(range(0xE8, 0x100)) + b"\0"))


def _events() -> st.SearchStrategy[Event]:
    def of(status: st.SearchStrategy[int], body: st.SearchStrategy[bytes]) -> st.SearchStrategy[Event]:
        return st.builds(
            lambda *parts: Event(**dict(zip(("wait", "status", "body", "runs"), parts, strict=True))),
            _WAIT,
            status,
            body,
            st.booleans(),
        )

    def channel(kind: int) -> st.SearchStrategy[int]:
        return _CHANNEL.map(lambda number: kind << 4 | number)

    def data(*parts: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
        return st.tuples(*parts).map(bytes)

    sized = _TEXT.map(lambda body: quantity(len(body)) + body)
    note_on, note_off = of(channel(9), data(_KEY, _BYTE)), of(channel(8), data(_KEY, _BYTE))
    return st.one_of(
        *(note_on, note_on, note_off, note_off),
        of(channel(0xC), data(_BYTE)),
        of(channel(0xD), data(_BYTE)),
        of(channel(0xB), data(_BYTE, _BYTE)),
        of(
            st.just(0xFF),
            st.tuples(st.sampled_from((1, 5, 6, 0x7F)), sized).map(lambda parts: bytes(parts[:1]) + parts[1]),
        ),
        of(st.just(0xFF), st.integers(1, 2**24 - 1).map(lambda tempo: b"\x51\3" + tempo.to_bytes(3, "big"))),
        of(st.just(0xFF), st.integers(0, 7).map(lambda flats: bytes((0x59, 2, -flats & 0xFF, 0)))),
        of(st.sampled_from((0xF0, 0xF7)), sized),
    )


_TRACK = st.builds(
    lambda events, wait, closed: Track(events=tuple(events), last_wait=wait, closed=closed),
    *(st.lists(_events(), max_size=30), _WAIT, st.sampled_from((True,) * 9 + (False,))),
)
EVENT_LISTS = st.tuples(st.lists(_TRACK, min_size=1, max_size=2), st.sampled_from((False,) * 9 + (True,)))

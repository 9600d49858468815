"""Hostile MIDI files: a strategy that draws them, a list of the nastiest, and the law of reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from replication.midi.piece import Seconds
from replication.midi.smf import DEFAULT_READING, MAX_STEPS, First, MidiError, Named, Reading, Reason, read_midi
from tests.security.strategies import damaged
from tests.support.midi_bytes import END, after, chunk, meta, midi, music, note, quantity, track

if TYPE_CHECKING:
    from collections.abc import Callable

# Together they reach every branch of reading.
READINGS = {
    "plain": DEFAULT_READING,
    "seconds": Reading(grid=Seconds(steps_per_second=50.0), pedal=True, drums=True),
    "first track": Reading(tracks=First(), programs=(0, 7), shortest=3, aligned=0.5),
    "named tracks": Reading(tracks=Named(("", "Piano")), pedal=True),
}
PIECE = "piece"


def outcome(content: bytes, reading: Reading) -> str:
    """Read a file and return "piece" or the reason why it gives none.

    Asserts that a piece is sound: notes are sorted and distinct, and every field is in its range. Any exception other
    than MidiError escapes.
    """
    try:
        notes = read_midi(content, id="a", group="a", reading=reading).notes
    except MidiError as error:
        return error.reason.value
    place = notes["onset"].astype(int) * 128 + notes["pitch"]
    assert (np.diff(place) > 0).all()
    assert len(notes) >= reading.shortest
    assert notes["onset"][0] >= 0
    assert notes["duration"].min() >= 1
    assert (notes["onset"] + notes["duration"]).max() <= MAX_STEPS
    assert notes["pitch"].max() <= 127
    assert 1 <= notes["velocity"].min() <= notes["velocity"].max() <= 127
    return PIECE


_BYTE = st.integers(0, 255)
_WAIT = st.integers(0, 5) | st.sampled_from((480, 2**14, 2**21, 2**28 - 1))  # ticks
_LENGTH = st.sampled_from((0, 1, 3, 127, 2**14, 2**28 - 1))
_PITCH = st.integers(58, 62)  # few, so that notes overlap and many note-offs find a note
_TEXT = st.binary(max_size=9) | st.sampled_from((b"Piano", b"", "né".encode() * 2**10))
# Whole events that a parser must understand.
_SOUND = st.one_of(
    st.builds(
        lambda pitch, wait, length, channel: note(pitch, wait=wait, length=length, channel=channel),
        *(_PITCH, st.integers(0, 99), st.integers(0, 500), st.integers(0, 15)),
    ),
    st.builds(
        after,
        *(_WAIT, st.sampled_from((0x80, 0x90, 0x90, 0xA0, 0xB3, 0xE0)), _PITCH, st.integers(0, 127)),
    ),
    st.builds(lambda value: after(5, 0xB0, 64, value), st.integers(0, 127)),  # the sustain pedal
    st.builds(lambda channel, program: after(0, 0xC0 | channel, program), st.integers(0, 15), st.integers(0, 127)),
    st.builds(meta, st.sampled_from((1, 3, 0x54, 0x58, 0x59)), _TEXT),
    st.builds(lambda tempo: meta(0x51, tempo), st.sampled_from((b"\0\0\0", b"\0\0\1", b"\xff\xff\xff"))),
)
_ODD = st.one_of(
    # Channel and system messages with data bytes over 127, or too few of them.
    st.builds(lambda status, data: after(0, status, *data), st.integers(0x80, 0xFF), st.lists(_BYTE, max_size=3)),
    st.builds(meta, st.integers(0, 127), st.binary(max_size=5)),
    # Meta and system events that state another length than they have.
    st.builds(lambda kind, length: meta(kind, b"", length=length), st.integers(0, 127), _LENGTH),
    st.builds(lambda length, body: b"\0\xf0" + quantity(length) + body, _LENGTH, st.binary(max_size=9)),
    # Running status after no status, a quantity without an end, and bytes of no event.
    st.builds(lambda data: bytes((5, *data)), st.lists(st.integers(0, 127), min_size=1, max_size=2)),
    st.builds(lambda byte, count: byte * count, st.sampled_from((b"\xff", b"\x80")), st.integers(1, 12)),
    st.binary(max_size=4),
)


@st.composite
def _tracks(draw: st.DrawFn) -> bytes:
    """Draw a track chunk, which may have no end, another magic or a wrong length."""
    events = draw(st.lists(_SOUND, min_size=1, max_size=40))
    for _ in range(draw(st.sampled_from((0, 0, 0, 0, 1, 3)))):
        events.insert(draw(st.integers(0, len(events))), draw(_ODD))
    body = b"".join(events) + draw(st.sampled_from((END,) * 9 + (b"",)))
    content = bytearray(chunk(body, magic=draw(st.sampled_from((b"MTrk",) * 27 + (b"MThd", b"mtrk", b"XMID")))))
    if draw(st.integers(0, 19)) == 0:
        length = draw(st.sampled_from((0, len(body) - 1, len(body) + 1, 2 * len(body), 2**31, 2**32 - 1)))
        content[4:8] = max(length, 0).to_bytes(4, "big")
    return bytes(content)


@st.composite
def midi_files(draw: st.DrawFn) -> bytes:
    """Draw a file of odd events or a valid file; its header may be wrong, and it or its last track damaged."""
    if draw(st.booleans()):
        content = midi(*draw(st.lists(_tracks(), max_size=4)), ticks_per_beat=draw(st.sampled_from((480, 480, 24, 1))))
    else:
        content = music(draw(st.integers(0, 5)))
    match draw(st.integers(0, 9)):
        case 0:  # format, number of tracks or unit of time; from 2**15 on a unit is frames, not beats
            field = draw(st.sampled_from((8, 10, 12)))
            value = draw(st.sampled_from((0, 1, 2, 3, 255, 32767, 0xE728, 65535)))
            content = content[:field] + value.to_bytes(2, "big") + content[field + 2 :]
        case 1:
            data = b"data" + len(content).to_bytes(4, "little") + content
            content = b"RIFF" + (len(data) + 4).to_bytes(4, "little") + b"RMID" + data
        case 2 | 3:
            content = draw(damaged(content))
        case 4 | 5 if b"MTrk" in content:  # whose length is right
            content = midi(chunk(draw(damaged(content[content.rindex(b"MTrk") + 8 :]))))
        case 6:  # two files spliced
            other = music(draw(st.integers(0, 5)))
            content = content[: draw(st.integers(0, len(content)))] + other[draw(st.integers(0, len(other))) :]
    return content


NOTE = note(60, length=480)
_CHORD = b"".join(after(0, 0x90, pitch, 64) for pitch in range(128)) + b"".join(
    after(pitch == 0, 0x80, pitch, 0) for pitch in range(128)
)
_WAITS = [after(2**28 - 1, 0xC0, 0)] * 4  # years, at one tick a beat
# The nastiest files by name, each with what reading it plainly must give.
NASTIEST: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", Reason.UNREADABLE),
    "a web page": (lambda: b"<html>404 Not Found</html>", Reason.UNREADABLE),
    "a ZIP archive": (lambda: b"PK\3\4" + bytes(200), Reason.UNREADABLE),
    "a header alone": (lambda: b"MThd\0\0\0\6", Reason.UNREADABLE),
    "a header after a byte order mark": (lambda: b"\xef\xbb\xbf" + midi(track(NOTE)), Reason.UNREADABLE),
    "RIFF instead of MThd": (lambda: b"RIFF" + midi(track(NOTE))[4:], Reason.UNREADABLE),
    "truncated": (lambda: midi(track(NOTE))[:-7], Reason.UNREADABLE),
    "data byte over 127": (lambda: midi(track(after(0, 0x90, 60, 200))), Reason.UNREADABLE),
    "no unit of time": (lambda: midi(track(NOTE), ticks_per_beat=0), Reason.UNREADABLE),
    "frames instead of beats": (lambda: midi(track(NOTE), ticks_per_beat=0xE728), Reason.UNREADABLE),
    "no tracks": (midi, Reason.EMPTY),
    "no notes": (lambda: midi(track()), Reason.EMPTY),
    "a note of velocity 0": (lambda: midi(track(after(0, 0x90, 60, 0), after(480, 0x80, 60, 0))), Reason.EMPTY),
    "years of silence": (lambda: midi(track(*_WAITS, NOTE), ticks_per_beat=1), Reason.TOO_LONG),
    "an event longer than the file": (lambda: midi(track(NOTE, b"\0\xf0" + quantity(2**28 - 1))), Reason.UNREADABLE),
    "3,000 tracks where 65,535 are stated": (lambda: midi(*[track(NOTE)] * 3000, count=65535), PIECE),
    "all keys at once": (lambda: midi(track(*[_CHORD] * 30)), Reason.TOO_DENSE),
    "a text of half a megabyte": (lambda: midi(track(meta(1, "né".encode() * 2**17), NOTE)), PIECE),
    "five million notes": (
        lambda: midi(track(NOTE, after(1, 0x90, 60, 64), b"\1\x3c\0\1\x3c\x40" * 5_000_000)),
        Reason.TOO_MANY,
    ),
    "two million pedal events": (
        lambda: midi(track(NOTE, after(1, 0xB0, 64, 0), b"\1\x40\x7f\1\x40\0" * 1_000_000, NOTE)),
        PIECE,
    ),
    "a million notes": (lambda: midi(track(after(1, 0x90, 60, 0), b"\1\x3c\x40\1\x3c\0" * 999_000)), PIECE),
}


def name_for_thousands() -> bytes:
    """Return a file of half a megabyte that takes a gigabyte in the parser: a long track name for 2,048 programs."""
    notes = (after(0, 0xC0 | k % 16, k // 16) + note(channel=k % 16) for k in range(2048))
    return midi(track(meta(3, b"a" * 2**19), *notes))

"""Check the events of a standard MIDI file, and rewrite those that the parser would read as other music.

The parser, symusic, takes escape and continuation packets apart as if they were delta times, loses its place at running
status after a system exclusive message, and leaves out notes that nothing ends. mido, the well-kept parser in Python,
refuses packets with bytes over 127 and files with fewer tracks than promised, and reads running status after a system
exclusive message as another one, so the events are checked here. The notes are still the parser's: a rewritten file has
the same events at the same times, in a form that it reads right.

Source: Standard MIDI Files 1.0 (RP-001), MIDI Manufacturers Association, 1996.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from replication.midi.piece import Lost

if TYPE_CHECKING:
    from collections.abc import Container

_HEADER = 14  # bytes of the header chunk

# Shortest duration in ticks, in a probed file, of a note that nothing ends. Few other notes are as long.
UNENDED = 2**21 - 1

# Statuses and their halves. A data byte is smaller than any status.
_STATUS, _SYSEX, _ESCAPE, _META = 0x80, 0xF0, 0xF7, 0xFF
_NOTE_OFF, _NOTE_ON, _PROGRAM, _PRESSURE = 0x8, 0x9, 0xC, 0xD

_END = b"\xff\x2f\0"  # the meta event that ends a track, without its delta time
_SILENCE = b"\xff\1\0"  # an empty text

_WAIT = rb"[\x80-\xff]{0,3}[\x00-\x7f]"  # a delta time


# A meta event of less than 16 bytes that does not end the track.
_SHORT_META = rb"\xff(?!\x2f).(?:%s)" % b"|".join(b"\\x%02x.{%d}" % (size, size) for size in range(16))


def _running(status: bytes, data: bytes) -> bytes:
    """Return the pattern of a channel event, those that continue it in running status, and meta events between them."""
    return rb"%s%s(?:%s(?:%s|%s))*+" % (status, data, _WAIT, data, _SHORT_META)


# Channel events with two bytes of data and with one.
_TWO_BYTES = _running(rb"[\x80-\xbf\xe0-\xef]", rb"[\x00-\x7f]{2}")
_ONE_BYTE = _running(rb"[\xc0-\xdf]", rb"[\x00-\x7f]")

# The patterns are possessive: matching a million events must not remember a million ways back.
_DELTA = re.compile(_WAIT)
_FRESH = re.compile(_WAIT + rb"[\x80-\xef]")  # a channel event with a status of its own
_TWO, _ONE, _METAS = (
    re.compile(rb"(?:%s(?:%s))++" % (_WAIT, events), re.DOTALL) for events in (_TWO_BYTES, _ONE_BYTE, _SHORT_META)
)
_PLAIN = re.compile(  # a whole track without system events
    rb"(?:%s(?:%s|%s|%s))*+%s\xff\x2f\0" % (_WAIT, _TWO_BYTES, _ONE_BYTE, _SHORT_META, _WAIT), re.DOTALL
)

# Length of the system events of MIDI that are no packets. They do not belong in files; where they follow no packet, it
# is the parser that skips them. The four other statuses are undefined.
_LENGTHS = {0xF1: 2, 0xF2: 3, 0xF3: 2, 0xF6: 1, 0xF8: 1, 0xFA: 1, 0xFB: 1, 0xFC: 1, 0xFE: 1}

_TEMPO = b"\xff\x51\3"

# Note-offs of all keys of a channel, without delay, by the status of its note-ons.
_ALL_OFF = {0x90 | channel: b"".join(bytes((0, 0x80 | channel, key, 0)) for key in range(128)) for channel in range(16)}


@dataclass(frozen=True, kw_only=True)
class Events:
    """The events of a MIDI file: only those that the parser reads right, apart from notes that nothing ends.

    Attributes:
        header: Content of the file up to the first track chunk; 14 bytes.
        tracks: Delta times and events of each track chunk, up to the delta time of the event "end of track".
    """

    header: bytes
    tracks: list[bytes]

    @property
    def independent(self) -> bool:
        """Whether the tracks are patterns of their own (format 2), which have no common time line."""
        return self.header[8:10] == b"\0\2" and len(self.tracks) > 1

    def probed(self) -> bytes:
        """Return a MIDI file whose tracks end all their keys once more, `UNENDED` ticks after their end.

        In it a note that nothing else ends has a duration of at least `UNENDED` ticks.
        """
        parts = [self.header[:10], len(self.tracks).to_bytes(2, "big"), self.header[12:]]
        for track in self.tracks:
            used = map(_ALL_OFF.__getitem__, filter(track.__contains__, _ALL_OFF))
            end = b"".join((_SILENCE, b"\xff\xff\x7f", _SILENCE, *used, b"\0", _END))
            parts += b"MTrk", (len(track) + len(end)).to_bytes(4, "big"), track, end
        return b"".join(parts)

    def ended(self, keys: Container[int]) -> tuple[Events, list[Lost]]:
        """Return the events with the missing note-offs of some keys, 0..127, and how many notes they end.

        Note-offs end the notes of a key in the order of their beginnings. Where a note finds no note-off, the note-offs
        do not tell which note of its key they belong to. Then every note of the key in this track ends with the
        next note-off or where the key is struck again, and the last one at the end of the track.

        Returns:
            Events in which every note of these keys ends, and the counts of each channel and program of each track that
            has notes, in the order of tracks, channels and programs.
        """
        tracks, lost = [], list[Lost]()
        for track in self.tracks:
            ended, counts = _ended(_rewritten(track + _END, whole=True), keys)
            tracks.append(ended)
            lost += counts
        return Events(header=self.header, tracks=tracks), lost


def read_events(content: bytes) -> Events:
    """Read the events of a MIDI file.

    Files may be wrapped in RIFF, promise more tracks than they have, lack the end of a track or have chunks of other
    kinds. System events are left out. Running status after them continues the channel event before: RP-001 forbids it,
    but the data bytes have no other meaning.

    Raises:
        ValueError: If the file has no header of its kind, ends within a chunk, or has bytes of no event.
    """
    content = _unwrapped(content)
    if len(content) < _HEADER or content[:8] != b"MThd\0\0\0\6":
        raise ValueError("no MIDI header of 6 bytes")
    # Walking through all events would take longer than parsing them. It is enough to look at bytes that may begin a
    # packet, which follow a delta time, because other events keep the parser in its place.
    places = list[int]()
    if _SYSEX in content or _ESCAPE in content:
        codes = np.frombuffer(content, np.uint8)
        found = np.flatnonzero((codes == _SYSEX) | (codes == _ESCAPE))
        places = found[codes[found - 1] < _STATUS].tolist()
    tracks, promised, at = list[bytes](), int.from_bytes(content[10:12], "big"), _HEADER
    while at < len(content) and len(tracks) < promised:
        first, last = at + 8, at + 8 + int.from_bytes(content[at + 4 : at + 8], "big")
        if content[at : at + 4] == b"MTrk":
            end = last - len(_END)
            if (
                last > len(content)
                or content.find(b"\xff\x2f", first, last) != end
                or content[last - 1] != 0
                or (places and any(first <= place < last and _misleads(content, place) for place in places))
            ):
                tracks.append(_rewritten(content[first:last], whole=last <= len(content)))
            else:
                tracks.append(content[first:end])
        elif last > len(content):
            raise ValueError("a chunk is longer than the file")
        at = last
    return Events(header=content[:_HEADER], tracks=tracks)


def _unwrapped(content: bytes) -> bytes:
    """Return the MIDI file in a RIFF file of the form RMID, or the content itself if it is none."""
    if content[:4] != b"RIFF" or content[8:12] != b"RMID":
        return content
    at = 12
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"data":
            return content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    raise ValueError("a RIFF file without a data chunk")


def _misleads(content: bytes, at: int) -> bool:
    """Return whether a packet at this place, if there is one, could make the parser lose its place."""
    # Most bytes of this kind are data of tempos. (A delta time of 16,337 ticks before a key 3 in running status looks
    # like the beginning of a tempo.)
    if _TEMPO in content[at - 5 : at]:
        return False
    size = _DELTA.match(content, at + 1)
    if content[at] == _ESCAPE or size is None:
        return True
    return _FRESH.match(content, size.end() + _quantity(size[0])) is None


def _quantity(digits: bytes) -> int:
    value = 0
    for digit in digits:
        value = value << 7 | digit & 127
    return value


def _packet_end(track: bytes, at: int) -> int:
    """Return the place after a packet whose length, a variable-length quantity, is at `at`."""
    size = _DELTA.match(track, at)
    if size is None or (end := size.end() + _quantity(size[0])) > len(track):
        raise ValueError("an event is longer than its track")
    return end


def _rewritten(track: bytes, *, whole: bool) -> bytes:
    """Return the events of a track up to the delta time of its end, with empty texts instead of system events.

    A text leaves the delta times as they are and the running status in force.

    Args:
        track: Delta times and events.
        whole: Whether the track may end without the event "end of track"; otherwise the file was cut off.
    """
    if whole and _PLAIN.fullmatch(track):
        return track[: -len(_END)]
    parts, kept, at, width = list[bytes](), 0, 0, 0
    while whole or at < len(track):
        if run := _TWO.match(track, at) or _ONE.match(track, at) or _METAS.match(track, at):
            at, width = run.end(), {_TWO: 2, _ONE: 1}.get(run.re, width)
            continue
        if at == len(track):
            return b"".join((*parts, track[kept:], b"\0"))
        delta = _DELTA.match(track, at)
        if delta is None or delta.end() == len(track):
            break
        at = delta.end()
        status = track[at]
        if status == _META:
            if track[at + 1 : at + 2] == _END[1:2]:
                return b"".join((*parts, track[kept:at]))
            at = _packet_end(track, at + 2)
        elif status in {_SYSEX, _ESCAPE} or status in _LENGTHS:
            parts += track[kept:at], _SILENCE
            kept = at = at + _LENGTHS[status] if status in _LENGTHS else _packet_end(track, at + 1)
        elif width and len(data := track[at : at + width]) == width and data.isascii():
            at += width
        else:
            raise ValueError("bytes of no event")
    raise ValueError("a track without an end")


class _Note(NamedTuple):
    """A note-on, or with velocity 0 a note-off: its place in the track, the place after it, and what it says."""

    at: int
    end: int
    channel: int
    program: int
    key: int
    velocity: int


def _notes(track: bytes, keys: Container[int]) -> tuple[list[_Note], list[tuple[int, int]]]:
    """Return the note events of some keys, and all pairs of channel and program that have note-ons, sorted.

    Args:
        track: Events as `_rewritten` returns them.
        keys: Keys, 0..127.
    """
    found, pairs = list[_Note](), set[tuple[int, int]]()
    at, kind, channel, width, programs, silent = 0, 0, 0, 0, [0] * 16, [True] * 16
    while True:
        while track[at] >= _STATUS:  # all digits of a delta time but the last
            at += 1
        first = at = at + 1
        if at == len(track):
            return found, sorted(pairs)
        byte = track[at]
        if byte == _META:
            at = _packet_end(track, at + 2)
            continue
        if byte >= _STATUS:
            kind, channel = byte >> 4, byte & 15
            width = 1 if kind in {_PROGRAM, _PRESSURE} else 2
            at += 1
            byte = track[at]
        if kind <= _NOTE_ON:
            velocity = track[at + 1] if kind == _NOTE_ON else 0
            if velocity and silent[channel]:
                silent[channel] = False
                pairs.add((channel, programs[channel]))
            if byte in keys:
                found.append(_Note(first, at + 2, channel, programs[channel], byte, velocity))
        elif kind == _PROGRAM:
            programs[channel], silent[channel] = byte, True
        at += width


def _ended(track: bytes, keys: Container[int]) -> tuple[bytes, list[Lost]]:
    """Return a track with the missing note-offs, and their counts by channel and program; see `Events.ended`."""
    notes, pairs = _notes(track, keys)
    sounding: Counter[tuple[int, int]] = Counter()
    for note in notes:
        key = note.channel, note.key
        if note.velocity:
            sounding[key] += 1
        elif sounding[key]:
            sounding[key] -= 1
    restruck, lasting = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    last: dict[tuple[int, int], _Note] = {}
    parts, kept = list[bytes](), 0
    for note in notes:
        key = note.channel, note.key
        if not sounding[key]:
            continue
        before = last.pop(key, None)
        if note.velocity:
            last[key] = note
            if before:
                restruck[before.channel, before.program] += 1
                parts += track[kept : note.at], bytes((0x80 | note.channel, note.key, 0))
                parts.append(bytes((0, 0x90 | note.channel, note.key, note.velocity)))
                kept = note.end
    for note in last.values():
        lasting[note.channel, note.program] += 1
    parts.append(track[kept:])
    parts += (bytes((0x80 | channel, key, 0, 0)) for channel, key in last)
    return b"".join(parts), [Lost(restruck[pair], lasting[pair]) for pair in pairs]

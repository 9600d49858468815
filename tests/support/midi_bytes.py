"""Build MIDI files byte by byte, so that tests can write files that no library would."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from replication.midi.piece import Piece
from replication.midi.smf import write_midi
from replication.midi.synthetic import compose

END = b"\0\xff\x2f\0"


def chunk(body: bytes, *, magic: bytes = b"MTrk") -> bytes:
    return magic + len(body).to_bytes(4, "big") + body


def track(*events: bytes) -> bytes:
    return chunk(b"".join(events) + END)


def midi(*tracks: bytes, count: int | None = None, ticks_per_beat: int = 480, form: int = 1) -> bytes:
    """Return a file whose header states `count` tracks instead of the true number, if given."""
    fields = (form, len(tracks) if count is None else count, ticks_per_beat)
    return chunk(b"".join(field.to_bytes(2, "big") for field in fields), magic=b"MThd") + b"".join(tracks)


def quantity(value: int) -> bytes:
    """Return a variable-length quantity."""
    digits = [value & 127]
    while value := value >> 7:
        digits.insert(0, value & 127 | 128)
    return bytes(digits)


def after(ticks: int, *event: int) -> bytes:
    """Return an event with its delta time."""
    return quantity(ticks) + bytes(event)


def note(pitch: int = 60, *, wait: int = 0, length: int = 240, channel: int = 0) -> bytes:
    return after(wait, 0x90 | channel, pitch, 64) + after(length, 0x80 | channel, pitch, 0)


def meta(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return a meta event that states `length` instead of the true length, if given."""
    return bytes((0, 0xFF, kind)) + quantity(len(body) if length is None else length) + body


def packet(status: int, body: bytes, *, wait: int = 0) -> bytes:
    """Return a system exclusive message (status F0) or an escape or continuation packet (F7)."""
    return after(wait, status) + quantity(len(body)) + body


def riff(content: bytes) -> bytes:
    """Return a file wrapped in RIFF, after a chunk of odd length."""

    def part(name: bytes, body: bytes) -> bytes:
        return name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)

    return part(b"RIFF", b"RMID" + part(b"DISP", b"odd") + part(b"data", content))


@cache
def music(number: int) -> bytes:
    """Return a valid file: an even number gives two tracks with a pedal, an odd one a file of our own writer."""
    piece = Piece(notes=compose(np.random.default_rng(number))[: 40 * (number + 1)], id="", group="")
    if number % 2:
        with tempfile.TemporaryDirectory() as folder:
            write_midi(piece, Path(folder, "music.mid"))
            return Path(folder, "music.mid").read_bytes()
    hands: tuple[list[tuple[int, ...]], ...] = ([], [])
    for onset, duration, pitch, velocity in piece.notes.tolist():
        strike, release = (60 * onset, 0x90, pitch, velocity), (60 * (onset + duration), 0x80, pitch, 0)
        hands[pitch < 60].extend((strike, release))
    tracks = []
    for hand in hands:
        waits = np.diff(sorted(event[0] for event in hand), prepend=0).tolist()
        events = [after(wait, *event) for wait, (_, *event) in zip(waits, sorted(hand), strict=True)]
        tracks.append(track(meta(3, b"Piano"), after(0, 0xB0, 64, 127), *events, after(0, 0xB0, 64, 0)))
    return midi(track(meta(0x51, (400_000).to_bytes(3, "big"))), *tracks)

"""Kinds of files that no musician would write, each a function of a random generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.support.midi_bytes import after, chunk, meta, midi, music, note, quantity, track

if TYPE_CHECKING:
    from collections.abc import Callable

Rng = np.random.Generator


def _some(rng: Rng) -> bytearray:
    return bytearray(music(int(rng.integers(6))))


def _bytes(rng: Rng, most: int) -> bytes:
    return rng.bytes(int(rng.integers(1, most)))


def _notes(rng: Rng, most: int = 60) -> list[bytes]:
    return [note(int(rng.integers(21, 109)), wait=int(rng.integers(480))) for _ in range(rng.integers(1, most))]


def _header(rng: Rng, field: int, value: int) -> bytes:
    """Return music with two bytes of its header replaced."""
    content = _some(rng)
    content[field : field + 2] = value.to_bytes(2, "big")
    return bytes(content)


def _damaged(edit: Callable[[Rng, bytearray], None]) -> Callable[[Rng], bytes]:
    """Return the kind of files that are edited as a whole, or inside a track whose length is true again."""

    def kind(rng: Rng) -> bytes:
        content = _some(rng)
        if rng.integers(2):
            edit(rng, content)
            return bytes(content)
        body = content[content.rindex(b"MTrk") + 8 :]
        edit(rng, body)
        return midi(chunk(bytes(body)))

    return kind


def _truncate(rng: Rng, content: bytearray) -> None:
    del content[rng.integers(len(content)) :]


def _flip_bits(rng: Rng, content: bytearray) -> None:
    for at in rng.integers(len(content), size=2 ** int(rng.integers(7))):
        content[at] ^= 1 << int(rng.integers(8))


def _insert(rng: Rng, content: bytearray) -> None:
    at = int(rng.integers(len(content)))
    content[at:at] = _bytes(rng, 9)


def _delete(rng: Rng, content: bytearray) -> None:
    at = int(rng.integers(len(content)))
    del content[at : at + int(rng.integers(1, 9))]


def _splice(rng: Rng, content: bytearray) -> None:
    other = _some(rng)
    content[rng.integers(len(content)) :] = other[rng.integers(len(other)) :]


def _wrong_magic(rng: Rng) -> bytes:
    content = _some(rng)
    at = content.find(b"MTrk") if rng.integers(2) else 0
    content[at : at + 4] = (b"MThd", b"mtrk", b"XMID", b"MTrk", rng.bytes(4))[rng.integers(5)]
    return bytes(content)


def _wrong_length(rng: Rng) -> bytes:
    content = _some(rng)
    at = content.find(b"MTrk") + 4 if rng.integers(2) else 4
    true = int.from_bytes(content[at : at + 4], "big")
    lengths = (0, true - 1, true + 1, true // 2, 2 * true, 2**31, 2**32 - 1, int(rng.integers(2**32)))
    content[at : at + 4] = lengths[rng.integers(len(lengths))].to_bytes(4, "big")
    return bytes(content)


def _giant_deltas(rng: Rng) -> bytes:
    waits = [after(2**28 - 1, 0xC0, 0)] * int(rng.integers(1, 20))
    tempo = b"".join(waits[: rng.integers(len(waits))]) + meta(0x51, _bytes(rng, 4)[:3].ljust(3))
    ticks = int(rng.choice((1, 24, 480, 32767)))
    return midi(track(tempo), track(note(50), *waits, note(60), *_notes(rng)), ticks_per_beat=ticks)


def _endless_quantities(rng: Rng) -> bytes:
    return midi(
        track(note(), b"\xff" * int(rng.integers(1, 12)), note()), track(note(), b"\x80" * int(rng.integers(9)))
    )


def _overlapping_notes(rng: Rng) -> bytes:
    pitches = rng.integers(58, 62, size=rng.integers(2, 400)).tolist()
    ons = [after(int(rng.integers(3)), 0x90, pitch, int(rng.integers(1, 128))) for pitch in pitches]
    offs = [after(int(rng.integers(3)), 0x80, pitch, 0) for pitch in pitches]
    rng.shuffle(offs)
    return midi(track(*ons[::2], *offs, *ons[1::2]))


def _unmatched(rng: Rng) -> bytes:
    status = rng.choice((0x80, 0x90), size=rng.integers(1, 100), p=(0.8, 0.2)).tolist()
    return midi(track(*(after(5, kind | int(rng.integers(16)), int(rng.integers(128)), 64) for kind in status)))


def _thousands_of_tracks(rng: Rng) -> bytes:
    return midi(*[track(note()) if rng.integers(2) else track()] * int(rng.integers(3000)), count=65535)


def _running_status(rng: Rng) -> bytes:
    before = (b"", meta(1, b"x"), b"\0\xf0\x02\x01\xf7", b"\0\xf8", b"\0\xf6", b"\0\xc0\x05", b"\0\xf3\x01")
    without_status = [bytes((5, *rng.integers(128, size=2).tolist()))] * int(rng.integers(1, 30))
    return midi(track(before[rng.integers(len(before))], *without_status))


def _endless(rng: Rng) -> bytes:
    length = int(rng.choice((1, 127, 128, 2**14, 2**21, 2**28 - 1)))
    event = b"\0\xf0" + quantity(length) if rng.integers(2) else meta(int(rng.integers(128)), b"", length=length)
    return midi(track(note(), event, _bytes(rng, 100), note()))


def _long_text(rng: Rng) -> bytes:
    text = rng.bytes(int(rng.integers(2**18))) if rng.integers(2) else "né".encode() * int(rng.integers(2**17))
    return midi(track(meta(int(rng.integers(1, 10)), text), *_notes(rng)))


def _every_key(rng: Rng) -> bytes:
    chord = b"".join(after(0, 0x90, pitch, 64) for pitch in range(128))
    chord += b"".join(after(pitch == 0, 0x80, pitch, 0) for pitch in range(128))
    return midi(track(*[chord] * int(rng.integers(1, 30))), ticks_per_beat=int(rng.choice((1, 8, 480))))


def _data_over_127(rng: Rng) -> bytes:
    event = (int(rng.choice((0x90, 0x80, 0xB0, 0xC0, 0xE0))), *rng.integers(128, 256, size=2).tolist())
    return midi(track(*_notes(rng), after(10, *event), *_notes(rng)))


def _tempos(rng: Rng) -> bytes:
    tempi = (b"\0\0\0", b"\0\0\1", b"\xff\xff\xff", b"", b"\1", b"\0\1\2\3\4", rng.bytes(3))
    changes = [meta(0x51, tempi[k]) + after(int(rng.integers(960)), 0xC0, 0) for k in rng.integers(len(tempi), size=50)]
    return midi(track(*changes[: rng.integers(50)]), track(*_notes(rng)))


def _signatures(rng: Rng) -> bytes:
    metas = [meta(kind, rng.bytes(int(rng.integers(6)))) for kind in (0x58, 0x59, 0x54, 0x20, 0x21, 0x7F, 0x00)]
    return midi(track(*metas[: rng.integers(1, 8)], *_notes(rng)))


def _programs(rng: Rng) -> bytes:
    channels = rng.integers(16, size=rng.integers(1, 300)).tolist()
    return midi(track(*(after(0, 0xC0 | k, int(rng.integers(128))) + note(40 + k, channel=k) for k in channels)))


def _no_end(rng: Rng) -> bytes:
    return midi(chunk(b"".join(_notes(rng)) + rng.bytes(int(rng.integers(4)))), track(*_notes(rng)))


def _pedals(rng: Rng) -> bytes:
    moves = [after(int(rng.integers(200)), 0xB0 | int(rng.integers(3)), 64, int(rng.integers(128))) for _ in range(99)]
    events = [*moves, *(note(int(rng.integers(60, 66)), channel=int(rng.integers(3))) for _ in range(99))]
    rng.shuffle(events)
    return midi(track(*events), track(*moves, note()))


def _random_events(rng: Rng) -> bytes:
    """Return whole events of two data bytes, of few pitches, so that many ends find their note."""
    status = rng.choice((0x80, 0x90, 0xA0, 0xB0, 0xE0), size=rng.integers(1, 300)).tolist()
    return midi(track(*(after(int(rng.integers(99)), kind, *rng.integers(60, 65, size=2).tolist()) for kind in status)))


def _other_files(rng: Rng) -> bytes:
    heads = (b"<!DOCTYPE html>", b'{"error": 404}', b"PK\3\4", b"\x1f\x8b\x08", b"MThd", b"RIFF", b"\xef\xbb\xbfMThd")
    return heads[rng.integers(len(heads))] + rng.bytes(int(rng.integers(200)))


def _riff(rng: Rng) -> bytes:
    content = bytes(_some(rng))
    data = b"data" + len(content).to_bytes(4, "little") + content
    return b"RIFF" + (len(data) + 4).to_bytes(4, "little") + b"RMID" + data


KINDS: dict[str, Callable[[Rng], bytes]] = {
    "truncated": _damaged(_truncate),
    "bits flipped": _damaged(_flip_bits),
    "bytes inserted": _damaged(_insert),
    "bytes deleted": _damaged(_delete),
    "two files spliced": _damaged(_splice),
    "wrong magic": _wrong_magic,
    "wrong chunk length": _wrong_length,
    "wrong format": lambda rng: _header(rng, 8, int(rng.choice((2, 3, 255, 65535)))),
    "wrong track count": lambda rng: _header(rng, 10, int(rng.choice((0, 1, 3, 4, 255, 65535)))),
    "no unit of time": lambda rng: _header(rng, 12, 0),
    "frames, not beats": lambda rng: _header(rng, 12, int(rng.integers(2**15, 2**16))),
    "absurd ticks": lambda rng: _header(rng, 12, int(rng.choice((1, 2, 7, 32767)))),
    "giant deltas": _giant_deltas,
    "endless quantities": _endless_quantities,
    "overlapping notes": _overlapping_notes,
    "unmatched notes": _unmatched,
    "no tracks": lambda rng: midi(count=int(rng.integers(3))),
    "65,535 tracks": _thousands_of_tracks,
    "running status": _running_status,
    "endless event": _endless,
    "long text": _long_text,
    "all keys at once": _every_key,
    "data over 127": _data_over_127,
    "tempos": _tempos,
    "signatures": _signatures,
    "programs": _programs,
    "no end of track": _no_end,
    "pedals": _pedals,
    "empty": lambda rng: bytes(int(rng.integers(4))),
    "random": lambda rng: _bytes(rng, 500),
    "random after header": lambda rng: midi(chunk(_bytes(rng, 500))),
    "random events": _random_events,
    "another format": _other_files,
    "RIFF": _riff,
}

HUGE: dict[str, Callable[[Rng], bytes]] = {
    "ten million events": lambda _: midi(track(note(), after(1, 0x90, 60, 64), b"\1\x3c\0\1\x3c\x40" * 5_000_000)),
    "ten million controls": lambda _: midi(
        track(note(), after(1, 0xB0, 64, 0), b"\1\x40\x7f\1\x40\0" * 5_000_000, note())
    ),
    "a million notes": lambda rng: midi(
        track(after(1, 0x90, 60, 64), b"\1\x3c\0\1\x3c\x40" * int(rng.integers(990_000, 1_010_000)))
    ),
    "a name for thousands": lambda _: midi(
        track(meta(3, b"a" * 2**19), *(after(0, 0xC0 | k % 16, k // 16) + note(channel=k % 16) for k in range(2048)))
    ),
}

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings

from replication.midi.smf import DEFAULT_READING, First, MidiError, Named, Reading, Reason, Tracks, read_midi
from tests.support.event_lists import EVENT_LISTS, check_notes
from tests.support.midi_bytes import END, after, chunk, meta, midi, note, packet, quantity, riff, track

if TYPE_CHECKING:
    from replication.midi.piece import Lost, Piece
    from tests.support.event_lists import Case

Row = tuple[int, int, int]


def piece_of(content: bytes, reading: Reading = DEFAULT_READING) -> Piece:
    return read_midi(content, id="a", group="a", reading=reading)


def notes_of(content: bytes) -> list[Row]:
    return [(onset, duration, pitch) for onset, duration, pitch, _ in piece_of(content).notes.tolist()]


def reason_of(content: bytes) -> Reason:
    with pytest.raises(MidiError) as caught:
        piece_of(content)
    return caught.value.reason


@settings(max_examples=100, deadline=None)
@given(case=EVENT_LISTS)
def test_events_are_read_as_the_notes_that_they_mean(case: Case) -> None:
    check_notes(case)


def on(wait: int, pitch: int) -> bytes:
    return after(wait, 0x90, pitch, 64)


def off(wait: int, pitch: int) -> bytes:
    return after(wait, 0x80, pitch, 0)


FIRST, SECOND = note(60, length=480), note(62, length=480)
TWO = [(0, 8, 60), (8, 8, 62)]


@pytest.mark.parametrize(
    "packets",
    [
        packet(0xF7, b"\xf3\x01\xf7"),
        packet(0xF7, b"\xf8"),
        packet(0xF7, b""),
        packet(0xF7, bytes(200)),
        packet(0xF0, b"\x43\x12\x00") + packet(0xF7, b"\x43\x12\x00") + packet(0xF7, b"\x43\xf7"),
        packet(0xF0, b"\x7e\x7f\x09\x01\xf7"),
        packet(0xF0, b"\xf7") + after(0, 0xF8) + after(0, 0xF3, 5) + after(0, 0xF2, 5, 5),
    ],
)
@pytest.mark.parametrize("following", [SECOND, SECOND[:1] + SECOND[2:]], ids=["status", "running status"])
def test_packets_are_events_of_their_length(packets: bytes, following: bytes) -> None:
    before = on(0, 60) + on(480, 60)[:-1] + b"\0"  # ends with a note-on of velocity 0, whose status may run on
    assert notes_of(midi(track(before + packets + following))) == TWO
    assert notes_of(midi(track(FIRST + packets + meta(1, b"text") + SECOND))) == TWO
    assert notes_of(midi(track(packets + FIRST + SECOND))) == TWO


def test_packets_take_their_own_time() -> None:
    waiting = packet(0xF7, b"\xf3\x01\xf7", wait=240) + packet(0xF0, b"\xf7", wait=240)
    assert notes_of(midi(track(FIRST, waiting, SECOND))) == [(0, 8, 60), (16, 8, 62)]


def test_melodies_with_a_packet_before_each_note_are_read_as_without() -> None:
    for seed in range(40):
        pitches = np.random.default_rng(seed).integers(48, 72, 50).tolist()
        packets = [track(*(packet(0xF7, b"\xf3\x01\xf7") * count + note(key) for key in pitches)) for count in (0, 1)]
        without, with_ = (piece_of(midi(part)).notes.tolist() for part in packets)
        assert len(without) == 50
        assert with_ == without


@pytest.mark.parametrize(
    ("events", "notes", "lost"),
    [
        # A key that is struck again ends its own note.
        (
            (on(0, 60), on(480, 60), off(240, 60), on(240, 60), off(240, 60), on(240, 60), off(240, 60)),
            [(0, 8, 60), (8, 4, 60), (16, 4, 60), (24, 4, 60)],
            (1, 0),
        ),
        # A note that nothing ends lasts to the end of its track, whatever ends that.
        ((FIRST, on(0, 64), after(960, 0xFF, 6, 1, 65)), [(0, 8, 60), (8, 16, 64)], (0, 1)),
        ((on(0, 60), on(480, 60), after(480, 0xB0, 1, 1)), [(0, 8, 60), (8, 8, 60)], (1, 1)),
        # As many note-offs as note-ons: first in, first out.
        ((on(0, 60), on(240, 60), off(240, 60), off(480, 60)), [(0, 8, 60), (4, 12, 60)], (0, 0)),
        ((off(0, 60), on(0, 60), off(480, 60), off(480, 60)), [(0, 8, 60)], (0, 0)),
        # Other keys and channels have note-offs of their own.
        ((on(0, 60), after(0, 0x91, 60, 64), off(480, 60)), [(0, 8, 60)], (0, 1)),
        ((on(0, 60), on(240, 60), on(0, 72), on(240, 72), off(0, 72), off(240, 72), off(0, 60)),
         [(0, 4, 60), (4, 8, 60), (4, 4, 72), (8, 4, 72)], (1, 0)),
    ],
)  # fmt: skip
def test_notes_whose_ends_are_missing_are_all_read_and_counted(
    events: tuple[bytes, ...], notes: list[Row], lost: Lost
) -> None:
    for content in (midi(track(*events)), midi(chunk(b"".join(events)))):
        assert notes_of(content) == notes
        assert piece_of(content).lost == lost


def test_the_end_of_a_track_is_that_of_its_own() -> None:
    short, long = chunk(on(0, 60) + quantity(480) + END[1:]), track(on(0, 72), off(960, 72))
    assert notes_of(midi(short, long)) == [(0, 8, 60), (0, 16, 72)]


@pytest.mark.parametrize(
    ("tracks", "programs", "lost"),
    [(First(), (0, 127), (0, 1)), (Named(("b",)), (0, 127), (1, 0)), (Named(("b",)), (5, 5), (0, 0))],
)
def test_missing_ends_are_counted_in_the_tracks_that_are_read(
    tracks: Tracks, programs: tuple[int, int], lost: Lost
) -> None:
    drums = track(after(0, 0x99, 36, 127))
    other = after(0, 0xC1, 5) + note(70, channel=1)
    content = midi(
        drums, track(meta(3, b"a"), on(0, 60)), track(meta(3, b"b"), on(0, 62), on(9, 62), off(9, 62), other)
    )
    assert piece_of(content, Reading(tracks=tracks, programs=programs)).lost == lost


def test_a_file_of_independent_patterns_is_rejected() -> None:
    one, other = track(note(60, length=480)), track(note(72, length=480))
    assert reason_of(midi(one, other, form=2)) is Reason.INDEPENDENT
    assert notes_of(midi(one, form=2)) == [(0, 8, 60)]


@pytest.mark.parametrize("last", [b"", b"\0"], ids=["even", "odd"])
def test_a_file_in_riff_is_unwrapped(last: bytes) -> None:
    content = midi(track(FIRST, SECOND), chunk(last, magic=b"XMID"))
    assert notes_of(riff(content)) == TWO
    assert reason_of(riff(content)[:-20]) is Reason.UNREADABLE
    assert reason_of(riff(content).replace(b"data", b"dada")) is Reason.UNREADABLE


def test_a_tempo_counts_on_every_track() -> None:
    slow = after(0, 0xFF, 0x51, 3, *(1_000_000).to_bytes(3, "big"))
    assert piece_of(midi(track(meta(3, b"x")), track(slow, FIRST, SECOND))).seconds == 2.0


def test_tracks_are_read_if_fewer_are_there_than_promised_or_chunks_of_other_kinds_between() -> None:
    one, other, strange = track(FIRST), track(note(72, length=480)), chunk(b"MTrk", magic=b"XFIH")
    assert notes_of(midi(one, strange, other, count=8)) == [(0, 8, 60), (0, 8, 72)]
    assert notes_of(midi(one, other, count=1)) == [(0, 8, 60)]


@pytest.mark.parametrize(
    "events",
    [
        packet(0xF7, b"")[:-1] + quantity(100),
        packet(0xF7, b"") + after(0, 0xF4),
        after(0, 0xF7, 0) + b"\0\x3c\x40",
        packet(0xF7, b"") + after(0, 0x90, 60, 0x90),
        packet(0xF7, b"") + b"\x80\x80\x80\x80\x80\0" + FIRST,
    ],
    ids=["too long", "undefined", "no status to run on", "data byte over 127", "delta time of six bytes"],
)
def test_bytes_of_no_event_make_a_file_unreadable(events: bytes) -> None:
    assert reason_of(midi(track(events, SECOND))) is Reason.UNREADABLE


@pytest.mark.parametrize("cut", range(2, 12))
def test_a_truncated_track_is_unreadable(cut: int) -> None:
    assert reason_of(midi(track(FIRST, SECOND))[:-cut]) is Reason.UNREADABLE


def test_what_follows_the_end_of_a_track_is_ignored() -> None:
    assert notes_of(midi(chunk(FIRST + SECOND + END + b"\xf7\xff\x2f\0"))) == TWO
    longer = bytearray(midi(track(FIRST, SECOND)))
    longer[14 + 7] += 9
    assert notes_of(bytes(longer)) == TWO

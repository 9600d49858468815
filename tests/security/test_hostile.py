"""Whatever the bytes, reading them gives a sound piece or a reason."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from resource import RLIMIT_AS, setrlimit
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.midi.piece import PAPER_GRID, Seconds
from replication.midi.smf import DEFAULT_READING, Reading, Reason
from tests.security.damage import KINDS
from tests.security.hostile import RARE, READINGS, hostile, outcome
from tests.support.midi_bytes import after, midi, note, track

if TYPE_CHECKING:
    from replication.midi.piece import TimeGrid

GRIDS: list[TimeGrid] = [PAPER_GRID, Seconds(steps_per_second=16)]

NOTE = note(60, length=480)

BY_HAND = {
    "nothing": (b"", Reason.UNREADABLE),
    "text": (b"<html>404 Not Found</html>", Reason.UNREADABLE),
    "header alone": (b"MThd\0\0\0\6", Reason.UNREADABLE),
    "wrong header": (b"RIFF" + midi(track(NOTE))[4:], Reason.UNREADABLE),
    "truncated": (midi(track(NOTE))[:-7], Reason.UNREADABLE),
    "data byte over 127": (midi(track(after(0, 0x90, 60, 200))), Reason.UNREADABLE),
    "no unit of time": (midi(track(NOTE), ticks_per_beat=0), Reason.UNREADABLE),
    "frames instead of beats": (midi(track(NOTE), ticks_per_beat=0xE728), Reason.UNREADABLE),
    "no tracks": (midi(), Reason.EMPTY),
    "no notes": (midi(track()), Reason.EMPTY),
    "a note of velocity 0": (midi(track(after(0, 0x90, 60, 0), after(480, 0x80, 60, 0))), Reason.EMPTY),
    "years of silence": (
        midi(track(*[after(2**28 - 1, 0xC0, 0)] * 4, NOTE), ticks_per_beat=1),
        Reason.TOO_LONG,
    ),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", BY_HAND)
def test_a_hostile_file_has_a_reason(name: str, grid: TimeGrid) -> None:
    content, reason = BY_HAND[name]
    assert outcome(content, Reading(grid=grid)) == reason


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("turn", range(15))
def test_a_file_of_every_kind_gives_a_sound_piece_or_a_reason(reading: Reading, turn: int) -> None:
    for number in range(turn * len(KINDS), (turn + 1) * len(KINDS)):
        kind, content = hostile(number)
        came = outcome(content, reading)
        assert came == "piece" or Reason(came), (number, kind)


def test_ten_million_events_are_too_many() -> None:
    kind, content = hostile(RARE - 1)
    assert kind == "ten million events"
    assert outcome(content, DEFAULT_READING) == Reason.TOO_MANY


def test_a_file_that_needs_more_memory_than_there_is_is_too_large() -> None:
    kind, content = hostile(4 * RARE - 1)
    assert kind == "a name for thousands"  # half a megabyte in the file, a gigabyte in the parser
    limit = (RLIMIT_AS, (2**29, 2**29))
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=setrlimit, initargs=limit) as pool:
        assert pool.submit(outcome, content, DEFAULT_READING).result() == Reason.TOO_LARGE


@given(content=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_random_bytes_have_a_reason(content: bytes) -> None:
    assert outcome(content, DEFAULT_READING) in {Reason.UNREADABLE, Reason.EMPTY}

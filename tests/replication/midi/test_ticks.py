from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.midi.piece import PAPER_GRID, Piece, Seconds
from replication.midi.smf import MidiError, Reading, Reason, read_midi
from replication.midi.ticks import Ticks
from replication.util.errors import UserError
from tests.support.midi_bytes import after, midi, note, track

if TYPE_CHECKING:
    from replication.midi.piece import TimeGrid

GRIDS: list[TimeGrid] = [PAPER_GRID, Seconds(steps_per_second=16)]


def read(content: bytes, **choices: Any) -> Piece:  # noqa: ANN401 - fields of Reading
    return read_midi(content, id="a", group="a", reading=Reading(**choices))


def tempo(microseconds: int, ticks: int = 0) -> bytes:
    return after(ticks, 0xFF, 0x51, 3, *microseconds.to_bytes(3, "big"))


def test_the_tempo_matters_only_on_a_grid_in_seconds() -> None:
    content = midi(track(tempo(1_000_000), note(60, wait=480, length=480)))
    assert read(content).notes.tolist() == [(8, 8, 60, 64)]
    assert read(content, grid=Seconds(steps_per_second=16)).notes.tolist() == [(16, 16, 60, 64)]


@pytest.mark.parametrize("grid", GRIDS)
def test_a_piece_has_the_same_seconds_on_every_grid(grid: TimeGrid) -> None:
    # One beat at the default of 120 per minute, two beats of one second each, and beats that take no time.
    content = midi(track(tempo(1_000_000, 480), tempo(0, 960)), track(note(60, length=2000)))
    assert read(content, grid=grid).seconds == 2.5
    assert read(midi(track(note(60, wait=480, length=480))), grid=grid).seconds == 1.0


def test_of_several_tempos_at_one_time_the_last_counts() -> None:
    tempos = track(tempo(1), tempo(700_000, 480), tempo(600_000), tempo(500_000), tempo(1_000_000, 480))
    content = midi(tempos, track(tempo(250_000), note(60, length=1440)))
    assert read(content).seconds == 0.25 + 0.5 + 1.0


@settings(max_examples=50, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 2**24 - 1)), max_size=20),
    per_beat=st.integers(1, 2000),
)
def test_seconds_equal_those_of_the_parser(changes: list[tuple[int, int]], per_beat: int) -> None:
    from symusic import Score

    tempos = track(*(tempo(microseconds, wait) for wait, microseconds in changes))
    content = midi(tempos, track(note(60, wait=5000, length=9000)), ticks_per_beat=per_beat)
    score: Any = Score.from_midi(content)
    (theirs,) = score.to("second").tracks[0].notes
    piece = read(content, grid=Seconds(steps_per_second=1))
    assert piece.seconds == pytest.approx(theirs.end, rel=1e-5)
    assert piece.notes["onset"][0] == pytest.approx(theirs.start, rel=1e-5, abs=0.5001)


@pytest.mark.parametrize(
    ("onsets", "share"),
    [
        ((0, 120, 160, 240, 320, 360, 480), 1.0),  # the quarters and thirds of a beat
        ((10, 110, 130, 150, 170), 1.0),  # 1/48 beat away from them
        ((11, 109, 131, 149, 171), 0.0),
        ((0, 60, 120, 180), 0.5),
    ],
)
def test_onsets_align_to_quarters_and_thirds_of_a_beat(onsets: tuple[int, ...], share: float) -> None:
    content = midi(*(track(note(60, wait=onset)) for onset in onsets))
    assert read(content, aligned=share).seconds > 0
    if share < 1:
        with pytest.raises(MidiError) as caught:
            read(content, aligned=share + 0.01)
        assert caught.value.reason is Reason.OFF_GRID


def test_alignment_needs_beats() -> None:
    with pytest.raises(UserError, match="has no beats to align to"):
        Reading(grid=Seconds(steps_per_second=16), aligned=0.9)


def pedal(ticks: int, value: int, channel: int = 0) -> bytes:
    return after(ticks, 0xB0 | channel, 64, value)


def test_the_pedal_holds_notes_until_it_is_lifted_or_their_key_is_struck() -> None:
    hands = (
        track(pedal(0, 64), note(60, length=60), note(64, length=60), pedal(360, 63), note(67, length=60)),
        track(note(48, wait=120, length=60), note(48, wait=60, length=60)),
    )
    held = [(0, 8, 60, 64), (1, 7, 64, 64), (2, 2, 48, 64), (4, 4, 48, 64), (8, 1, 67, 64)]
    assert read(midi(*hands), pedal=True).notes.tolist() == held
    assert {row[1] for row in read(midi(*hands)).notes.tolist()} == {1}


def test_a_pedal_that_is_never_lifted_holds_to_the_end() -> None:
    content = midi(track(note(60, length=60), pedal(0, 127), note(62, length=60), note(64, length=180)))
    assert read(content, pedal=True).notes.tolist() == [(0, 5, 60, 64), (1, 4, 62, 64), (2, 3, 64, 64)]


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 10), st.integers(60, 62)),
        min_size=1,
        max_size=12,
        unique_by=lambda row: (row[0], row[2]),
    ),
    hands=st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 127)), max_size=8).map(sorted), max_size=2),
)
def test_the_pedal_equals_a_simulation_event_by_event(
    rows: list[tuple[int, int, int]], hands: list[list[tuple[int, int]]]
) -> None:
    moves = sorted(
        ((at, hand, value) for hand in range(len(hands)) for at, value in hands[hand]), key=lambda move: move[0]
    )
    close = max([onset + length for onset, length, _ in rows] + [at for at, _, _ in moves])

    def silent(onset: int, length: int, pitch: int) -> int:
        end, down = onset + length, set[int]()
        held, lift = False, close
        for at, hand, value in moves:
            (down.add if value >= 64 else down.discard)(hand)
            if at <= end:
                held = bool(down)
            elif not down:
                lift = min(lift, at)
        strikes = [again for again, _, key in rows if key == pitch and again > onset]
        return max(end, min([lift, *strikes])) if held else end

    time, length, pitch = np.array(rows).T
    ticks = Ticks(
        per_beat=480,
        time=time,
        end=time + length,
        pitch=pitch,
        velocity=np.full(len(rows), 64),
        tempos={"time": np.empty(0, int), "mspq": np.empty(0, int)},
        controls=[
            {"time": column[:, 0], "number": np.full(len(column), 64), "value": column[:, 1]}
            for column in (np.array(hand, int).reshape(-1, 2) for hand in hands)
        ],
    )
    assert ticks.ends_with_pedal().tolist() == [silent(*row) for row in rows]

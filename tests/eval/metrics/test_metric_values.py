"""Values of metrics derived by hand, for muspy's own versions and the corrected ones."""

from __future__ import annotations

import itertools
import math
import os
import re
from statistics import fmean

import numpy as np
import pytest

from eval.metrics.muspy_values import RAW, score_raw
from eval.metrics.pitch import scale_rates
from eval.metrics.table import METRICS, score
from eval.metrics.windows import Windows
from replication.corpora.archives import midi_files
from replication.corpora.catalogue import Published
from replication.corpora.corpus import CORPORA
from replication.corpora.download import find
from replication.midi.piece import PAPER_GRID, Beats, Piece, Seconds, TimeGrid, sorted_notes
from replication.midi.smf import read_midi
from tests.support.pieces import C_MAJOR, PERFORMED, SINGLE, Notes, melody, piece, random_windows, value

NAN = math.nan
CHROMATIC = melody(range(60, 72))
TRIADS: Notes = [
    (4 * bar, 4, pitch)
    for bar, chord in enumerate([(60, 64, 67), (55, 59, 62), (57, 60, 64), (53, 57, 60)])
    for pitch in chord
]
DYADS = melody([60] * 4) + melody([67] * 4)
LOG_6, LOG_12 = math.log2(6), math.log2(12)
TRIADS_PE, TRIADS_PCE = 0.5 + 1 / 3 * LOG_6 + 5 / 12 * LOG_12, 0.5 + 1 / 2 * LOG_6 + 3 / 12 * LOG_12

# Derived by hand; the order of the values is that of COLUMNS. On any grid, so without those that need beats.
COLUMNS = [
    "n_pitches_used", "n_pitch_classes_used", "pitch_range", "pitch_entropy", "pitch_class_entropy",
    "scale_consistency", "pitch_in_c_major_rate", "polyphony", "polyphony_rate_ge2",
]  # fmt: skip
BY_HAND: dict[str, tuple[Notes, list[float]]] = {
    "C major scale": (C_MAJOR, [8, 7, 12, 3, 2.75, 1, 1, 1, 0]),
    "chromatic scale": (CHROMATIC, [12, 12, 11, LOG_12, LOG_12, 7 / 12, 7 / 12, 1, 0]),
    "single note": (SINGLE, [1, 1, 0, 0, 0, 1, 1, 1, 0]),
    "no notes": ([], [0, 0, 0, NAN, NAN, NAN, NAN, NAN, NAN]),
    "triads": (TRIADS, [8, 7, 14, TRIADS_PE, TRIADS_PCE, 1, 1, 3, 1]),
    "dyads": (DYADS, [2, 2, 7, 1, 1, 1, 1, 2, 1]),
}
# Of the same pieces; H1 of the scale: two bars of four classes; H4: all bars, as there are no more than four.
BEAT_COLUMNS = [
    "empty_beat_rate", "empty_measure_rate", "groove_consistency", "groove_jaccard", "grooving_similarity",
    "pitch_class_entropy_1bar", "pitch_class_entropy_4bar",
]  # fmt: skip
BEATS_BY_HAND: dict[str, list[float]] = {
    "C major scale": [0, 0, 1, 1, 1, 2, 2.75],
    "chromatic scale": [0, 0, 1, 1, 1, 2, LOG_12],
    "single note": [0.75, 0, NAN, NAN, NAN, 0, 0],
    "no notes": [NAN] * 7,
    "triads": [0, 0, 1, 1, 1, math.log2(3), TRIADS_PCE],
    "dyads": [0, 0, NAN, NAN, NAN, 1, 1],
}
# muspy's values of them, by hand from its definitions at 4 steps per beat: a bar too many wherever a piece ends on a
# bar line, and a rate of polyphony that asks for three pitches.
RAW_COLUMNS = ["pitch_in_scale_rate", "polyphony_rate", "empty_beat_rate", "empty_measure_rate", "groove_consistency"]
RAW_BY_HAND: dict[str, list[float]] = {
    "C major scale": [1, 0, 0, 0, 0.875],
    "chromatic scale": [7 / 12, 0, 0, 0, 1 - 4 / (16 * 3)],
    "single note": [1, 0, 0, 0, NAN],
    "no notes": [NAN] * 5,
    "triads": [1, 1, 0, 0, 0.984375],
    "dyads": [1, 0, 0, 0, 0.75],
}
# Of muspy's, those that are right, and their names here.
RIGHT = {
    name: name for name in set(RAW) & set(METRICS) - {"empty_beat_rate", "empty_measure_rate", "groove_consistency"}
}
RIGHT["pitch_in_scale_rate"] = "pitch_in_c_major_rate"

BEAT_GRIDS: list[TimeGrid] = [Beats(steps_per_beat=4), Beats(steps_per_beat=8), Beats(steps_per_beat=24)]


def raw(name: str, notes: Notes) -> float:
    return float(score_raw(Windows.of([piece(notes)]))[name].iloc[0])


@pytest.mark.parametrize("grid", [*BEAT_GRIDS, PERFORMED], ids=str)
@pytest.mark.parametrize("name", BY_HAND)
def test_values_derived_by_hand_on_any_grid(name: str, grid: TimeGrid) -> None:
    notes, expected = BY_HAND[name]
    scored = score(Windows.of([piece(notes, grid=grid)]))[COLUMNS].to_numpy()[0]
    np.testing.assert_allclose(scored, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", BEAT_GRIDS, ids=str)
@pytest.mark.parametrize("name", BEATS_BY_HAND)
def test_values_of_beats_and_bars_derived_by_hand(name: str, grid: TimeGrid) -> None:
    scored = score(Windows.of([piece(BY_HAND[name][0], grid=grid)]))[BEAT_COLUMNS].to_numpy()[0]
    np.testing.assert_allclose(scored, BEATS_BY_HAND[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", RAW_BY_HAND)
def test_muspys_own_values_derived_by_hand(name: str) -> None:
    scored = score_raw(Windows.of([piece(BY_HAND[name][0])]))[RAW_COLUMNS].to_numpy()[0]
    np.testing.assert_allclose(scored, RAW_BY_HAND[name], rtol=0, atol=1e-12)


def test_shares_of_c_minor_derived_by_hand() -> None:
    rates = scale_rates(Windows.of([piece(notes) for notes in (C_MAJOR, TRIADS, CHROMATIC)]))
    np.testing.assert_allclose(rates[:, 3], [0.625, 7 / 12, 7 / 12], rtol=0, atol=1e-12)  # relative to E flat major


@pytest.mark.parametrize(("grid", "unit", "suffix"), [(None, 1.0, ""), (PERFORMED, 0.5, "_seconds")])
def test_time_metrics_derived_by_hand_are_in_the_unit_of_the_grid(
    grid: TimeGrid | None, unit: float, suffix: str
) -> None:
    chords: Notes = [(0, 1, 60), (0, 1, 64), (1.5, 0.5, 62), (2, 2, 62)]  # onsets 1.5 and 0.5 apart
    expected = {
        "note_density": 4 / 4 / unit,
        "mean_duration": 4.5 / 4 * unit,
        "duration_deviation": math.sqrt((1 + 1 + 0.25 + 4) / 4 - (4.5 / 4) ** 2) * unit,
        "mean_inter_onset": 1 * unit,
        "inter_onset_deviation": 0.5 * unit,
        "length": 4 * unit,
    }
    assert {name: value(name + suffix, chords, grid=grid) for name in expected} == pytest.approx(expected, abs=1e-12)


def test_pitch_and_velocity_metrics_derived_by_hand() -> None:
    notes = sorted_notes([(0, 1, 60, 10), (0, 1, 64, 30), (4, 1, 62, 50), (8, 1, 62, 70)])
    windows = Windows.of([Piece(notes=notes, id="", group="")])
    expected = {
        "mean_pitch": 62,
        "pitch_deviation": math.sqrt(2),
        "mean_velocity": 40,
        "velocity_deviation": math.sqrt(500),
        "notes": 4,
    }
    assert score(windows)[list(expected)].to_numpy()[0] == pytest.approx(list(expected.values()), abs=1e-12)


def test_a_note_that_ends_on_a_beat_leaves_the_next_beat_empty() -> None:
    apart: Notes = [(0, 1, 60), (15, 1, 60)]
    assert value("empty_beat_rate", apart) == pytest.approx(14 / 16)
    assert value("empty_measure_rate", apart) == pytest.approx(2 / 4)
    assert raw("empty_beat_rate", apart) == pytest.approx(1 - 4 / 17)


def test_empty_beats_at_the_end_of_the_last_bar_count() -> None:
    assert value("empty_beat_rate", [(0, 1, 60), (12, 1, 60)]) == pytest.approx(14 / 16)
    assert value("empty_beat_rate", [(4, 1, 60), (16, 1, 60)]) == pytest.approx(14 / 16)  # bars from the first onset
    assert value("empty_beat_rate", SINGLE) == pytest.approx(3 / 4)
    assert value("empty_beat_rate", [(0, 4, 60)]) == 0
    assert value("empty_beat_rate", [(0, 4.25, 60)]) == pytest.approx(3 / 8)


def test_raw_values_are_those_that_muspy_gives_on_the_notes_as_they_are() -> None:
    import muspy

    notes: Notes = [(3.5, 0.5, 66), (4, 1, 47), (4, 1, 75), (4, 2, 60), (4.75, 0.5, 60), (6.25, 5, 71), (9, 1, 59)]
    track = muspy.Track(notes=[muspy.Note(int(4 * o), pitch, int(4 * d)) for o, d, pitch in notes])
    music = muspy.Music(resolution=4, tracks=[track])
    assert raw("groove_consistency", notes) == muspy.groove_consistency(music, 16)
    assert raw("polyphony_rate", notes) == muspy.polyphony_rate(music)
    assert raw("empty_beat_rate", notes) == muspy.empty_beat_rate(music) >= 3 / 12
    assert raw("empty_measure_rate", notes) == muspy.empty_measure_rate(music, 16)


def test_raw_values_of_a_song_with_a_pickup_are_those_of_muspy_on_its_file() -> None:
    import muspy

    source = CORPORA["pop909-cl"].source
    assert isinstance(source, Published)
    path = find(source) if os.environ.get("ETUDE_DATA") else None
    if path is None:
        pytest.skip(f"no {source.pack} in ETUDE_DATA")
    content = next(item[1] for item in midi_files(path, re.compile(source.members or "")) if item[0] == "001.mid")
    assert isinstance(content, bytes)
    notes = read_midi(content, id="", group="", reading=CORPORA["pop909-cl"].reading).notes
    part = Piece(notes=notes[notes["onset"] < 64 * PAPER_GRID.steps_per_beat], id="", group="")
    found = score_raw(Windows.of([part])).iloc[0]
    assert found["groove_consistency"] == pytest.approx(0.695833, abs=1e-6)
    assert found["empty_beat_rate"] == pytest.approx(0.046875, abs=1e-6)
    fine = Windows.of([part]).on_common_grid()
    for factor, groove in ((3, 0.898611), (6, 0.949306)):
        rows = [
            muspy.Note(onset * factor, pitch, duration * factor) for onset, duration, pitch, _ in fine.notes.tolist()
        ]
        music = muspy.Music(resolution=4 * factor, tracks=[muspy.Track(notes=rows)])
        assert muspy.groove_consistency(music, 16 * factor) == pytest.approx(groove, abs=1e-6)
        assert muspy.polyphony_rate(music) == pytest.approx(found["polyphony_rate"])


def test_four_equal_bars_have_perfect_groove_here_but_not_in_muspy() -> None:
    bars = melody([60] * 16)
    assert [value(name, bars) for name in ("groove_consistency", "groove_jaccard", "grooving_similarity")] == [1, 1, 1]
    assert raw("groove_consistency", bars) == pytest.approx(1 - 4 / (16 * 4))


def test_dyads_are_polyphonic_here_but_not_in_muspy() -> None:
    assert (value("polyphony_rate_ge2", DYADS), raw("polyphony_rate", DYADS)) == (1, 0)


def test_a_key_struck_again_while_it_sounds_is_one_pitch() -> None:
    again: Notes = [(0, 4, 60), (1, 1, 60), (3, 2, 60), (7, 1, 60)]
    assert (value("polyphony", again), value("polyphony_rate_ge2", again)) == (1, 0)
    assert value("empty_beat_rate", again) == pytest.approx(2 / 8)


def test_groove_counts_onsets_that_bars_do_not_share() -> None:
    three_bars: Notes = [(0, 1, 60), (2, 1, 60), (4, 1, 60), (7, 1, 60), (8, 1, 60), (10, 1, 60)]  # 02, 03, 02
    assert value("groove_consistency", three_bars) == pytest.approx(1 - 2 / 16)
    assert value("groove_jaccard", three_bars) == pytest.approx(1 / 3)
    assert value("grooving_similarity", three_bars) == pytest.approx(1 - (2 + 2 + 0) / 3 / 16)


def test_pairs_of_bars_without_onsets_count_for_slots_but_not_for_onsets() -> None:
    held: Notes = [(0, 16, 60), (12, 1, 60)]
    assert value("groove_consistency", held) == pytest.approx(1 - (1 + 0 + 1) / 3 / 16)
    assert value("groove_jaccard", held) == 0


def test_the_last_bar_is_that_of_the_last_onset() -> None:
    held: Notes = [(0, 1, 60), (4, 40, 60)]
    assert value("groove_consistency", held) == value("grooving_similarity", held) == 1
    assert math.isnan(value("groove_consistency", held[1:]))


def test_local_entropy_slides_over_bars_and_skips_those_without_notes() -> None:
    bars = [(60, 62), (60, 60), (), (64, 65), (67, 67), (60, 62)]
    notes: Notes = [(4 * bar + beat, 1, key) for bar, keys in enumerate(bars) for beat, key in enumerate(keys)]
    assert value("pitch_class_entropy_1bar", notes) == pytest.approx((1 + 0 + 1 + 0 + 1) / 5)
    first = -(3 / 6 * math.log2(3 / 6) + 3 * (1 / 6) * math.log2(1 / 6))
    second = -(2 / 6 * math.log2(2 / 6) * 2 + 2 * (1 / 6) * math.log2(1 / 6))  # of 60 60 64 65 67 67
    third = -(2 / 6 * math.log2(2 / 6) + 4 * (1 / 6) * math.log2(1 / 6))  # of 64 65 67 67 60 62
    assert value("pitch_class_entropy_4bar", notes) == pytest.approx((first + second + third) / 3)


def test_groove_of_random_windows_equals_a_bar_by_bar_computation() -> None:
    windows = random_windows(40)
    expected: list[list[float]] = []
    for notes in windows.common.pieces():
        bars: list[set[int]] = [set() for _ in range(max(notes.notes["onset"], default=-1) // 16 + 1)]
        for onset in notes.notes["onset"].tolist():
            bars[onset // 16].add(onset % 16)
        neighbours, pairs = list(itertools.pairwise(bars)), list(itertools.combinations(bars, 2))
        either = [(one, other) for one, other in neighbours if one | other]
        expected.append(
            [
                1 - fmean(len(one ^ other) / 16 for one, other in neighbours) if neighbours else NAN,
                fmean(len(one & other) / len(one | other) for one, other in either) if either else NAN,
                1 - fmean(len(one ^ other) / 16 for one, other in pairs) if pairs else NAN,
            ]
        )
    columns = ["groove_consistency", "groove_jaccard", "grooving_similarity"]
    np.testing.assert_allclose(score(windows)[columns].to_numpy(), expected, rtol=0, atol=1e-12)


def test_rounding_keeps_every_note_and_moves_equal_offbeats_equally() -> None:
    offbeats: Notes = [(beat + 1 / 8, 1 / 8, 60) for beat in range(8)]
    assert value("groove_consistency", offbeats, grid=Beats(steps_per_beat=8)) == 1
    assert value("polyphony", offbeats, grid=Beats(steps_per_beat=8)) == 1


@pytest.mark.parametrize("grid", [PAPER_GRID, Seconds(steps_per_second=31.25)], ids=str)
def test_metrics_equal_muspy_where_muspy_is_correct(grid: TimeGrid) -> None:
    import muspy

    windows = random_windows(300, grid=grid)
    ours, theirs = score(windows), score_raw(windows.common)
    for name, corrected in RIGHT.items():
        np.testing.assert_allclose(ours[corrected], theirs[name], rtol=0, atol=1e-9, err_msg=name)
    for index, one in enumerate(windows.common.pieces()[:50]):
        track = muspy.Track(notes=[muspy.Note(*map(int, row)) for row in one.notes[["onset", "pitch", "duration"]]])
        rate = muspy.polyphony_rate(muspy.Music(resolution=4, tracks=[track]), threshold=1)
        assert ours["polyphony_rate_ge2"][index] == pytest.approx(rate, abs=1e-9, nan_ok=True)

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from eval.metrics.windows import Windows
from eval.scoring.sample_set import FORM, SampleSet, ScoredWindows, form_of
from eval.statistics.intervals import ratio_error
from replication.midi.piece import Piece, Seconds
from reports.sections.music import form
from tests.support.pieces import Notes, piece
from tests.support.synthetic_results import synthetic_results

BAR = 4  # beats


def music(*pieces: Piece, songs: list[int] | None = None) -> SampleSet:
    windows = Windows.of(pieces)
    nothing = np.zeros(len(pieces))
    numbers = np.arange(len(pieces)) if songs is None else np.array(songs)
    return SampleSet(
        scored=ScoredWindows.of(windows, songs=numbers),
        groups=numbers,
        tokens=np.zeros((len(pieces), 1), np.uint16),
        valid=nothing,
        repairs=nothing,
    )


def bars(letters: str) -> Piece:
    """Return a piece of a bar for each letter: equal letters are equal bars."""
    notes: Notes = [
        (BAR * bar + beat, 1, 40 + 4 * (ord(letter) - ord("A")) + beat % 2)
        for bar, letter in enumerate(letters)
        for beat in range(BAR)
    ]
    return piece(notes)


def test_alternating_music_is_similar_at_every_second_lag() -> None:
    found = form_of(music(bars("ABABAB"), bars("CDCDCD")))
    assert found["lag"].tolist() == [1, 2, 3, 4, 5]
    assert found["value"].tolist() == [0, 1, 0, 1, 0]
    assert (found["error"] == 0).all()
    assert (found["reach"] == 1).all()


def test_lags_use_only_windows_that_are_long_enough() -> None:
    found = form_of(music(bars("AAAA"), bars("AB"), bars("AB"), bars("C")))
    assert found["lag"].tolist() == [1, 2, 3]
    assert found["value"].tolist() == pytest.approx([3 / 5, 1, 1])
    assert found["reach"].tolist() == [3 / 4, 1 / 4, 1 / 4]


def test_standard_errors_of_ratios_are_over_songs() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=50)
    ones, songs = np.ones(50), np.arange(50)
    assert ratio_error(values, ones, songs) == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    # Windows that come three times, as those of one song do, tell no more.
    assert ratio_error(values.repeat(3), ones.repeat(3), songs.repeat(3)) == pytest.approx(
        ratio_error(values, ones, songs)
    )


def test_without_beats_there_are_no_bars_and_no_form() -> None:
    performed = dataclasses.replace(bars("AABA"), grid=Seconds(steps_per_second=100.0))
    assert form_of(music(performed)).columns.tolist() == list(FORM)
    assert form_of(music(performed)).empty
    seconds = synthetic_results(seeds=1, grid=Seconds(steps_per_second=100.0))
    texts = form(dataclasses.replace(seconds, form=seconds.form.iloc[:0])).figure.texts
    assert [text.get_text() for text in texts] == ["The corpus has no beats and therefore no bars."]


def test_windows_too_short_for_a_form_are_noted() -> None:
    results = synthetic_results(seeds=1)
    short = dataclasses.replace(results, form=results.form[results.form["lag"] < 3])
    (text,) = form(short).figure.texts
    assert text.get_text() == "Fewer than half of the windows have 4 bars, too few for form."


def test_lags_that_few_windows_reach_are_not_drawn() -> None:
    (axes,) = form(synthetic_results(seeds=2)).figure.axes
    shown = [line.get_xdata() for line in axes.lines]
    assert max(float(np.max(np.asarray(xs))) for xs in shown) == 10  # half the windows are long enough for ten bars

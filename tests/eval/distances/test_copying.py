from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from eval.distances import copying as module
from eval.distances.copying import TrainingIndex, copy_rates, memorisation, nearest, training_index
from eval.metrics.windows import Windows
from replication.midi.piece import NOTE, PAPER_GRID, Beats, Piece, sorted_notes
from replication.midi.synthetic import compose
from replication.tokens.encodings import Paper
from replication.util.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FROM_TRAINING = ("copy_8", "copy_12", "copy_16", "copy_onsets")


def windows(*parts: NDArray[Any], grid: Beats = PAPER_GRID) -> Windows:
    return Windows.of([Piece(notes=notes, id="", group="", grid=grid) for notes in parts], grid)


def melody(seed: int, notes: int = 40) -> NDArray[Any]:
    """Return notes one after another that no other seed's share runs of 8 notes with."""
    rng = np.random.default_rng(seed)
    onsets = np.cumsum(rng.integers(1, 9, notes))
    return sorted_notes([(int(onset), 4, int(rng.integers(30, 90)), 64) for onset in onsets])


def changed(notes: NDArray[Any], *, by: int = 0, later: int = 0, slower: int = 1) -> NDArray[Any]:
    notes = notes.copy()
    notes["pitch"] = notes["pitch"].astype(int) + by
    notes["onset"] = notes["onset"] * slower + later
    return notes


def trained(*parts: NDArray[Any]) -> TrainingIndex:
    return TrainingIndex(windows=windows(*parts), share=1.0)


def measured(music: Windows, known: TrainingIndex) -> dict[str, float]:
    return memorisation(music, known, np.arange(len(music)))


def test_training_music_is_found_in_any_key_and_at_any_time_but_not_at_another_tempo() -> None:
    parts = [melody(seed) for seed in range(5)]
    for change in ({}, {"by": 7}, {"later": 100}, {"by": -3, "later": 1}):
        found = measured(windows(*(changed(part, **change) for part in parts)), trained(*parts))
        assert [found[name] for name in (*FROM_TRAINING, "nearest")] == [1.0] * 5
        assert found["longest_run"] == 40
    slower = measured(windows(*(changed(part, slower=2) for part in parts)), trained(*parts))
    assert [slower[name] for name in (*FROM_TRAINING, "nearest")] == [0.0] * 5
    assert slower["longest_run"] < 8


@pytest.mark.parametrize("length", [8, 12, 16])
@pytest.mark.parametrize("place", [0, 5, 20, 39])
def test_a_changed_note_loses_exactly_the_runs_through_it(length: int, place: int) -> None:
    notes = melody(0)
    other = notes.copy()
    other["pitch"][place] += 1
    runs = 40 - length + 1
    through = sum(first <= place < first + length for first in range(runs))
    found = measured(windows(other), trained(notes))
    assert found[f"copy_{length}"] == pytest.approx((runs - through) / runs)
    assert found["longest_run"] == max(place, 39 - place)
    onsets = sum(not first <= place < first + 12 for first in range(29)) / 29
    assert found["copy_onsets"] == pytest.approx(onsets)


def test_the_longest_run_is_found_at_every_length() -> None:
    known = trained(melody(0), melody(1))
    for length in range(1, 41):
        assert measured(windows(melody(7), melody(1)[:length]), known)["longest_run"] >= length
        assert measured(windows(melody(1)[40 - length :]), known)["longest_run"] == length


def test_a_repeated_run_counts_as_one_distinct_run() -> None:
    steady = sorted_notes([(4 * step, 4, 60, 64) for step in range(23)])  # 20 runs of 4
    found = measured(windows(steady), trained(melody(0)))
    assert found["distinct_4"] == pytest.approx(1 / 20)
    assert measured(windows(melody(0)), trained(melody(1)))["distinct_4"] == 1.0
    assert measured(windows(*[melody(0)] * 5), trained(melody(1)))["distinct_4"] == pytest.approx(1 / 5)


def test_only_windows_of_other_songs_count_as_copied() -> None:
    music, known = windows(melody(0), melody(1), melody(0), melody(2)), trained(melody(9))
    assert memorisation(music, known, np.arange(4))["self_copy"] == pytest.approx(1 / 2)
    assert memorisation(music, known, np.array([8, 3, 8, 5]))["self_copy"] == 0.0
    steady = windows(sorted_notes([(4 * step, 4, 60, 64) for step in range(23)]))
    assert measured(steady, known)["self_copy"] == 0.0  # what a window repeats within itself is no copy


def test_the_nearest_training_window_is_a_single_window() -> None:
    first, second = melody(0), melody(1)
    joined = np.concatenate((first[:20], changed(second[:30], later=500)))
    music, known = windows(melody(5), joined, second), trained(first, melody(3), second)
    found = measured(music, known)
    shared = 23 + 33  # of the joined window, and of the copy
    total = 33 + 43 + 33
    assert found["nearest"] == pytest.approx(shared / total)
    assert found["copy_8"] == pytest.approx((13 + shared) / total)
    assert nearest(music, known.windows) == [(2, 2, 1.0, 40), (1, 2, pytest.approx(23 / 43), 30)]
    assert nearest(music, known.windows, k=1) == [(2, 2, 1.0, 40)]
    assert nearest(windows(melody(5)), known.windows) == []


def test_windows_without_runs_are_nan_and_do_not_count() -> None:
    known, empty = trained(melody(0)), np.empty(0, NOTE)
    short = windows(empty, melody(0)[:1], melody(0)[:7])
    found = measured(short, known)
    assert {name for name, value in found.items() if isnan(value)} == set(FROM_TRAINING) | {"nearest", "self_copy"}
    mixed = windows(empty, melody(0), melody(1))
    assert [measured(mixed, known)[name] for name in FROM_TRAINING] == [0.5] * 4
    assert all(isnan(value) for value in measured(windows(empty), known).values())
    assert all(isnan(value) for value in measured(windows(grid=PAPER_GRID), known).values())


def test_music_on_another_grid_is_refused() -> None:
    other = windows(melody(0), grid=Beats(steps_per_beat=4))
    for refused in (
        lambda: measured(other, trained(melody(0))),
        lambda: nearest(other, windows(melody(0))),
    ):
        with pytest.raises(UserError, match=r"on Beats\(steps_per_beat=4\) and training on Beats\(steps_per_beat=8\)"):
            refused()
    with pytest.raises(ValueError, match="2 windows need as many songs"):
        memorisation(windows(melody(0), melody(1)), trained(melody(0)), [0])


def tokens(count: int) -> NDArray[np.uint16]:
    rng = np.random.default_rng(0)
    return np.concatenate([Paper().windows(compose(rng), 66)[0] for _ in range(count)])


def test_the_training_index_is_built_once_and_then_read(tmp_path: Path) -> None:
    path, rows = tmp_path / "train" / "known.npz", tokens(3)
    made = training_index(path, rows, Paper())
    written = path.stat().st_mtime_ns
    again = training_index(path, rows[:1], Paper())
    assert path.stat().st_mtime_ns == written
    assert again.windows.notes.tolist() == made.windows.notes.tolist()
    assert again.windows.owner.tolist() == made.windows.owner.tolist()
    assert (len(again.windows), again.share) == (len(rows), 1.0)
    music = Windows.of([Piece(notes=Paper().decode(row).notes, id="", group="") for row in rows.tolist()])
    assert measured(music, again)["copy_8"] == 1.0
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"known\.npz is damaged .*delete it"):
        training_index(path, rows, Paper())


def test_a_large_training_split_is_indexed_in_part_and_states_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tokens(4)
    monkeypatch.setattr(module, "LIMIT", len(rows) // 2)
    known = training_index(tmp_path / "known.npz", rows, Paper())
    assert len(known.windows) == len(rows) // 2
    assert known.share == pytest.approx(0.5, abs=0.1)
    assert f"copies are looked for in {known.share:.1%} of the training windows" in capsys.readouterr().err
    last = Paper().decode(rows[-1].tolist()).notes
    assert known.windows.notes[known.windows.starts[-2] :].tolist() == last.tolist()  # evenly spread, to both ends


def test_a_copy_across_two_training_windows_is_found_in_part() -> None:
    whole = melody(0)
    found = measured(windows(whole), trained(whole[:20], whole[20:]))
    assert found["longest_run"] == 20
    assert found["copy_8"] == pytest.approx(26 / 33)


def test_each_window_has_its_own_copied_share() -> None:
    known = trained(melody(0))
    half = sorted_notes([*melody(0)[:24].tolist(), *changed(melody(1), later=400)[:24].tolist()])
    found = copy_rates(windows(melody(0), melody(1), half, melody(2)[:7]), known)
    # Of the 41 runs of 48 notes the first 17 are those of the 24 notes that training has.
    assert found[:3].tolist() == pytest.approx([1, 0, 17 / 41])
    assert isnan(found[3])  # seven notes have no run

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from baselines import BASELINES
from eval.distances.noise_floor import SampleOrigin
from eval.metrics.windows import Windows
from eval.scoring.controls import (
    CONTROLS,
    BarsShuffled,
    Collapse,
    ControlInputs,
    Copy,
    FromTest,
    Jitter,
    NoiseAndRound,
    OneBarRepeated,
    OnsetsShuffled,
    PitchesPermuted,
    RoundTrip,
    changed_windows,
)
from replication.midi.piece import Beats, Piece, Seconds, sorted_notes
from replication.tokens.encodings import ENCODINGS, encoding_on
from tests.support.small_scales import small_scale

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.midi.piece import TimeGrid
    from replication.models.ablations import Experiment

GRIDS = (Beats(steps_per_beat=8), Seconds(steps_per_second=16.0))
PAPER = encoding_on("paper", GRIDS[0])


def random_notes(rng: np.random.Generator, *, n: int, steps: int) -> NDArray[Any]:
    columns = (
        rng.integers(0, steps, n),
        rng.integers(1, 17, n),
        rng.integers(40, 80, n),
        rng.integers(8, 31, n) * 4,
    )
    notes = sorted_notes(np.array(list(zip(*columns, strict=True)), dtype=sorted_notes([]).dtype))
    notes["onset"] -= notes["onset"][:1]
    return notes


def windows(*, count: int = 60, n: int = 60, bars: int = 8, grid: TimeGrid = GRIDS[0]) -> Windows:
    """Random windows of several bars, then one without notes, one of one note and one shorter than a bar."""
    rng = np.random.default_rng(0)
    music = [random_notes(rng, n=n, steps=32 * bars) for _ in range(count)]
    music += [sorted_notes([]), sorted_notes([(0, 3, 60, 64)]), sorted_notes([(0, 3, 60, 64), (9, 4, 64, 64)])]
    return Windows.of([Piece(notes=notes, id="", group="", grid=grid) for notes in music])


def material(real: Windows, folder: Path | None = None, *, encoding: str = "paper", seed: int = 0) -> ControlInputs:
    return ControlInputs(
        real=real,
        encoding=encoding_on(encoding, real.grid),
        scale=small_scale(),
        sibling=lambda name: (folder or pytest.fail("no folder")) / name,
        rng=np.random.default_rng(seed),
    )


def embeddings(folder: Path, *, size: float) -> None:
    table = torch.randn(len(PAPER.vocabulary), 8, generator=torch.Generator().manual_seed(0))
    save_file({"embedding.weight": table * size}, folder / "e2e")


def notes_of(windows: Windows) -> list[NDArray[Any]]:
    return [piece.notes for piece in windows.pieces()]


def bars_of(notes: NDArray[Any], bar: int = 32) -> list[list[tuple[int, ...]]]:
    found: list[list[tuple[int, ...]]] = [[] for _ in range(int(notes["onset"].max()) // bar + 1)]
    for onset, *rest in notes.tolist():
        found[onset // bar].append((onset % bar, *rest))
    return found


@pytest.mark.parametrize("grid", GRIDS, ids=["beats", "seconds"])
@pytest.mark.parametrize("row", CONTROLS, ids=lambda row: row.name)
def test_a_control_has_as_many_windows_made_from_their_sources(row: Experiment, grid: TimeGrid, tmp_path: Path) -> None:
    embeddings(tmp_path, size=1.0)
    real = windows(grid=grid)
    assert isinstance(row.model, FromTest)
    made, sources = row.model.make(material(real, tmp_path))
    assert len(made) == len(sources) == len(real)
    assert made.grid == real.grid
    for notes in notes_of(made):
        assert np.array_equal(notes, sorted_notes(notes))
    again, _ = row.model.make(material(real, tmp_path))
    assert np.array_equal(made.notes, again.notes)
    assert np.array_equal(made.owner, again.owner)
    assert set(np.flatnonzero(real.sizes == 0)) <= set(sources[made.sizes == 0])


@pytest.mark.parametrize("row", [*CONTROLS, *BASELINES], ids=lambda row: row.name)
def test_controls_are_labelled_as_controls_and_have_one_seed(row: Experiment) -> None:
    control = row.kind == "control"
    assert control == row.label.endswith("(control)") == row.note.startswith("Control: ")
    assert (row.seeds == (0,) or row.first_seed_only) == control


def test_a_control_has_no_model_to_build() -> None:
    with pytest.raises(TypeError, match="made from test windows"):
        Copy().build(vocabulary=10, scale=small_scale())


def test_only_copies_are_compared_with_their_own_songs() -> None:
    origins = {row.name: row.model.origin for row in CONTROLS if isinstance(row.model, FromTest)}
    assert origins.pop("test-copy") is SampleOrigin.SAME_HALF
    assert set(origins.values()) == {SampleOrigin.OTHER_HALF}
    assert len(origins) == len(CONTROLS) - 1


def test_a_copy_changes_nothing() -> None:
    real = windows()
    assert not changed_windows(real, *Copy().make(material(real))).any()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_round_trip_keeps_what_the_encoding_can_represent(encoding: str) -> None:
    real = windows()
    real = real.map(encoding_on(encoding, real.grid).representable)
    assert not changed_windows(real, *RoundTrip().make(material(real, encoding=encoding))).any()


def test_a_round_trip_of_other_notes_equals_encoding_and_decoding() -> None:
    long = sorted_notes([(5, 90, 20, 3), (400, 8, 60, 64)])
    real = Windows.of([Piece(notes=long, id="", group="")])
    made, sources = RoundTrip().make(material(real))
    assert changed_windows(real, made, sources).all()
    assert np.array_equal(made.notes, PAPER.representable(long))


def test_rounding_removes_small_noise_but_not_large_noise(tmp_path: Path) -> None:
    real = windows()
    real = real.map(PAPER.representable)
    shares = []
    for size in (0.03, 0.3, 100.0):
        embeddings(tmp_path, size=size)
        shares.append(changed_windows(real, *NoiseAndRound().make(material(real, tmp_path))).mean())
    assert NoiseAndRound().needs == ("e2e",)
    assert shares[0] > 0.9
    assert shares[1] > shares[2] == 0


def test_a_collapse_repeats_a_few_windows() -> None:
    real = windows()
    made, sources = Collapse(pieces=5).make(material(real))
    assert len(np.unique(sources)) == 5
    assert sorted(np.bincount(sources, minlength=len(real)))[-6:] == [0, 12, 12, 13, 13, 13]
    assert not changed_windows(real, made, sources).any()
    assert len(np.unique(Collapse(pieces=1000).make(material(real))[1])) == len(real)


def test_jitter_moves_the_given_share_of_notes_by_a_semitone() -> None:
    real = windows(n=30, bars=40)
    spread = real.map(lambda notes: notes[np.diff(notes["onset"], prepend=-1) > 0])  # so that none coincide
    made, sources = Jitter(share=0.2).make(material(spread))
    moved = made.notes["pitch"].astype(int) - spread.notes["pitch"]
    assert set(moved.tolist()) == {-1, 0, 1}
    assert np.mean(moved != 0) == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / len(moved)))
    assert abs(np.mean(moved)) < 4 * np.sqrt(0.2 / len(moved))
    assert np.array_equal(
        made.notes[["onset", "duration", "velocity"]], spread.notes[["onset", "duration", "velocity"]]
    )
    assert changed_windows(spread, made, sources)[:60].all()


def test_jitter_stays_on_the_keyboard() -> None:
    ends = sorted_notes([(step, 1, pitch, 64) for step in range(50) for pitch in (0, 127)])
    made, _ = Jitter(share=1.0).make(material(Windows.of([Piece(notes=ends, id="", group="")])))
    assert set(made.notes["pitch"].tolist()) == {0, 1, 126, 127}


def test_permuting_pitches_keeps_the_pitches_and_the_rhythm() -> None:
    real = windows(n=30, bars=40)
    real = real.map(lambda notes: notes[np.diff(notes["onset"], prepend=-1) > 0])
    made, sources = PitchesPermuted().make(material(real))
    assert changed_windows(real, made, sources)[:60].all()
    for before, after in zip(notes_of(real), notes_of(made), strict=True):
        assert np.array_equal(np.sort(before["pitch"]), np.sort(after["pitch"]))
        assert np.array_equal(before[["onset", "duration", "velocity"]], after[["onset", "duration", "velocity"]])


@pytest.mark.parametrize("grid", GRIDS, ids=["beats", "seconds"])
def test_shuffled_onsets_are_on_sixteenths_and_nothing_else_changes(grid: TimeGrid) -> None:
    real = windows(n=20, bars=40, grid=grid)
    made, sources = OnsetsShuffled().make(material(real))
    assert (made.notes["onset"] % 2 == 0).all()
    assert changed_windows(real, made, sources)[:60].all()
    for before, after in zip(notes_of(real), notes_of(made), strict=True):
        assert len(before) - 2 <= len(after)  # notes that have come to coincide
        assert after["onset"].max(initial=0) <= before["onset"].max(initial=0)
        if len(before) == len(after):
            kept = ["duration", "pitch", "velocity"]
            assert sorted(before[kept].tolist()) == sorted(after[kept].tolist())
    slots = np.concatenate([notes["onset"] / max(1, notes["onset"].max()) for notes in notes_of(made)[:60]])
    assert np.mean(slots) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("grid", GRIDS, ids=["beats", "seconds"])
def test_shuffled_bars_are_the_same_bars_in_another_order(grid: TimeGrid) -> None:
    real = windows(grid=grid)
    made, sources = BarsShuffled().make(material(real))
    assert changed_windows(real, made, sources).tolist() == [True] * 60 + [False] * 3
    for before, after in zip(notes_of(real)[:60], notes_of(made)[:60], strict=True):
        there, here = bars_of(before), bars_of(after)
        whole = int((before["onset"] + before["duration"]).max()) // 32
        assert sorted(there[:whole]) == sorted(here[:whole])
        assert there[whole:] == here[whole:]


def shuffled(rows: list[tuple[int, int, int, int]]) -> set[tuple[tuple[int, int], ...]]:
    """Return the onsets and pitches of 40 shufflings of the bars of one window."""
    real = Windows.of([Piece(notes=sorted_notes(rows), id=str(index), group="") for index in range(40)])
    made, _ = BarsShuffled().make(material(real))
    return {tuple(notes[["onset", "pitch"]].tolist()) for notes in notes_of(made)}


def test_a_bar_without_onsets_is_shuffled_but_never_comes_first() -> None:
    found = shuffled([(0, 128, 60, 64), (2, 1, 62, 64), (35, 1, 64, 64)])
    assert found == {((0, 60), (2, 62), (32 * bar + 3, 64)) for bar in (2, 3)}


def test_bars_keep_their_order_only_if_no_other_keeps_the_grid() -> None:
    a, b, again, late = (0, 32, 60, 64), (32, 32, 62, 64), (64, 32, 62, 64), (34, 30, 62, 64)
    assert shuffled([a, b]) == {((0, 62), (32, 60))}
    assert shuffled([a, late]) == {((0, 60), (34, 62))}  # which begins with no note
    assert shuffled([a, (32, 32, 60, 64), (64, 32, 60, 64)]) == {((0, 60), (32, 60), (64, 60))}  # all alike
    assert shuffled([a, b, again]) == {((0, 62), (32, 60), (64, 62)), ((0, 62), (32, 62), (64, 60))}
    assert shuffled([a, late, again]) == {
        ((0, 60), (32, 62), (66, 62)), ((0, 62), (34, 62), (64, 60)), ((0, 62), (32, 60), (66, 62)),
    }  # fmt: skip


@pytest.mark.parametrize("grid", GRIDS, ids=["beats", "seconds"])
def test_one_bar_repeated_fills_the_window(grid: TimeGrid) -> None:
    real = windows(grid=grid)
    made, sources = OneBarRepeated().make(material(real))
    assert changed_windows(real, made, sources).tolist() == [True] * 60 + [False] * 3
    for before, after in zip(notes_of(real)[:60], notes_of(made)[:60], strict=True):
        length = int((before["onset"] + before["duration"]).max())
        full, rest = divmod(length, 32)
        bars = bars_of(after)
        assert len(bars) in {full, full + 1}
        assert all(bar == bars[0] for bar in bars[:full])
        assert bars[0] in bars_of(before)[:full]
        if len(bars) > full:
            assert bars[-1] == [note for note in bars[0] if note[0] < rest]


def test_windows_of_less_than_two_bars_are_not_shuffled() -> None:
    real = windows(bars=1)
    assert not changed_windows(real, *BarsShuffled().make(material(real))).all()
    short = windows(bars=1).map(lambda notes: notes[notes["onset"] < 12])
    for control in (BarsShuffled(), OneBarRepeated()):
        assert not changed_windows(short, *control.make(material(short))).any()

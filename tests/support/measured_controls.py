"""Measures of real music and of the controls made from it, for the acceptance test."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from baselines.ngram import NGram
from eval.distances.copying import TrainingIndex, memorisation
from eval.distances.noise_floor import MEAN, SampleOrigin, floor_ratios
from eval.metrics.table import features_on
from eval.metrics.windows import Windows
from eval.scoring.controls import CONTROLS, ControlInputs, FromTest, changed_windows
from eval.scoring.reference import reference_windows
from eval.scoring.sample_set import ScoredWindows, read
from eval.scoring.set_distances import set_distances
from replication.corpora.corpus import CORPORA, located
from replication.corpora.reading import load
from replication.midi.piece import Beats, Piece
from replication.tokens.encodings import encoding_on
from replication.tokens.protocol import CLS, SEP
from replication.training.scales import SCALES
from replication.windows.cutting import Cutting
from replication.windows.prepared import prepare
from replication.windows.splits import find_families

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.tokens.protocol import Encoding

# Bars of a window: enough for the measures of form, and available in most pieces.
BARS = {"bach": 8, "pop909-cl": 16}
# Orders of n-grams by name; "uniform" draws all tokens with equal probability.
GRAMS = {"unigram": 1, "bigram": 2, "uniform": 0}
HELD_OUT = "held-out"
DRAWS = 10  # number of draws for the distances of single metrics
MOST = 400  # number of windows, so that the sets of all corpora have one size


class Evidence(NamedTuple):
    """Measures of the controls of a corpus: one row for each control, and one for real music, "held-out".

    Attributes:
        corpus: Name of the corpus.
        values: Distances from one half of the songs, copying from it, and means of the metrics of single windows.
        ratios: Distances, also those of single metrics, as multiples of the distance between the halves.
        changed: Share of the windows that each control changes.
    """

    corpus: str
    values: pd.DataFrame
    ratios: pd.DataFrame
    changed: dict[str, float]


def of_bars(name: str, folder: Path) -> Evidence:
    """Measure the controls of windows of whole bars, one from each family of pieces. Caches files in a folder."""
    windows = cut(name, folder, np.random.default_rng(0))
    third = len(windows) // 3
    real, held_out = (ScoredWindows.of(windows.take(part)) for part in (range(third, len(windows)), range(third)))
    return gather(name, real, held_out, folder)


def of_scale(name: str, folder: Path) -> Evidence:
    """Measure the controls of the windows of a scale. Held-out music is from its training split."""
    scale = SCALES[name]
    corpus = located(CORPORA[scale.corpus])
    encoding = encoding_on("paper", corpus.reading.grid)
    dataset = prepare(corpus, encoding, Cutting(length=scale.length), cache=folder)
    train = dataset.splits["train"].tokens
    held_out = np.asarray(train[np.linspace(0, len(train) - 1, scale.samples).astype(int)])
    real = reference_windows(dataset, encoding, split=scale.held_out).scored
    return gather(scale.corpus, real, read(held_out, encoding).scored, folder)


def gather(name: str, real: ScoredWindows, held_out: ScoredWindows, folder: Path) -> Evidence:
    """Measure the controls of real music, and other real music, at the size of the latter."""
    most = len(held_out.windows)
    sets, shares = _controls(real, folder, most)
    sets[HELD_OUT] = held_out
    songs = np.random.default_rng(0).permutation(np.unique(real.songs))
    half = np.isin(real.songs, songs[: len(songs) // 2])
    known = TrainingIndex(windows=real.windows.take(np.flatnonzero(half)), share=1.0)

    values: dict[str, dict[str, float]] = {}
    ratios: dict[str, dict[str, float]] = {}
    for control, sample in sets.items():
        against = real.songs[half if sample.origin is SampleOrigin.SAME_HALF else ~half]
        kept = np.flatnonzero(np.isin(sample.songs, against) | (sample.origin is SampleOrigin.INDEPENDENT))
        copied = memorisation(sample.windows.take(kept), known, np.arange(len(kept)))
        distances, ratios[control] = _compared(sample, real, most)
        values[control] = distances | copied | dict(sample.scores.mean())
    return Evidence(name, pd.DataFrame(values).T, pd.DataFrame(ratios).T, shares)


def _compared(sample: ScoredWindows, real: ScoredWindows, most: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return distances from real music, and they and those of single metrics as multiples of their floors."""
    metrics = floor_ratios(
        sample.scores,
        real.scores,
        real.songs,
        rng=np.random.default_rng(1),
        features=features_on(real.windows.grid),
        draws=DRAWS,
        origin=sample.origin,
        songs=sample.songs,
        most=most,
    )
    panel = set_distances(sample, real, seed=1, most=most).set_index("measure")
    values = {"distance": metrics.loc[MEAN, "distance"], **panel["value"]}
    return values, {"distance": metrics.loc[MEAN, "ratio"], **panel["ratio"], **metrics["ratio"].drop(MEAN)}


def cut(name: str, folder: Path, rng: np.random.Generator) -> Windows:
    """Return windows of whole bars of 4 beats at random places, one from each family with a piece long enough."""
    loaded = load(located(CORPORA[name]), folder)
    assert isinstance(loaded.grid, Beats)
    bar = 4 * loaded.grid.steps_per_beat
    found: dict[int, Piece] = {}
    families = find_families(loaded)
    for number in rng.permutation(np.flatnonzero(families.unique)):
        notes = loaded.pieces[int(number)].notes
        starts = (int(notes["onset"].max()) // bar + 1) - BARS[name]
        if starts >= 0:
            window = _between(notes, bar * int(rng.integers(starts + 1)), bar * BARS[name])
            if len(window):
                found[int(families.family[number])] = Piece(notes=window, id="", group="", grid=loaded.grid)
    return Windows.of(list(found.values())[:MOST])


def _between(notes: NDArray[np.void], start: int, length: int) -> NDArray[np.void]:
    """Return the notes that begin in a span of time, shifted to begin at 0 and cut at its end."""
    inside = notes[(notes["onset"] >= start) & (notes["onset"] < start + length)].copy()
    inside["duration"] = np.minimum(inside["duration"], start + length - inside["onset"])
    inside["onset"] -= inside["onset"][:1]
    return inside


def _controls(real: ScoredWindows, folder: Path, most: int) -> tuple[dict[str, ScoredWindows], dict[str, float]]:
    """Return the controls, and of those that are made of real windows which share is not as it was."""
    windows = real.windows
    encoding, scale = encoding_on("paper", windows.grid), SCALES["cpu"]
    # Initial embeddings instead of trained ones.
    table = torch.randn(len(encoding.vocabulary), scale.dimension, generator=torch.Generator().manual_seed(0))
    save_file({"embedding.weight": table}, folder / "e2e")
    rng = np.random.default_rng(2)
    inputs = ControlInputs(real=windows, encoding=encoding, scale=scale, sibling=lambda name: folder / name, rng=rng)
    sets, shares = {}, {}
    for row in CONTROLS:
        assert isinstance(row.model, FromTest)
        made, sources = row.model.make(inputs)
        sets[row.name] = ScoredWindows.of(made, songs=real.songs[sources], origin=row.model.origin)
        shares[row.name] = float(changed_windows(windows, made, sources).mean())
    return sets | {
        name: ScoredWindows.of(_drawn(windows, order, encoding, most)) for name, order in GRAMS.items()
    }, shares


def _drawn(real: Windows, order: int, encoding: Encoding, count: int) -> Windows:
    """Return windows sampled from an n-gram of the real tokens, cut to the longest real window."""
    rows = [encoding.windows(piece.notes, 4000)[0][0] for piece in real.pieces()]
    words = [row[row > SEP] for row in rows]
    length = max(map(len, words))
    stream = np.concatenate(words)
    # Without [SEP], so that samples match real windows in time, not in number of tokens.
    training = np.insert(stream[: len(stream) // length * length].reshape(-1, length), 0, CLS, axis=1)
    model = NGram(masked=True, order=order, vocabulary=len(encoding.vocabulary), length=length + 1)
    model._count(torch.from_numpy(training.astype(np.int16)))
    tokens = model.sample(range(count), seed=0)
    span = int(real.ends.max())
    pieces = [
        Piece(notes=_between(encoding.decode(row).notes, 0, span), id="", group="", grid=real.grid)
        for row in tokens.tolist()
    ]
    return Windows.of(pieces)

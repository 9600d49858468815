"""Notes that nobody played and embeddings that nobody trained, for results of trials that nobody ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from eval.scoring.sample_set import FORM
from eval.scoring.trajectory import LEVELS, NOTES
from replication.tokens.encodings import Paper

if TYPE_CHECKING:
    from collections.abc import Mapping


def pairs(rng: np.random.Generator, names: list[str]) -> pd.DataFrame:
    """Return two pairs of a sample and a training window for each experiment."""
    records = [
        (name, 0, pair, side, 0.4 / (pair + 1), onset / 2, 0.5, int(rng.integers(48, 80)))
        for name in names
        for pair in range(2)
        for side in ("sample", "train")
        for onset in range(24)
    ]
    columns = ["experiment", "seed", "pair", "side", "share", "onset", "duration", "pitch"]
    return pd.DataFrame(records, columns=columns)


def notes(rng: np.random.Generator, encodings: Mapping[str, str]) -> pd.DataFrame:
    """Return six samples of each experiment, and of real music in each encoding."""
    records = []
    for name, encoding in [
        *(("test", encoding) for encoding in dict.fromkeys(encodings.values())),
        *encodings.items(),
    ]:
        for sample in range(6):
            if (name, sample) == ("gaussian", 2):
                continue  # a sample without notes leaves no rows
            onset, chord = 0.0, 48 + rng.integers(0, 12)
            for _ in range(11):
                step = float(rng.choice([0.5, 1, 1, 2]))
                for voice in (0, 7, 12, 16):
                    pitch = int(chord + voice + rng.integers(-2, 3))
                    records.append((name, encoding, sample, onset, step, pitch, 64))
                onset += step
                chord += rng.choice([-5, 0, 2, 5]) if 40 < chord < 60 else int(np.sign(50 - chord)) * 5
    columns = ["experiment", "encoding", "sample", "onset", "duration", "pitch", "velocity"]
    return pd.DataFrame(records, columns=columns)


def clearer(rng: np.random.Generator, names: list[str]) -> pd.DataFrame:
    """Return a sample of each experiment at all levels of noise, in which less and less is out of tune."""
    records = [
        (name, 0, level, onset / 2, 0.5, int(48 + 5 * (onset % 4) + level * rng.integers(-24, 24)), 64)
        for name in names
        for level in LEVELS
        for onset in range(32)
    ]
    return pd.DataFrame(records, columns=["experiment", "seed", *NOTES])


def form(rng: np.random.Generator, encodings: Mapping[str, str], seeds: int) -> pd.DataFrame:
    """Return lags of 1 to 15 bars, the last of which few windows reach: real music repeats itself after 4 bars."""
    sets = [("test", encoding, 0) for encoding in dict.fromkeys(encodings.values())]
    sets += [(name, encoding, seed) for name, encoding in encodings.items() for seed in range(seeds)]
    records = [
        (*key, lag, 0.1 + 0.2 * (lag % 4 == 0) * (key[0] == "test") + rng.uniform(0, 0.02), 0.01, 1 - lag / 20)
        for key in sets
        for lag in range(1, 16)
    ]
    return pd.DataFrame(records, columns=["experiment", "encoding", "seed", *FORM])


def embeddings(rng: np.random.Generator, names: list[str], seeds: int, dimension: int = 16) -> pd.DataFrame:
    """Return a table of embeddings for each seed of each experiment: all but Gaussian ones know fifths."""
    words = Paper().vocabulary
    pitches = np.array([int(word[1:]) if word[0] == "p" and word[1:].isdigit() else 0 for word in words])
    sung = np.where((pitches >= 36) & (pitches < 82), pitches, np.nan)
    angle = 2 * np.pi * pitches * 7 / 12
    music = np.stack([np.cos(angle), np.sin(angle), (pitches - 60) / 20], axis=1) @ rng.normal(size=(3, dimension))
    frames = []
    for name in names:
        for seed in range(seeds):
            points = rng.normal(size=(len(words), dimension)) + (music if name != "gaussian" else 0)
            frame = pd.DataFrame(points, columns=[f"d{index}" for index in range(dimension)])
            frame.insert(0, "pitch", sung)
            frame.insert(0, "word", words)
            frame.insert(0, "seed", seed)
            frame.insert(0, "experiment", name)
            frames.append(frame)
    columns = ["experiment", "seed", "word", "pitch"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)

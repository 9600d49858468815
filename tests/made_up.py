"""Results of trials that nobody ran: as large and as odd as real ones, the same in every process."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eval.corpus import facts
from eval.metrics import FEATURES, METRICS
from eval.results import Results
from replication.corpora import CORPORA
from replication.cutting import Cutting
from replication.data import prepare
from replication.encodings import Paper
from replication.reading import load

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[str, str, str, float, float, bool]

# name, label, colour, distance in floors, nats per token, exact
EXPERIMENTS: tuple[Row, ...] = (
    ("e2e", "Diffusion-LM, end-to-end", "#0072B2", 2.1, 2.31, False),
    ("gaussian", "Diffusion-LM, Gaussian", "#D55E00", 2.9, 2.52, False),
    ("pretrained", "Diffusion-LM, skip-gram", "#009E73", 2.4, 2.44, False),
    ("pretrained-ar", "Diffusion-LM, from AR", "#56B4E9", 2.3, 2.40, False),
    ("autoregressive", "Autoregressive", "#CC79A7", 1.3, 1.62, True),
    ("unigram", "Unigram (control)", "#E69F00", 14.0, 3.31, True),
    ("replay", "Replay (control)", "#707070", 1.02, math.inf, True),
)
# The same in another encoding.
TRIPLES: tuple[Row, ...] = (
    ("e2e-triples", "Diffusion-LM, triples", "#003366", 2.6, 1.41, False),
    ("autoregressive-triples", "Autoregressive, triples", "#7A0019", 1.4, 0.93, True),
)
TOKENS_PER_NOTE = {"paper": 2.4, "triples": 3.6}
# metric: mean and standard deviation of real music
REAL = {
    "n_pitches_used": (21.0, 4.0),
    "n_pitch_classes_used": (8.4, 1.4),
    "pitch_range": (38.0, 6.0),
    "pitch_entropy": (4.0, 0.3),
    "pitch_class_entropy": (2.76, 0.25),
    "scale_consistency": (0.95, 0.03),
    "polyphony": (3.2, 0.6),
    "polyphony_rate_ge2": (0.86, 0.08),
    "empty_beat_rate": (0.02, 0.02),
    "groove_consistency": (0.82, 0.06),
    "note_density": (4.1, 1.1),
    "mean_duration": (0.9, 0.25),
    "mean_inter_onset": (0.45, 0.12),
    "mean_pitch": (61.0, 4.0),
    "pitch_deviation": (9.5, 1.8),
    "notes": (84.0, 18.0),
}


def made_up(
    *, seeds: int = 3, samples: int = 40, windows: int = 80, without: tuple[str, ...] = (), triples: bool = False
) -> Results:
    """Return results of some seeds of each experiment but those in `without`, in one encoding or in two."""
    rng = np.random.default_rng(0)
    rows = [row for row in (*EXPERIMENTS, *(TRIPLES if triples else ())) if row[0] not in without]
    names = [name for name, *_ in rows]
    about = {
        "scale": "cpu",
        "corpus": "bach",
        "length": 66,
        "unit": "beat",
        "steps": 1500,
        "batch": 32,
        "sampler_steps": 100,
        "command": "etude run --scale cpu",
        "commits": ["0123abc"],
    }
    paper = {
        "name": "paper",
        "train": 2400,
        "validation": 150,
        "test": windows,
        "songs": 37,
        "vocabulary": 142,
        "ln_vocabulary": math.log(142),
        "unigram_entropy": 3.28,
        "floor_p95": 1.17,
    }
    other = {"name": "triples", "train": 3600, "validation": 220, "test": windows + 40, "songs": 37, "vocabulary": 205}
    other |= {"ln_vocabulary": math.log(205), "unigram_entropy": 3.71, "floor_p95": 1.21}
    experiments = pd.DataFrame(
        {"name": name, "label": label, "colour": colour, "note": "Made up.", "encoding": encoding_of(name)}
        for name, label, colour, *_ in rows
    )
    return Results(
        card=_card(),
        about=about,
        encodings=pd.DataFrame([paper, *([other] if triples else [])]),
        experiments=experiments,
        trials=_trials(rng, rows, seeds),
        scores=_scores(rng, rows, seeds, samples, windows),
        distances=_distances(rng, rows, seeds, samples),
        curves=_curves(rng, rows, seeds),
        notes=_notes(rng, names),
        embeddings=_embeddings(rng, [name for name, *_, exact in rows if not exact], seeds),
    )


@cache
def _card() -> dict[str, Any]:
    """Return the facts of a real corpus: nothing of a data card is made up."""
    corpus, cutting = CORPORA["synthetic"], Cutting(length=66)
    with TemporaryDirectory() as folder:
        dataset = prepare(corpus, Paper(), cutting, cache=Path(folder))
        return facts(corpus, load(corpus, Path(folder)), dataset, encoding="paper", cutting=cutting)


def encoding_of(name: str) -> str:
    """Return the encoding of an experiment, which its name ends with."""
    return "triples" if name.endswith("-triples") else "paper"


def _trials(rng: np.random.Generator, rows: Sequence[Row], seeds: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "experiment": name,
            "seed": seed,
            "parameters": 1_234_567 if name != "unigram" else 142,
            "fit_seconds": 310 + rng.normal(),
            "sample_seconds": 12 + rng.normal(),
            "validity": min(1.0, 0.9 + rng.normal() / 50),
            "floor_ratio": ratio + rng.normal() / 10,
            "nll": (value := nll + rng.normal() / 50),
            "nll_note": value * TOKENS_PER_NOTE[encoding_of(name)],
            "nll_beat": 4 * value * TOKENS_PER_NOTE[encoding_of(name)],
            "nll_second": math.nan,
            "exact": exact,
            "nll_prior": math.nan if exact else 1e-4,
            "nll_diffusion": math.nan if exact else nll - 0.02,
            "nll_rounding": math.nan if exact else 0.02,
        }
        for name, _, _, ratio, nll, exact in rows
        for seed in range(seeds)
    )


def _scores(rng: np.random.Generator, rows: Sequence[Row], seeds: int, samples: int, windows: int) -> pd.DataFrame:
    def pieces(experiment: str, seed: int, n: int, shift: float, encoding: str) -> pd.DataFrame:
        columns = {
            metric: np.clip(mean + sd * (shift + rng.normal(size=n)), METRICS[metric].low, METRICS[metric].high)
            for metric, (mean, sd) in REAL.items()
        }
        about = {"experiment": experiment, "encoding": encoding, "seed": seed, "sample": range(n)}
        return pd.DataFrame(about | {"valid": rng.random(n) < 0.9} | columns)

    encodings = dict.fromkeys(encoding_of(name) for name, *_ in rows)
    parts = [pieces("test", 0, windows + 40 * place, float(place), name) for place, name in enumerate(encodings)]
    parts += [
        pieces(name, seed, samples, (ratio - 1) / 4, encoding_of(name))
        for name, _, _, ratio, *_ in rows
        for seed in range(seeds)
    ]
    scores = pd.concat(parts, ignore_index=True)
    scores.loc[(scores["experiment"] == "unigram") & (scores["sample"] < 3), list(METRICS)[3:]] = math.nan
    return scores


def _distances(rng: np.random.Generator, rows: Sequence[Row], seeds: int, samples: int) -> pd.DataFrame:
    records = []
    for name, _, _, ratio, *_ in rows:
        for seed in range(seeds):
            for metric in (*METRICS, "mean"):
                floor = rng.uniform(0.1, 0.2) if metric != "empty_beat_rate" else 0.0
                distance = floor * ratio * rng.uniform(0.9, 1.1) if floor else 0.3
                record = {"experiment": name, "seed": seed, "metric": metric, "distance": distance, "floor": floor}
                missing = 0.075 if name == "unigram" and metric in FEATURES[3:] else 0.0
                ratios = {"floor_p95": 1.2 * floor, "ratio": distance / floor if floor else math.inf}
                records.append(record | ratios | {"nan_rate": missing, "n": samples})
    return pd.DataFrame(records)


def _curves(rng: np.random.Generator, rows: Sequence[Row], seeds: int) -> pd.DataFrame:
    records = []
    for name, _, _, _, nll, exact in rows:
        if name in {"unigram", "replay"}:
            continue
        start = 4.8 if exact else 3.0
        end = nll if exact else 0.2 * nll
        for seed in range(seeds):
            for key, every in (("train/loss", 25), ("val/loss", 250)):
                for step in range(every, 1501, every):
                    value = end + (start - end) * math.exp(-step / 220) + rng.normal() / 60
                    records.append({"experiment": name, "seed": seed, "step": step, "key": key, "value": value})
    return pd.DataFrame(records)


def _notes(rng: np.random.Generator, names: list[str]) -> pd.DataFrame:
    records = []
    encodings = dict.fromkeys(encoding_of(name) for name in names)
    for name, encoding in [
        *(("test", encoding) for encoding in encodings),
        *((name, encoding_of(name)) for name in names),
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


def _embeddings(rng: np.random.Generator, names: list[str], seeds: int, dimension: int = 16) -> pd.DataFrame:
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

"""Synthetic results for tests of reports: as large and as irregular as real ones, and the same in every process."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eval.metrics.table import METRICS, refused
from eval.results.frames import Results
from eval.results.sampler_study import EVALUATIONS, REFERENCE, SAMPLERS
from eval.scoring.measures import DISTANCE, IN_FLOORS, MEASURES, SECOND_SAMPLER
from eval.scoring.sample_set import FORM
from eval.scoring.trajectory import LEVELS, NOTES
from replication.corpora.corpus import CORPORA
from replication.corpora.reading import load
from replication.midi.piece import Beats
from replication.tokens.encodings import Paper
from replication.windows.cutting import Cutting
from replication.windows.data_card import facts
from replication.windows.prepared import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replication.midi.piece import TimeGrid

Row = tuple[str, str, str, float, float, bool]

# name, label, colour, distance in floors, nats per token, exact. Controls made of real windows have no likelihood.
EXPERIMENTS: tuple[Row, ...] = (
    ("e2e", "Diffusion-LM, end-to-end", "#0072B2", 2.1, 2.31, False),
    ("gaussian", "Diffusion-LM, Gaussian", "#D55E00", 2.9, 2.52, False),
    ("pretrained", "Diffusion-LM, skip-gram", "#009E73", 2.4, 2.44, False),
    ("pretrained-ar", "Diffusion-LM, from AR", "#56B4E9", 2.3, 2.40, False),
    ("e2e-small", "Diffusion-LM, smaller", "#332288", 2.5, 2.47, False),
    ("autoregressive", "Autoregressive", "#CC79A7", 1.1, 1.62, True),
    ("unigram", "Unigram (control)", "#E69F00", 14.0, 3.31, True),
    ("embeddings-only", "Embeddings only (control)", "#7D5A50", 25.0, 6.2, False),
    ("test-copy", "Test copy (control)", "#333333", 0.0, math.nan, True),
    ("onsets-shuffled", "Onsets shuffled (control)", "#8A6F4D", 4.9, math.nan, True),
    ("replay", "Replay (control)", "#707070", 1.02, math.inf, True),
    ("pitches-permuted", "Pitches permuted (control)", "#A05195", 3.2, math.nan, True),
)
# Rows in another encoding.
TRIPLES: tuple[Row, ...] = (
    ("e2e-triples", "Diffusion-LM, triples", "#003366", 2.6, 1.41, False),
    ("autoregressive-triples", "Autoregressive, triples", "#7A0019", 1.4, 0.93, True),
)
UNDEFINED = ("gaussian", "unigram")  # three samples of each have no notes
CHANGED = {
    "test-copy": 0.0,
    "onsets-shuffled": 0.337,
    "pitches-permuted": 0.99,
}  # share of the test windows that the control changes
DIFFUSION = ("e2e", "gaussian", "pretrained")  # what the names of diffusion models begin with
BEATS = Beats(steps_per_beat=4)
TOKENS_PER_NOTE = {"paper": 2.4, "triples": 3.6}
# metric: mean and standard deviation of real music; other metrics are about 0.5
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
    "mean_velocity": (64.0, 9.0),
    "mean_pitch": (61.0, 4.0),
    "pitch_deviation": (9.5, 1.8),
    "notes": (84.0, 18.0),
}


def synthetic_results(
    *,
    seeds: int = 3,
    samples: int = 40,
    windows: int = 80,
    without: tuple[str, ...] = (),
    triples: bool = False,
    grid: TimeGrid = BEATS,
) -> Results:
    """Return results with `seeds` seeds of every experiment except those in `without`.

    Args:
        seeds: Number of seeds of an experiment that is not a control.
        samples: Number of samples of a trial.
        windows: Number of test windows.
        without: Names of experiments to leave out.
        triples: Whether to add experiments in a second encoding.
        grid: Time grid of the music.
    """
    rng = np.random.default_rng(0)
    rows = [row for row in (*EXPERIMENTS, *(TRIPLES if triples else ())) if row[0] not in without]
    names = [name for name, *_ in rows]
    diffusion = [name for name, *_, exact in rows if not exact and not is_control(name)]
    about = {
        "scale": "cpu",
        "corpus": "bach",
        "length": 66,
        "unit": "beat" if isinstance(grid, Beats) else "second",
        "refused": refused(grid),
        "steps": 1500,
        "batch": 32,
        "evaluations": 100,
        "configuration": {"timesteps": 2000},
        "sigma_0": 0.121,
        "command": "etude run --scale cpu",
        "commits": ["0123abc"],
        "environment": {
            "python": "3.11.9",
            "packages": {"etude": "0.1.0", "torch": "2.13.0"},
            "processor": "x86_64",
            "cores": 2,
            "threads": 1,
            "gpu": None,
        },
        "tuned": {
            name: {str(seed): "d 32, scale 0.5" for seed in range(seeds)}
            for name in ("e2e", "gaussian", "pretrained")
            if name in names
        },
    }
    paper = {
        "name": "paper",
        "digest": "aa",
        "train": 2400,
        "validation": 150,
        "test": windows,
        "songs": 37,
        "vocabulary": 142,
        "words_in_test": 71,
        "ln_vocabulary": math.log(142),
        "unigram_entropy": 3.28,
        "floor_p95": 1.17,
    }
    other = {
        "name": "triples",
        "digest": "bb",
        "train": 3600,
        "validation": 220,
        "test": windows + 40,
        "songs": 37,
        "vocabulary": 205,
        "words_in_test": 93,
    }
    other |= {"ln_vocabulary": math.log(205), "unigram_entropy": 3.71, "floor_p95": 1.21}
    experiments = pd.DataFrame(
        {"name": name, "label": label, "colour": colour, "note": "Synthetic.", "encoding": encoding_of(name)}
        | {"control": is_control(name)}
        for name, label, colour, *_ in rows
    )
    metrics = [name for name in METRICS if name not in refused(grid)]
    trials, measures = _trials(rng, rows, seeds), _measures(rng, rows, seeds, samples)
    audits = _audits(rng, [row for row in rows if encoding_of(row[0]) == "paper"], seeds)
    return Results(
        card=_card(),
        about=about,
        encodings=pd.DataFrame([paper, *([other] if triples else [])]),
        experiments=experiments,
        trials=trials,
        anomalies=_anomalies([name for name in names if name == "unigram"]),
        scores=_scores(rng, rows, seeds, (samples, windows), metrics),
        distances=_distances(rng, rows, seeds, samples, metrics),
        measures=measures if isinstance(grid, Beats) else measures[measures["measure"] != "bar_similarity"],
        raw=_raw(rng, rows, seeds),
        curves=_curves(rng, rows, seeds),
        notes=_notes(rng, {name: encoding_of(name) for name in names}),
        pairs=_pairs(rng, [name for name in names if name in {"e2e", "autoregressive"}]),
        form=_form(rng, {name: encoding_of(name) for name in names}, seeds),
        embeddings=_embeddings(rng, diffusion, seeds),
        trajectory=_trajectory(rng, diffusion, seeds),
        trajectory_notes=_trajectory_notes(rng, diffusion),
        grid=_grid(rng, [name for name in names if name in {"e2e", "gaussian", "pretrained"}], seeds),
        audits=audits,
        jackknife=_jackknife(rng, measures),
        samplers=_samplers(rng, [name for name in names if name in {"e2e", "gaussian"}], seeds),
        fingerprints=_fingerprints(trials),
    )


@cache
def _card() -> dict[str, Any]:
    """Return the data card of a real corpus."""
    corpus, cutting = CORPORA["synthetic"], Cutting(length=66)
    with TemporaryDirectory() as folder:
        dataset = prepare(corpus, Paper(), cutting, cache=Path(folder))
        return facts(corpus, load(corpus, Path(folder)), dataset, encoding="paper", cutting=cutting, cache=Path(folder))


def encoding_of(name: str) -> str:
    """Return the encoding of an experiment."""
    return "triples" if name.endswith("-triples") else "paper"


def is_control(name: str) -> bool:
    """Return whether an experiment is a control."""
    return name in {"unigram", "embeddings-only", "replay", "test-copy", "onsets-shuffled", "pitches-permuted"}


def seeds_of(name: str, seeds: int) -> range:
    """Return the seeds of an experiment. A control has one seed."""
    return range(1 if is_control(name) else seeds)


def _trials(rng: np.random.Generator, rows: Sequence[Row], seeds: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "experiment": name,
            "seed": seed,
            "parameters": 1_234_567 if name != "unigram" else 142,
            "tokens_seen": 2_640_000 if name != "unigram" else math.nan,
            "flop": 3.9e12 if name != "unigram" else math.nan,
            "fit_seconds": 310 + rng.normal(),
            "sample_seconds": 12 + rng.normal(),
            "validity": min(1.0, 0.9 + rng.normal() / 50) if not math.isnan(nll) else math.nan,
            "searched": 1.0,
            "nll": (value := nll + rng.normal() / 50),
            "nll_note": value * TOKENS_PER_NOTE[encoding_of(name)],
            "nll_beat": 4 * value * TOKENS_PER_NOTE[encoding_of(name)],
            "nll_second": math.nan,
            "nll_error": math.nan if exact else 0.011,
            "nll_error_songs": 0.034 if math.isfinite(nll) else math.nan,
            # only the first seed of a bound is checked
            **dict.fromkeys(("nll_every", "nll_drawn"), nll if not exact and not seed else math.nan),
            "nll_drawn_error": 0.02 if not exact and not seed else math.nan,
            "estimator": "" if exact else f"power {2 if seed else 4}, variance 1",
            "nll_plain": math.nan if exact else 2.5 * value,
            "nll_plain_error": math.nan if exact else 0.04,
            "changed": CHANGED.get(name, math.nan),
            "exact": exact,
            "nll_prior": math.nan if exact else 1e-4,
            "nll_diffusion": math.nan if exact else nll - 0.02,
            "nll_rounding": math.nan if exact else 0.02,
        }
        for name, _, _, ratio, nll, exact in rows
        for seed in seeds_of(name, seeds)
    )


def _scores(
    rng: np.random.Generator, rows: Sequence[Row], seeds: int, sizes: tuple[int, int], metrics: list[str]
) -> pd.DataFrame:
    samples, windows = sizes

    def pieces(experiment: str, seed: int, n: int, shift: float, encoding: str) -> pd.DataFrame:
        columns = {}
        for metric in metrics:
            mean, sd = REAL.get(metric, (0.5, 0.1))
            values = mean + sd * (shift + rng.normal(size=n))
            columns[metric] = np.clip(values, METRICS[metric].low, METRICS[metric].high)
        about = {"experiment": experiment, "encoding": encoding, "seed": seed, "sample": range(n)}
        about |= {"valid": rng.random(n) < 0.9, "song": np.arange(n) // 2, "copied": rng.beta(1, 5, n)}
        return pd.DataFrame(about | columns)

    encodings = dict.fromkeys(encoding_of(name) for name, *_ in rows)
    parts = [pieces("test", 0, windows + 40 * place, float(place), name) for place, name in enumerate(encodings)]
    parts += [
        pieces(name, seed, samples, (ratio - 1) / 4, encoding_of(name))
        for name, _, _, ratio, *_ in rows
        for seed in seeds_of(name, seeds)
    ]
    scores = pd.concat(parts, ignore_index=True)
    scores.loc[scores["experiment"].isin(UNDEFINED) & (scores["sample"] < 3), metrics[3:]] = math.nan
    return scores


def _distances(
    rng: np.random.Generator, rows: Sequence[Row], seeds: int, samples: int, metrics: list[str]
) -> pd.DataFrame:
    records = []
    for name, _, _, ratio, *_ in rows:
        for seed in seeds_of(name, seeds):
            for metric in metrics:
                floor = rng.uniform(0.1, 0.2) if metric != "empty_beat_rate" else 0.0
                distance = floor * ratio * rng.uniform(0.9, 1.1) if floor else 0.3
                record = {"experiment": name, "seed": seed, "metric": metric, "distance": distance, "floor": floor}
                missing = 0.075 if name in UNDEFINED and metric in metrics[3:] else 0.0
                ratios = {"floor_p95": 1.2 * floor, "ratio": distance / floor if floor else math.inf}
                ratios["cliff"] = rng.uniform(-1, 1)
                records.append(record | ratios | {"nan_rate": missing, "n": samples})
    return pd.DataFrame(records)


def _measures(rng: np.random.Generator, rows: Sequence[Row], seeds: int, samples: int) -> pd.DataFrame:
    records = []
    for name, _, _, away_by, *_ in rows:
        for seed in seeds_of(name, seeds):
            for measure, about in MEASURES.items():
                if about.ideal is None:  # the ideal is the value of real music
                    floor, p95 = 0.4, math.nan
                    value = floor * rng.uniform(0.8, 1.2)
                else:
                    ideal = about.ideal
                    away = 0.01 if ideal < 1 else -0.05
                    floor, p95 = ideal + away, ideal + 1.3 * away
                    value = ideal + away * away_by * rng.uniform(0.9, 1.1)
                p = rng.uniform() if measure == "mmd" else math.nan
                if measure in {DISTANCE, SECOND_SAMPLER}:  # in floors, and never below 1
                    floor, p95, value = 1.0, 1.25, max(1.0, away_by + rng.normal() / 10)
                if measure == SECOND_SAMPLER and not name.startswith(DIFFUSION):
                    continue
                if measure == "nan_rate":
                    value, floor = 0.075 if name in UNDEFINED else 0.0, math.nan
                ratio = value / floor if measure in IN_FLOORS or measure.startswith("copy_") else math.nan
                record = {"experiment": name, "seed": seed, "measure": measure, "value": value, "floor": floor}
                records.append(record | {"floor_p95": p95, "ratio": ratio, "p": p, "n": samples})
    return pd.DataFrame(records)


def _jackknife(rng: np.random.Generator, measures: pd.DataFrame) -> pd.DataFrame:
    """Return the distance without each of 8 songs, near the distance with all of them."""
    found = measures[(measures["measure"] == DISTANCE) & ~measures["experiment"].map(is_control)]
    return pd.DataFrame(
        {"experiment": row.experiment, "seed": row.seed, "song": song, "distance": row.ratio + rng.normal() / 50}
        for row in found.itertuples()
        for song in range(8)
    )


def _raw(rng: np.random.Generator, rows: Sequence[Row], seeds: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"experiment": name, "seed": seed, "metric": metric, "value": 0.5 + rng.normal() / 10, "real": 0.5}
        for name, *_ in rows
        for seed in seeds_of(name, seeds)
        for metric in ("pitch_class_entropy", "polyphony_rate", "groove_consistency")
    )


def _curves(rng: np.random.Generator, rows: Sequence[Row], seeds: int) -> pd.DataFrame:
    records = []
    for name, _, _, _, nll, exact in rows:
        if is_control(name):
            continue
        start = 4.8 if exact else 3.0
        end = nll if exact else 0.2 * nll
        for seed in range(seeds):
            for key, every in (("train/loss", 25), ("val/loss", 250)):
                for step in range(every, 1501, every):
                    value = end + (start - end) * math.exp(-step / 220) + rng.normal() / 60
                    records.append({"experiment": name, "seed": seed, "step": step, "key": key, "value": value})
    return pd.DataFrame(records)


def _pairs(rng: np.random.Generator, names: list[str]) -> pd.DataFrame:
    """Return two pairs of a sample and its nearest training window for each experiment."""
    records = [
        (name, 0, pair, side, 0.4 / (pair + 1), onset / 2, 0.5, int(rng.integers(48, 80)))
        for name in names
        for pair in range(2)
        for side in ("sample", "train")
        for onset in range(24)
    ]
    columns = ["experiment", "seed", "pair", "side", "share", "onset", "duration", "pitch"]
    return pd.DataFrame(records, columns=columns)


def _notes(rng: np.random.Generator, encodings: Mapping[str, str]) -> pd.DataFrame:
    """Return the notes of six samples of each experiment, and of real music in each encoding."""
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


def _trajectory_notes(rng: np.random.Generator, names: list[str]) -> pd.DataFrame:
    """Return the notes of one sample of each experiment at every noise level; lower levels are more in tune."""
    records = [
        (name, 0, level, onset / 2, 0.5, int(48 + 5 * (onset % 4) + level * rng.integers(-24, 24)), 64)
        for name in names
        for level in LEVELS
        for onset in range(32)
    ]
    return pd.DataFrame(records, columns=["experiment", "seed", *NOTES])


def _form(rng: np.random.Generator, encodings: Mapping[str, str], seeds: int) -> pd.DataFrame:
    """Return the similarity of bars at lags of 1 to 15 bars.

    Few windows reach the longest lags. Real music repeats itself after 4 bars.
    """
    sets = [("test", encoding, 0) for encoding in dict.fromkeys(encodings.values())]
    sets += [(name, encoding, seed) for name, encoding in encodings.items() for seed in range(seeds)]
    records = [
        (*key, lag, 0.1 + 0.2 * (lag % 4 == 0) * (key[0] == "test") + rng.uniform(0, 0.02), 0.01, 1 - lag / 20)
        for key in sets
        for lag in range(1, 16)
    ]
    return pd.DataFrame(records, columns=["experiment", "encoding", "seed", *FORM])


def _embeddings(rng: np.random.Generator, names: list[str], seeds: int, dimension: int = 16) -> pd.DataFrame:
    """Return an embedding table for each seed of each experiment; every table except a Gaussian one encodes fifths."""
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


def _grid(rng: np.random.Generator, names: list[str], seeds: int) -> pd.DataFrame:
    """Return four tuning points of each arm with each seed: the second is chosen and the last failed."""
    points = [(dimension, scale) for dimension in (32, 64) for scale in (1.0, 0.5)]
    records = [
        (name, seed, dimension, scale, 2 + rng.uniform(), 2.5 + rng.uniform(), place == 1)
        for name in names
        for seed in range(seeds)
        for place, (dimension, scale) in enumerate(points[:-1])
    ]
    records += [(name, seed, *points[-1], math.nan, math.nan, False) for name in names for seed in range(seeds)]
    return pd.DataFrame(records, columns=["arm", "seed", "dimension", "scale", "distance", "nll", "chosen"])


def _anomalies(names: list[str]) -> pd.DataFrame:
    """Return one anomaly of the first seed of each experiment: most of its samples are empty."""
    records = [(name, 0, anomaly, math.nan, math.nan, 0.61) for name in names for anomaly in ("samples-empty",)]
    return pd.DataFrame(records, columns=["experiment", "seed", "anomaly", "first", "last", "value"])


def _audits(rng: np.random.Generator, rows: Sequence[Row], seeds: int) -> pd.DataFrame:
    """Return three audited ages of the diffusion models, whose bounds follow the distance, and of embeddings alone."""
    records = []
    for name, label, _, distance, nll, _ in rows:
        alone = name == "embeddings-only"
        for seed in range(1 if alone else seeds) if alone or label.startswith("Diffusion") else ():
            for age in (500, 1000, 2500):
                quality = 3 * rng.normal() / 10 - math.log(age / 2500)
                records.append(
                    {
                        "experiment": name,
                        "seed": seed,
                        "age": age,
                        "bits_per_word": 10.0 ** (-5 - age / 500 + rng.normal()),
                        "nll": nll + quality / 5,
                        "nll_error": 0.02,
                        "teacher_gap": distance / 10 + quality / 10,
                        "distance": distance + quality,
                    }
                )
    columns = ("experiment", "seed", "age", "bits_per_word", "nll", "nll_error", "teacher_gap", "distance")
    return pd.DataFrame(records, columns=columns)


def _trajectory(rng: np.random.Generator, names: list[str], seeds: int) -> pd.DataFrame:
    """Return twenty sampling steps of each seed of each experiment: fewer tokens change and margins grow."""
    return pd.DataFrame(
        {
            "experiment": name,
            "seed": seed,
            "step": step,
            "t": 1 - step / 20,
            "flips": math.exp(-step / 5) + rng.uniform(0, 0.02) if step else math.nan,
            "margin": 0.4 * step / 20 + rng.uniform(0, 0.02),
            "entropy": 2 + step / 25 if step else math.nan,  # the first step has no notes
            "validity": step / 20,
        }
        for name in names
        for seed in range(seeds)
        for step in range(20)
    )


def _samplers(rng: np.random.Generator, names: list[str], seeds: int) -> pd.DataFrame:
    """Return every sampler at every cost. All improve with cost, and the published one is the worst."""
    costs = [(row.name, n) for row in SAMPLERS for n in EVALUATIONS] + [(REFERENCE, 2000)]
    return pd.DataFrame(
        {
            "experiment": name,
            "seed": seed,
            "sampler": row,
            "evaluations": n,
            "distance": (2.5 if row == REFERENCE else 2) + 5 / n + rng.normal() / 50,
            "classifier_auc": 0.7 + rng.normal() / 50,
            "validity": 0.97,
            "entropy": 4.1,
            "seconds": 0.12 * n,
        }
        for name in names
        for seed in range(seeds)
        for row, n in costs
    )


def _fingerprints(trials: pd.DataFrame) -> pd.DataFrame:
    place = {"commit": "abc", "threads": 1, "packages": {"torch": "2.13.0"}}
    names = trials["experiment"] + "-" + trials["seed"].astype(str)
    return trials[["experiment", "seed"]].assign(weights=names, samples=names, places=json.dumps([place]))

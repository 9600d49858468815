"""Make up results of trials, as large and as irregular as real ones and the same in every process."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eval.metrics.table import METRICS, refused
from eval.results.frames import Results
from eval.scoring.measures import DISTANCE, MEASURES
from replication.corpora.corpus import CORPORA
from replication.corpora.reading import load
from replication.midi.piece import Beats
from replication.tokens.encodings import Paper
from replication.windows.cutting import Cutting
from replication.windows.data_card import facts
from replication.windows.prepared import prepare
from tests.support import made_up_music, made_up_training

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replication.midi.piece import TimeGrid

Row = tuple[str, str, str, float, float, bool]

# name, label, colour, distance in floors, nats per token, exact; controls made of real windows have no likelihood
EXPERIMENTS: tuple[Row, ...] = (
    ("e2e", "Diffusion-LM, end-to-end", "#0072B2", 2.1, 2.31, False),
    ("gaussian", "Diffusion-LM, Gaussian", "#D55E00", 2.9, 2.52, False),
    ("pretrained", "Diffusion-LM, skip-gram", "#009E73", 2.4, 2.44, False),
    ("pretrained-ar", "Diffusion-LM, from AR", "#56B4E9", 2.3, 2.40, False),
    ("e2e-small", "Diffusion-LM, smaller", "#332288", 2.5, 2.47, False),
    ("autoregressive", "Autoregressive", "#CC79A7", 1.1, 1.62, True),
    ("unigram", "Unigram (control)", "#E69F00", 14.0, 3.31, True),
    ("test-copy", "Test copy (control)", "#333333", 0.0, math.nan, True),
    ("onsets-shuffled", "Onsets shuffled (control)", "#8A6F4D", 4.9, math.nan, True),
    ("replay", "Replay (control)", "#707070", 1.02, math.inf, True),
)
# The same in another encoding.
TRIPLES: tuple[Row, ...] = (
    ("e2e-triples", "Diffusion-LM, triples", "#003366", 2.6, 1.41, False),
    ("autoregressive-triples", "Autoregressive, triples", "#7A0019", 1.4, 0.93, True),
)
UNDEFINED = ("gaussian", "unigram")  # three of their samples have no notes
CHANGED = {"test-copy": 0.0, "onsets-shuffled": 0.337}  # share of the test windows
IN_FLOORS = ("distance", "frechet", "intervals", "chords", "bar_similarity")  # measures that ratios are given of
BEATS = Beats(steps_per_beat=4)
TOKENS_PER_NOTE = {"paper": 2.4, "triples": 3.6}
# metric: mean and standard deviation of real music; others are about 0.5
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


def made_up(
    *,
    seeds: int = 3,
    samples: int = 40,
    windows: int = 80,
    without: tuple[str, ...] = (),
    triples: bool = False,
    grid: TimeGrid = BEATS,
) -> Results:
    """Return results of some seeds of each experiment but those in `without`, in one encoding or in two, on a grid."""
    rng = np.random.default_rng(0)
    rows = [row for row in (*EXPERIMENTS, *(TRIPLES if triples else ())) if row[0] not in without]
    names = [name for name, *_ in rows]
    diffusion = [name for name, *_, exact in rows if not exact]
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
        "tuned": {name: "d 32, scale 0.5" for name in ("e2e", "gaussian", "pretrained") if name in names},
    }
    paper = {
        "name": "paper",
        "digest": "aa",
        "train": 2400,
        "validation": 150,
        "test": windows,
        "songs": 37,
        "vocabulary": 142,
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
    }
    other |= {"ln_vocabulary": math.log(205), "unigram_entropy": 3.71, "floor_p95": 1.21}
    experiments = pd.DataFrame(
        {"name": name, "label": label, "colour": colour, "note": "Made up.", "encoding": encoding_of(name)}
        | {"control": is_control(name)}
        for name, label, colour, *_ in rows
    )
    metrics = [name for name in METRICS if name not in refused(grid)]
    trials, measures = _trials(rng, rows, seeds), _measures(rng, rows, seeds, samples)
    audits = made_up_training.audits(rng, seeds)
    return Results(
        card=_card(),
        about=about,
        encodings=pd.DataFrame([paper, *([other] if triples else [])]),
        experiments=experiments,
        trials=trials,
        anomalies=made_up_training.anomalies([name for name in names if name == "unigram"]),
        scores=_scores(rng, rows, seeds, (samples, windows), metrics),
        distances=_distances(rng, rows, seeds, samples, metrics),
        measures=measures if isinstance(grid, Beats) else measures[measures["measure"] != "bar_similarity"],
        raw=_raw(rng, rows, seeds),
        curves=_curves(rng, rows, seeds),
        notes=made_up_music.notes(rng, {name: encoding_of(name) for name in names}),
        pairs=made_up_music.pairs(rng, [name for name in names if name in {"e2e", "autoregressive"}]),
        form=made_up_music.form(rng, {name: encoding_of(name) for name in names}, seeds),
        embeddings=made_up_music.embeddings(rng, diffusion, seeds),
        trajectory=made_up_training.trajectory(rng, diffusion, seeds),
        trajectory_notes=made_up_music.clearer(rng, diffusion),
        grid=made_up_training.grid(rng, [name for name in names if name in {"e2e", "gaussian", "pretrained"}]),
        audits=audits,
        samplers=made_up_training.samplers(rng, [name for name in names if name in {"e2e", "gaussian"}], seeds),
        fingerprints=made_up_training.fingerprints(trials),
    )


@cache
def _card() -> dict[str, Any]:
    """Return the data card of a real corpus; it is not made up."""
    corpus, cutting = CORPORA["synthetic"], Cutting(length=66)
    with TemporaryDirectory() as folder:
        dataset = prepare(corpus, Paper(), cutting, cache=Path(folder))
        return facts(corpus, load(corpus, Path(folder)), dataset, encoding="paper", cutting=cutting)


def encoding_of(name: str) -> str:
    """Return the encoding of an experiment, the end of its name."""
    return "triples" if name.endswith("-triples") else "paper"


def is_control(name: str) -> bool:
    """Return whether an experiment is a control."""
    return name in {"unigram", "replay", "test-copy", "onsets-shuffled"}


def seeds_of(name: str, seeds: int) -> range:
    """Return the seeds of an experiment; controls have one."""
    return range(1 if is_control(name) else seeds)


def _trials(rng: np.random.Generator, rows: Sequence[Row], seeds: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "experiment": name,
            "seed": seed,
            "parameters": 1_234_567 if name != "unigram" else 142,
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
            # the check of a bound is of the first seed
            **dict.fromkeys(("nll_every", "nll_drawn"), nll if not exact and not seed else math.nan),
            "nll_drawn_error": 0.02 if not exact and not seed else math.nan,
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
                if about.ideal is None:  # real music has a value of its own
                    floor, p95 = 0.4, math.nan
                    value = floor * rng.uniform(0.8, 1.2)
                else:
                    ideal = about.ideal
                    away = 0.01 if ideal < 1 else -0.05
                    floor, p95 = ideal + away, ideal + 1.3 * away
                    value = ideal + away * away_by * rng.uniform(0.9, 1.1)
                p = rng.uniform() if measure == "mmd" else math.nan
                if measure == DISTANCE:  # a copy of the test split has none
                    value = floor * max(0.0, away_by + rng.normal() / 10) if away_by else 0.0
                if measure == "nan_rate":
                    value, floor = 0.075 if name in UNDEFINED else 0.0, math.nan
                ratio = value / floor if measure in IN_FLOORS or measure.startswith("copy_") else math.nan
                record = {"experiment": name, "seed": seed, "measure": measure, "value": value, "floor": floor}
                records.append(record | {"floor_p95": p95, "ratio": ratio, "p": p, "n": samples})
    return pd.DataFrame(records)


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

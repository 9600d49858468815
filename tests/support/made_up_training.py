"""Make up a tuning grid, anomalies, audits and sampler studies for results of trials."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pandas as pd

from eval.results.sampler_study import EVALUATIONS, REFERENCE, SAMPLERS

if TYPE_CHECKING:
    import numpy as np


def grid(rng: np.random.Generator, names: list[str]) -> pd.DataFrame:
    """Return four points of each arm: the second is chosen, the last has failed."""
    points = [(dimension, scale) for dimension in (32, 64) for scale in (1.0, 0.5)]
    records = [
        (name, dimension, scale, 2 + rng.uniform(), 2.5 + rng.uniform(), place == 1)
        for name in names
        for place, (dimension, scale) in enumerate(points[:-1])
    ]
    records += [(name, *points[-1], math.nan, math.nan, False) for name in names]  # failed
    return pd.DataFrame(records, columns=["arm", "dimension", "scale", "distance", "nll", "chosen"])


def anomalies(names: list[str]) -> pd.DataFrame:
    """Return an anomaly of the first seed of each experiment."""
    records = [(name, 0, anomaly, math.nan, math.nan, 0.61) for name in names for anomaly in ("samples-empty",)]
    return pd.DataFrame(records, columns=["experiment", "seed", "anomaly", "first", "last", "value"])


def audits(rng: np.random.Generator, seeds: int) -> pd.DataFrame:
    """Return seven checkpoints of each seed of the recipe of the paper."""
    return pd.DataFrame(
        {
            "experiment": "recipe",
            "seed": seed,
            "step": step,
            "bits_per_word": 7 * math.exp(-step / 150) + 1e-4,
            "nll": 4.9 - step / 1000 + rng.normal() / 50,
            "distance": 20 - step / 150 + rng.normal(),
        }
        for seed in range(seeds)
        for step in (0, 200, 400, 800, 1000, 1500, 2000)
    )


def trajectory(rng: np.random.Generator, names: list[str], seeds: int) -> pd.DataFrame:
    """Return twenty evaluations of each seed of each experiment, with fewer changes and more certainty at each."""
    return pd.DataFrame(
        {
            "experiment": name,
            "seed": seed,
            "step": step,
            "t": 1 - step / 20,
            "flips": math.exp(-step / 5) + rng.uniform(0, 0.02) if step else math.nan,
            "margin": 0.4 * step / 20 + rng.uniform(0, 0.02),
            "entropy": 2 + step / 25 if step else math.nan,  # at first nobody plays
            "validity": step / 20,
        }
        for name in names
        for seed in range(seeds)
        for step in range(20)
    )


def samplers(rng: np.random.Generator, names: list[str], seeds: int) -> pd.DataFrame:
    """Return every sampler at every cost; all improve with cost, and the published one is worst."""
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


def fingerprints(trials: pd.DataFrame) -> pd.DataFrame:
    place = {"commit": "abc", "threads": 1, "packages": {"torch": "2.13.0"}}
    names = trials["experiment"] + "-" + trials["seed"].astype(str)
    return trials[["experiment", "seed"]].assign(weights=names, samples=names, places=json.dumps([place]))

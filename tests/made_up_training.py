"""A grid that nobody searched and audits of weights that nobody trained, for results of trials that nobody ran."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

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


def audits(rng: np.random.Generator, seeds: int) -> pd.DataFrame:
    """Return seven milestones of each seed of the report's recipe."""
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

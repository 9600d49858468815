"""What tables and figures ask of the results: the numbers of a seed, and the sentence that says how many there are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.compare import Interval, interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from eval.results import Results

TEST = "test"  # the experiment whose scores and notes are real music
INTERVALS = "95 % Student t intervals over seeds"


def of(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Return the rows of one experiment."""
    return frame[frame["experiment"] == experiment]


def by_seed(results: Results, experiment: str, column: str) -> pd.Series[float]:
    """Return a column of the trials of one experiment by seed."""
    return of(results.trials, experiment).set_index("seed")[column].astype(float).sort_index()


def is_bound(results: Results, experiment: str) -> bool:
    """Whether the likelihood of an experiment is bounded, not known."""
    return not of(results.trials, experiment)["exact"].astype(bool).all()


def over_seeds(values: Sequence[float] | pd.Series[float]) -> Interval:
    """Return the mean over seeds and its interval; a mean that is not finite has none."""
    array = np.asarray(values, dtype=float)
    if np.isfinite(array).all():
        return interval(array.tolist())
    return Interval(float(array.sum()), math.nan, math.nan)


def differences(results: Results, experiment: str, metric: str) -> pd.Series[float]:
    """Return by seed the mean of a metric over pieces, minus that of the test split."""
    scores = of(results.scores, experiment)
    return scores.groupby("seed")[metric].mean() - of(results.scores, TEST)[metric].mean()


def count(values: Sequence[int] | pd.Series[int]) -> str:
    """Return the number that all have in common, or the smallest and the largest."""
    sizes = sorted(set(values))
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else "0"


def setting(results: Results) -> str:
    """Return the sentence with which every caption ends: scale, corpus, and how much of everything there was."""
    about = results.about
    trials = results.trials.groupby("experiment")["seed"].nunique()
    generated = results.scores[results.scores["experiment"] != TEST]
    samples = generated.groupby(["experiment", "seed"]).size()
    real = len(of(results.scores, TEST))
    return (
        f"Scale {about['scale']}, corpus {about['corpus']}: {plural(count(trials), 'seed')} per model, "
        f"{plural(count(samples), 'sample')} per seed, {plural(str(real), 'test window')} from "
        f"{plural(str(about['songs']), 'song')}, {about['length']} tokens per window."
    )


def plural(amount: str, thing: str) -> str:
    """Return an amount with its unit: 1 seed, 3 seeds."""
    return f"{amount} {thing}" + ("" if amount == "1" else "s")


def between(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: a, b and c; names that have commas are parted by semicolons."""
    comma = "; " if any("," in name for name in names) else ", "
    return " and ".join([comma.join(names[:-1]), names[-1]] if len(names) > 1 else names)


def labels(results: Results) -> dict[str, str]:
    """Return the names for people by experiment, in the order of the tables."""
    return dict(zip(results.experiments["name"], results.experiments["label"], strict=True))


def colours(results: Results) -> dict[str, Any]:
    """Return the colours by experiment."""
    return dict(zip(results.experiments["name"], results.experiments["colour"], strict=True))

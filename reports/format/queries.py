"""Queries of the results: labels, rows and means by experiment, measure and seed, as tables and figures need them."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.metrics.table import METRICS, features_on
from eval.scoring.measures import IN_FLOORS, MEASURES
from eval.statistics.intervals import Interval, difference, interval, positive_interval, share_interval
from replication.midi.piece import Beats, Seconds
from reports.format.figure import GREY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

    from eval.results.frames import Results

TEST = "test"  # the experiment whose scores and notes are real music
# A few of the controls: copied real music, distorted real music, and no music.
SOME_CONTROLS = ("replay", "onsets-shuffled", "unigram")
_LEVEL = 0.05  # significance level of p values


def rows_of(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Return the rows of one experiment."""
    return frame[frame["experiment"] == experiment]


def encoding_of(results: Results, experiment: str) -> str:
    """Return the encoding of an experiment."""
    return str(results.experiments.set_index("name").loc[experiment, "encoding"])


def has_several_encodings(results: Results) -> bool:
    """Return whether there is more than one encoding: a token is then not a common unit."""
    return len(results.encodings) > 1


def labels(results: Results) -> dict[str, str]:
    """Return the labels of all experiments by name, in the order of the tables."""
    return dict(zip(results.experiments["name"], results.experiments["label"], strict=True))


def models(results: Results) -> dict[str, str]:
    """Return the labels of the models by name."""
    return {name: label for name, label in labels(results).items() if name not in controls(results)}


def controls(results: Results) -> dict[str, str]:
    """Return the labels of the controls by name."""
    chosen = results.experiments[results.experiments["control"].astype(bool)]
    return dict(zip(chosen["name"], chosen["label"], strict=True))


def with_likelihood(results: Results) -> dict[str, str]:
    """Return the labels of the experiments that have a likelihood, finite or infinite, by name."""
    known = set(results.trials.dropna(subset="nll")["experiment"])
    return {name: label for name, label in labels(results).items() if name in known}


def colours(results: Results, *, grey_controls: bool = False) -> dict[str, Any]:
    """Return the colours by experiment; with `grey_controls`, all controls are grey."""
    found = dict(zip(results.experiments["name"], results.experiments["colour"], strict=True))
    return found | dict.fromkeys(controls(results), GREY) if grey_controls else found


def metrics_of(results: Results) -> list[str]:
    """Return the metrics that are defined on the time grid of the corpus."""
    return [name for name in METRICS if name in results.scores]


def features(results: Results) -> list[str]:
    """Return the metrics that the mean distance averages."""
    time_grid = Beats(steps_per_beat=4) if results.about["unit"] == "beat" else Seconds(steps_per_second=8.0)
    return [name for name in features_on(time_grid) if name in results.scores]


def measure_rows(results: Results, experiment: str, measure: str) -> pd.DataFrame:
    """Return the rows of one measure of one experiment by seed."""
    rows = rows_of(results.measures, experiment)
    return rows[rows["measure"] == measure].set_index("seed").sort_index()


def distance_of(results: Results, experiment: str) -> pd.Series[float]:
    """Return the distance of one experiment to real music, in multiples of the noise floor, by seed."""
    return measure_rows(results, experiment, "distance")["ratio"].astype(float)


def measures_of(results: Results) -> list[str]:
    """Return the rows of `MEASURES` that at least one experiment has a value of; other measures are ignored."""
    known = set(results.measures.dropna(subset="value")["measure"])
    return [name for name in MEASURES if name in known]


def floor_of(results: Results, encoding: str, measure: str, column: str = "floor") -> float:
    """Return the value of real music in a measure, which all experiments in an encoding share up to rounding."""
    own = results.experiments[results.experiments["encoding"] == encoding]["name"]
    rows = results.measures[results.measures["experiment"].isin(own) & (results.measures["measure"] == measure)]
    return float(rows[column].mean())


def indistinguishable(measure: str, rows: pd.DataFrame) -> bool:
    """Return whether the mean over seeds is as close to the ideal as 95 % of noise floors.

    A value on the other side of the ideal is judged by its distance from the ideal. False where the median p value over
    seeds of a test is at most 0.05, and for measures without an ideal.
    """
    ideal = MEASURES[measure].ideal
    if ideal is None or rows.empty:
        return False
    inside = abs(rows["value"].mean(skipna=False) - ideal) <= rows["floor_p95"].mean() - ideal
    return bool(inside and not rows["p"].median() <= _LEVEL)


def real_scores(results: Results, encoding: str) -> pd.DataFrame:
    """Return the scores of the test split in an encoding."""
    test = rows_of(results.scores, TEST)
    return test[test["encoding"] == encoding]


def real_labels(results: Results) -> dict[str, str]:
    """Return the labels of real music by encoding."""
    names = results.encodings["name"]
    return {name: f"Test split, {name}" if has_several_encodings(results) else "Test split" for name in names}


def encoding_bands(results: Results, names: Iterable[str]) -> list[tuple[str, float, float]]:
    """Return runs of experiments that share an encoding: the encoding, and where its rows of a chart begin and end."""
    result: list[tuple[str, float, float]] = []
    for row, encoding in enumerate(encoding_of(results, name) for name in names):
        start = result.pop()[1] if result and result[-1][0] == encoding else row - 0.5
        result.append((encoding, start, row + 0.5))
    return result


def by_seed(results: Results, experiment: str, column: str) -> pd.Series[float]:
    """Return a column of the trials of one experiment by seed."""
    return rows_of(results.trials, experiment).set_index("seed")[column].astype(float).sort_index()


def is_bound(results: Results, experiment: str) -> bool:
    """Return whether the likelihood of an experiment is a bound, not an exact value."""
    return not rows_of(results.trials, experiment)["exact"].astype(bool).all()


def comparable_nll(results: Results) -> tuple[str, str]:
    """Return the column of the trials with comparable likelihoods, and the unit they are per: a note or a token."""
    return ("nll_note", "note") if has_several_encodings(results) else ("nll", "token")


def over_seeds(
    values: Sequence[float] | pd.Series[float], kind: Callable[[Sequence[float]], Interval] = interval
) -> Interval:
    """Return the mean over seeds and its interval of a kind; a mean that is not finite has no interval."""
    array = np.asarray(values, dtype=float)
    if np.isfinite(array).all():
        return kind(array.tolist())
    return Interval(float(array.sum()), math.nan, math.nan)


def validity_of(results: Results, experiment: str) -> Interval:
    """Return the share of valid samples of one experiment, 0 to 1, and its interval over seeds."""
    samples = max(len(rows_of(results.scores, experiment)), 1)
    return over_seeds(by_seed(results, experiment, "validity"), partial(share_interval, windows=samples))


def measure_of(results: Results, experiment: str, measure: str) -> Interval:
    """Return the value of a measure of one experiment and its interval over seeds, which stays in the measure's range.

    The classifier's area under the curve is on the logit scale, distances from 0 are on the log scale.
    """
    rows = measure_rows(results, experiment, measure)
    if measure == "classifier_auc":
        return over_seeds(rows["value"], partial(share_interval, windows=max(int(rows["n"].sum()), 1)))
    return over_seeds(rows["value"], positive_interval if measure in IN_FLOORS else interval)


def deviation(results: Results, experiment: str, metric: str) -> Interval:
    """Return the mean of a metric over pieces minus that of the test split in the same encoding; see `difference`."""
    music = real_scores(results, encoding_of(results, experiment))
    seeds = [values.to_numpy() for _, values in rows_of(results.scores, experiment).groupby("seed")[metric]]
    if not seeds or music.empty:
        return Interval(math.nan, math.nan, math.nan)
    return difference(seeds, music[metric], music["song"])


def metric_distance(results: Results, experiment: str, metric: str, column: str) -> float:
    """Return the mean over seeds of a column of a metric's distances to the test split."""
    distances = rows_of(results.distances, experiment)
    values: pd.Series[float] = distances[distances["metric"] == metric][column]
    return over_seeds(values).mean


def undefined_share(results: Results, encoding: str) -> float:
    """Return the share of test windows that lack one of the metrics of the mean distance."""
    return float(real_scores(results, encoding)[features(results)].isna().any(axis=1).mean())

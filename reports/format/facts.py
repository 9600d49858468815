"""What tables and figures ask of the results: the numbers of a seed, and the sentence that says how many there are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.metrics.table import METRICS, features_on
from eval.results.anomalies import LOST
from eval.scoring.measures import MEASURES
from eval.statistics.intervals import Interval, difference, interval
from replication.midi.piece import Beats, Seconds
from reports.format.picture import GREY
from reports.format.table import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from eval.results.frames import Results

TEST = "test"  # the experiment whose scores and notes are real music
# A few of the controls: nothing but real music, real music that is spoilt, and no music.
SOME_CONTROLS = ("replay", "onsets-shuffled", "unigram")
INTERVALS = "95 % Student t intervals over seeds"
_LEVEL = 0.05  # of p values
PER_NOTE = "Per note, since a token says more in one encoding than in another."


def of(frame: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Return the rows of one experiment."""
    return frame[frame["experiment"] == experiment]


def encoding_of(results: Results, experiment: str) -> str:
    """Return the encoding of an experiment."""
    return str(results.experiments.set_index("name").loc[experiment, "encoding"])


def several(results: Results) -> bool:
    """Whether there is more than one encoding: then tokens are no common unit, and real music is named with its own."""
    return len(results.encodings) > 1


def models(results: Results) -> dict[str, str]:
    """Return the names for people of what competes, by experiment."""
    return {name: label for name, label in labels(results).items() if name not in controls(results)}


def controls(results: Results) -> dict[str, str]:
    """Return the names for people of what shows what the measures can see, by experiment."""
    chosen = results.experiments[results.experiments["control"].astype(bool)]
    return dict(zip(chosen["name"], chosen["label"], strict=True))


def measured(results: Results) -> dict[str, str]:
    """Return the names for people of experiments that have a likelihood, be it infinite, by experiment."""
    known = set(results.trials.dropna(subset="nll")["experiment"])
    return {name: label for name, label in labels(results).items() if name in known}


def metrics_of(results: Results) -> list[str]:
    """Return the metrics that the grid of the corpus admits."""
    return [name for name in METRICS if name in results.scores]


def features(results: Results) -> list[str]:
    """Return the metrics that the mean distance averages."""
    grid = Beats(steps_per_beat=4) if results.about["unit"] == "beat" else Seconds(steps_per_second=8.0)
    return [name for name in features_on(grid) if name in results.scores]


def panel_of(results: Results, experiment: str, measure: str) -> pd.DataFrame:
    """Return the rows of one measure of one experiment by seed."""
    rows = of(results.measures, experiment)
    return rows[rows["measure"] == measure].set_index("seed").sort_index()


def distance_of(results: Results, experiment: str) -> pd.Series[float]:
    """Return the distance to real music of one experiment, in multiples of the noise floor, by seed."""
    return panel_of(results, experiment, "distance")["ratio"].astype(float)


def measures_of(results: Results) -> list[str]:
    """Return the measures that somebody has a value of, in the order of the panel."""
    known = set(results.measures.dropna(subset="value")["measure"])
    return [name for name in MEASURES if name in known]


def floor_of(results: Results, encoding: str, measure: str, column: str = "floor") -> float:
    """Return what real music has in a measure: the same for all experiments in an encoding but for rounding."""
    own = results.experiments[results.experiments["encoding"] == encoding]["name"]
    rows = results.measures[results.measures["experiment"].isin(own) & (results.measures["measure"] == measure)]
    return float(rows[column].mean())


def near(measure: str, rows: pd.DataFrame) -> bool:
    """Whether the mean over seeds is as near to the ideal as 95 % of floors, so that it might be real music.

    Being as far on the other side of the ideal counts as being as far. Never where a test, by its median p value over
    seeds, tells the two apart at level 0.05, nor of a measure without an ideal.
    """
    ideal = MEASURES[measure].ideal
    if ideal is None or rows.empty:
        return False
    inside = abs(rows["value"].mean(skipna=False) - ideal) <= rows["floor_p95"].mean() - ideal
    return bool(inside and not rows["p"].median() <= _LEVEL)


def changed(results: Results) -> list[str]:
    """Return the remarks on controls that leave some of the test windows as they are."""
    shares = results.trials.groupby("experiment", sort=False)["changed"].mean()
    return [
        f"{label}: {number(100 * shares[name], 1)} % of its windows are changed."
        for name, label in controls(results).items()
        if shares[name] < 1
    ]


def real(results: Results, encoding: str) -> pd.DataFrame:
    """Return the scores of the test split in an encoding."""
    test = of(results.scores, TEST)
    return test[test["encoding"] == encoding]


def real_labels(results: Results) -> dict[str, str]:
    """Return the names for people of real music by encoding."""
    names = results.encodings["name"]
    return {name: f"Test split, {name}" if several(results) else "Test split" for name in names}


def each(results: Results, column: str, digits: int | None = None) -> str:
    """Return a fact about the encodings: 142, or 142 (paper) and 158 (triples) where they differ."""
    values = [str(value) if digits is None else number(value, digits) for value in results.encodings[column]]
    if len(set(values)) == 1:
        return values[0]
    names = results.encodings["name"]
    return between([f"{value} ({name})" for value, name in zip(values, names, strict=True)])


def stretches(results: Results, names: Iterable[str]) -> list[tuple[str, float, float]]:
    """Return the encodings of experiments in their order, and where the rows of each begin and end in a chart."""
    result: list[tuple[str, float, float]] = []
    for row, encoding in enumerate(encoding_of(results, name) for name in names):
        start = result.pop()[1] if result and result[-1][0] == encoding else row - 0.5
        result.append((encoding, start, row + 0.5))
    return result


def by_seed(results: Results, experiment: str, column: str) -> pd.Series[float]:
    """Return a column of the trials of one experiment by seed."""
    return of(results.trials, experiment).set_index("seed")[column].astype(float).sort_index()


def is_bound(results: Results, experiment: str) -> bool:
    """Whether the likelihood of an experiment is bounded, not known."""
    return not of(results.trials, experiment)["exact"].astype(bool).all()


def nats(results: Results) -> tuple[str, str]:
    """Return the column of the trials that has likelihoods which can be compared, and what they are per."""
    return ("nll_note", "note") if several(results) else ("nll", "token")


def over_seeds(values: Sequence[float] | pd.Series[float]) -> Interval:
    """Return the mean over seeds and its interval; a mean that is not finite has none."""
    array = np.asarray(values, dtype=float)
    if np.isfinite(array).all():
        return interval(array.tolist())
    return Interval(float(array.sum()), math.nan, math.nan)


def deviation(results: Results, experiment: str, metric: str) -> Interval:
    """Return the mean of a metric over pieces minus that of the test split in the same encoding; see `difference`."""
    music = real(results, encoding_of(results, experiment))
    seeds = [values.to_numpy() for _, values in of(results.scores, experiment).groupby("seed")[metric]]
    if not seeds or music.empty:
        return Interval(math.nan, math.nan, math.nan)
    return difference(seeds, music[metric], music["song"])


def count(values: Sequence[int] | pd.Series[int]) -> str:
    """Return the number that all have in common, or the smallest and the largest."""
    sizes = sorted(set(values))
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else "0"


def setting(results: Results) -> str:
    """Return the sentence with which every caption ends: scale, corpus, and how much of everything there was."""
    about, names = results.about, models(results) or labels(results)
    trials = results.trials[results.trials["experiment"].isin(names)].groupby("experiment")["seed"].nunique()
    samples = results.scores[results.scores["experiment"].isin(names)].groupby(["experiment", "seed"]).size()
    sentence = (
        f"Scale {about['scale']}, corpus {about['corpus']}: {plural(count(trials), 'seed')} per model, "
        f"{plural(count(samples), 'sample')} per seed, {plural(each(results, 'test'), 'test window')} from "
        f"{plural(each(results, 'songs'), 'song')}, {about['length']} tokens per window."
        f"{_lost(results)}"
    )
    if not several(results):
        return sentence
    return f"{sentence} A model is compared with the test split in its own encoding."


def _lost(results: Results) -> str:
    """Return the sentence that names the trials which are in no mean, if there are any."""
    names, found = labels(results), results.events[results.events["event"].isin(LOST)]
    lost = [f"{names.get(row.experiment, row.experiment)} seed {row.seed} ({row.event})" for row in found.itertuples()]
    return f" Missing: {between(lost)}." if lost else ""


def summary(results: Results) -> str:
    """Return two sentences: what was trained on what, and what was done with it."""
    about = results.about
    rows = [
        between([f"{row[split]} {split}" for split in ("train", "validation", "test")])
        + f" windows of {about['length']} tokens, {row['vocabulary']} words"
        for row in results.encodings.to_dict("records")
    ]
    if several(results):
        rows = [f"in encoding {name} {facts}" for name, facts in zip(results.encodings["name"], rows, strict=True)]
    names = models(results)
    seeds = count(results.trials[results.trials["experiment"].isin(names)].groupby("experiment")["seed"].nunique())
    return (
        f"{plural(str(len(names)), 'model')} shared one split of the corpus {about['corpus']} "
        f"({'; '.join(rows)}) and, where they train by gradients, one budget of {about['steps']} steps of "
        f"{about['batch']} windows. Each was trained with {plural(seeds, 'seed')}, sampled (diffusion: "
        f"{about['evaluations']} network evaluations per sample) and compared with the test split, "
        f"beside {plural(str(len(controls(results))), 'control')} that show what the measures can see."
    )


def place(results: Results) -> str:
    """Return the sentence that says where numbers are from that have sizes of their own."""
    return f"Scale {results.about['scale']}, corpus {results.about['corpus']}."


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


def muted(results: Results) -> dict[str, Any]:
    """Return the colours by experiment, controls all grey."""
    return colours(results) | dict.fromkeys(controls(results), GREY)


def colours(results: Results) -> dict[str, Any]:
    """Return the colours by experiment."""
    return dict(zip(results.experiments["name"], results.experiments["colour"], strict=True))

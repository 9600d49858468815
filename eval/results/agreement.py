"""Compare two runs of one comparison, by two rules.

Results must be equal where they can be: to the bit on machines of one class, and to rounding on any machine where
nothing is trained (real music, models that count, changed real music). Everywhere else rounding grows in training until
weights differ as much as those of another seed. There the mean over seeds must lie within the prediction interval that
the spread of the reference over its seeds gives.
"""

from __future__ import annotations

import functools
import json
import math
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.scoring.experiments import EXPERIMENTS
from eval.scoring.measures import DISTANCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eval.results.frames import Results

Key = tuple[str, int]  # experiment and seed
Environment = dict[str, Any]  # flattened: {"packages.torch": "2.13.0"}

LEVEL = 0.01  # share of faithful runs that the prediction interval reports as different, over all its measures
ROUNDING = 1e-6  # largest difference due to the order of sums, as a share of the reference if that is above 1
RULES = {
    "equal": f"equal to the bit on machines of one class, else to {ROUNDING:g}, since nothing was trained",
    "interval": f"mean over seeds within the {1 - LEVEL:.0%} prediction interval that the seeds of the reference give,"
    " pooled over its experiments, with Bonferroni's correction",
}
# Parts of a trial's environment that do not affect the bits; all other recorded parts may.
WITHOUT_INFLUENCE = {"commit", "platform", "cores", "packages.etude", "packages.mlflow"}
OF_THE_TEACHER = ("teacher_nll", "teacher_ruled_out")  # measures that depend on a second network


class Compared(NamedTuple):
    """A measure in both runs.

    Attributes:
        measure: Name of the measure.
        of: Trial, experiment or encoding that it belongs to.
        rule: Key in `RULES`.
        difference: Absolute difference; infinite if only the reference has a number.
        tolerance: Largest difference that the rule allows.
    """

    measure: str
    of: str
    rule: str
    difference: float
    tolerance: float

    @property
    def differs(self) -> bool:
        """Whether the difference is larger than allowed."""
        return self.difference > self.tolerance


@functools.lru_cache(maxsize=2)
def environments(results: Results) -> dict[Key, list[Environment]]:
    """Return the environments that each trial was run in."""
    rows = results.fingerprints[["experiment", "seed", "places"]].itertuples(index=False)
    return {(name, seed): [dict(_flat(place)) for place in json.loads(text)] for name, seed, text in rows}


def _flat(environment: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in environment.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def different_parts(here: list[Environment], there: list[Environment]) -> dict[str, tuple[Any, Any]]:
    """Return the parts in which the environments of a trial differ: (here, there) by name, None if not recorded."""
    return {
        name: (one.get(name), other.get(name))
        for one, other in product(here, there)
        for name in dict.fromkeys((*one, *other))
        if one.get(name) != other.get(name)
    }


def same_class(here: Results, there: Results, key: Key) -> bool:
    """Return whether a trial was run on machines of one class, which must give the same bits."""
    return not different_parts(environments(here)[key], environments(there)[key]).keys() - WITHOUT_INFLUENCE


def different_hashes(here: Results, there: Results, what: str) -> tuple[list[Key], int]:
    """Return the trials of both runs whose "weights" or "samples" differ, and the number of trials that have any."""
    ours, theirs = (
        dict(zip(zip(frame["experiment"], frame["seed"], strict=True), frame[what], strict=True))
        for frame in (here.fingerprints, there.fingerprints)
    )
    keys = [key for key, value in theirs.items() if value and key in ours]
    return [key for key in keys if ours[key] != theirs[key]], len(keys)


def compare(here: Results, there: Results) -> list[Compared]:
    """Return each measure of the reference `there` compared with the same measure `here`, for the common trials."""
    other_teacher = any(name == "teacher" for name, _ in different_hashes(here, there, "weights")[0])
    ours, theirs = (_values(run, OF_THE_TEACHER if other_teacher else ()) for run in (here, there))
    found, trained = [], []
    for encoding in set(there.experiments["encoding"]) & set(here.experiments["encoding"]):
        found += _equal(f"encoding {encoding}", _real_music(here, encoding), _real_music(there, encoding), ROUNDING)
    for name in dict.fromkeys(name for name, _ in theirs):
        keys = [key for key in theirs if key[0] == name and key in ours]
        same = all(same_class(here, there, key) for key in keys)
        if keys and not same and not _has_no_network(name):
            trained.append(name)
        else:
            for key in keys:
                found += _equal(f"{name} seed {key[1]}", ours[key], theirs[key], 0.0 if same else ROUNDING)
    return found + _within_interval(trained, ours, theirs)


def _values(results: Results, left_out: tuple[str, ...]) -> dict[Key, dict[str, float]]:
    """Return the measures of each trial, for a model without a network with its floors, which no training affects."""
    trials = results.trials.set_index(["experiment", "seed"])[["nll", "validity"]]
    found = {key: dict(row) for key, row in trials.iterrows()}
    measures = results.measures[~results.measures["measure"].isin(left_out)]
    for row in measures[["experiment", "seed", "measure", "value", "ratio", "floor"]].itertuples(index=False):
        found[row.experiment, row.seed][row.measure] = row.ratio if row.measure == DISTANCE else row.value
        if _has_no_network(row.experiment) and row.measure not in OF_THE_TEACHER:
            found[row.experiment, row.seed][f"floor of {row.measure}"] = row.floor
    return found


def _has_no_network(name: str) -> bool:
    """Return whether an experiment needs no network at all: its model counts, or changes real music."""
    return name in EXPERIMENTS and not EXPERIMENTS[name].network


def _real_music(results: Results, encoding: str) -> dict[str, float]:
    """Return the mean of each metric of the test split in an encoding."""
    real = results.scores[(results.scores["experiment"] == "test") & (results.scores["encoding"] == encoding)]
    return dict(real.drop(columns=["experiment", "encoding", "seed", "sample", "song"]).astype(float).mean())


def _equal(of: str, ours: Mapping[str, float], theirs: Mapping[str, float], tolerance: float) -> list[Compared]:
    """Compare the measures that have a number in the reference by the rule "equal"."""
    return [
        Compared(
            name, of, "equal", _distance(ours.get(name, math.nan), value), tolerance * max(1, min(abs(value), 1e9))
        )
        for name, value in theirs.items()
        if not math.isnan(value)
    ]


def _distance(one: float, other: float) -> float:
    difference = 0.0 if one == other else abs(one - other)
    return math.inf if math.isnan(difference) else difference


def _within_interval(
    names: list[str], ours: Mapping[Key, Mapping[str, float]], theirs: Mapping[Key, Mapping[str, float]]
) -> list[Compared]:
    """Compare means over seeds by the rule "interval", where the reference has two seeds or more.

    The half-width for n seeds here and m there is t s sqrt(1/n + 1/m), where s is the standard deviation over seeds,
    pooled over experiments, and t the quantile of Student's distribution at LEVEL / 2 divided by the number of tests.
    """
    from scipy import stats

    there = {name: _by_measure(name, theirs) for name in names}
    there = {name: rows for name, rows in there.items() if len(next(iter(rows.values()))) > 1}
    here = {name: _by_measure(name, ours) for name in there}
    measures = dict.fromkeys(measure for rows in there.values() for measure in rows)
    pooled = {measure: _pooled([rows[measure] for rows in there.values() if measure in rows]) for measure in measures}
    pairs = [(name, measure) for name in there for measure in there[name] if np.isfinite(there[name][measure]).all()]
    quantiles = {freedom: stats.t.isf(LEVEL / len(pairs) / 2, freedom) for _, freedom in pooled.values() if freedom}
    found = []
    for name, measure in pairs:
        one, other, (deviation, freedom) = here[name].get(measure, [math.nan]), there[name][measure], pooled[measure]
        tolerance = max(quantiles[freedom] * deviation * math.sqrt(1 / len(one) + 1 / len(other)), ROUNDING)
        difference = _distance(float(np.mean(one)), float(np.mean(other)))
        found.append(Compared(measure, f"{name}, mean of {len(one)} seeds", "interval", difference, tolerance))
    return found


def _by_measure(name: str, values: Mapping[Key, Mapping[str, float]]) -> dict[str, list[float]]:
    rows = [row for (experiment, _), row in values.items() if experiment == name]
    return {measure: [row.get(measure, math.nan) for row in rows] for measure in rows[0]}


def _pooled(groups: list[list[float]]) -> tuple[float, int]:
    """Return the standard deviation over seeds, pooled over experiments, and its degrees of freedom."""
    finite = [group for group in groups if np.isfinite(group).all()]
    freedom = sum(len(group) - 1 for group in finite)
    return math.sqrt(sum(np.var(group) * len(group) for group in finite) / max(freedom, 1)), freedom

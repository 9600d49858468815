"""How far two runs of one comparison agree: a measure of a trial, or of an experiment, at a time; see `TOLERANCES`."""

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
Place = dict[str, Any]  # an environment, flattened


class Tolerance(NamedTuple):
    """How far numbers may lie apart.

    Attributes:
        most: the largest difference, as a share of the reference where that is above 1; None: see the reason.
        reason: for people.
    """

    most: float | None
    reason: str


LEVEL = 0.01
TOLERANCES: dict[str, Tolerance] = {
    "bits": Tolerance(0.0, "machines of one class, with as many threads, come to the same bits"),
    "real": Tolerance(1e-6, "real music and its noise floor are no model's: only the order of sums may differ"),
    "counted": Tolerance(1e-6, "models that count, and changed real music, have no rounding that could grow"),
    "trained": Tolerance(
        None,
        "rounding grows in training until weights differ as those of another seed do: means over seeds must lie within"
        f" the {1 - LEVEL:.0%} prediction interval that the spread of the reference over seeds, pooled over its"
        " experiments, gives for all of them together (Bonferroni)",
    ),
}
# Of a trial's environment; all else that is recorded may decide the bits.
WITHOUT_INFLUENCE = {"commit", "platform", "cores", "packages.etude", "packages.mlflow"}
OF_THE_TEACHER = ("teacher_nll", "teacher_ruled_out")  # measures that another network decides too


class Compared(NamedTuple):
    """A measure of a trial, or its mean over seeds, in both runs.

    Attributes:
        measure: its name.
        of: whose it is.
        rule: the row of `TOLERANCES`.
        difference: infinite where only one run has a number.
        tolerance: of the difference.
    """

    measure: str
    of: str
    rule: str
    difference: float
    tolerance: float

    @property
    def differs(self) -> bool:
        """Whether it is out of tolerance."""
        return self.difference > self.tolerance


@functools.lru_cache(maxsize=2)
def places(results: Results) -> dict[Key, list[Place]]:
    """Return the environments that every trial was run in, flattened: {"packages.torch": "2.13.0"}."""
    rows = results.fingerprints[["experiment", "seed", "places"]].itertuples(index=False)
    return {(name, seed): [dict(_flat(place)) for place in json.loads(text)] for name, seed, text in rows}


def _flat(place: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in place.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def apart(here: list[Place], there: list[Place]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between the environments of a trial in two runs: (here, there) by name, None if not said."""
    return {
        name: (one.get(name), other.get(name))
        for one, other in product(here, there)
        for name in dict.fromkeys((*one, *other))
        if one.get(name) != other.get(name)
    }


def is_alike(here: Results, there: Results, key: Key) -> bool:
    """Return whether a trial was run on machines of one class, which must come to the same bits."""
    return not apart(places(here)[key], places(there)[key]).keys() - WITHOUT_INFLUENCE


def unequal(here: Results, there: Results, what: str) -> tuple[list[Key], int]:
    """Return which of the trials that both runs have differ in their weights or samples, and how many have any."""
    ours, theirs = (
        dict(zip(zip(frame["experiment"], frame["seed"], strict=True), frame[what], strict=True))
        for frame in (here.fingerprints, there.fingerprints)
    )
    keys = [key for key, value in theirs.items() if value and key in ours]
    return [key for key in keys if ours[key] != theirs[key]], len(keys)


def compare(here: Results, there: Results) -> list[Compared]:
    """Return every measure of every trial that both runs have; of means over seeds, where bits cannot be the same."""
    left_out = OF_THE_TEACHER if any(name == "teacher" for name, _ in unequal(here, there, "weights")[0]) else ()
    ours, theirs = ({key: _without(row, left_out) for key, row in _values(run).items()} for run in (here, there))
    found, trained = _real(here, there), []
    for name in dict.fromkeys(name for name, _ in theirs):
        keys = [key for key in theirs if key[0] == name and key in ours]
        same = all(is_alike(here, there, key) for key in keys)
        if keys and not same and not _is_counted(name):
            trained.append(name)
        else:
            rule = "bits" if same else "counted"
            found += [row for key in keys for row in _rows(rule, "{} seed {}".format(*key), ours[key], theirs[key])]
    return found + _means(trained, ours, theirs)


def _values(results: Results) -> dict[Key, dict[str, float]]:
    """Return the measures of every trial."""
    trials = results.trials.set_index(["experiment", "seed"])[["nll", "validity"]]
    found = {key: dict(row) for key, row in trials.iterrows()}
    columns = ["experiment", "seed", "measure", "value", "ratio"]
    for name, seed, measure, value, ratio in results.measures[columns].itertuples(index=False):
        found[name, seed][measure] = ratio if measure == DISTANCE else value
    return found


def _without(row: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in names}


def _is_counted(name: str) -> bool:
    """Return whether an experiment has no network: neither as its model nor in what it is made of."""
    return name in EXPERIMENTS and not EXPERIMENTS[name].network


def _real(here: Results, there: Results) -> list[Compared]:
    """Compare the real music in each encoding: the means of its metrics, and the floors of counted models."""
    found = []
    counted = [key for key in places(there) if key in places(here) and _is_counted(key[0])]
    for encoding in set(there.experiments["encoding"]) & set(here.experiments["encoding"]):
        ours, theirs = (_of_real(run, encoding, counted) for run in (here, there))
        found += _rows("real", f"encoding {encoding}", ours, theirs)
    return found


def _of_real(results: Results, encoding: str, counted: list[Key]) -> dict[str, float]:
    real = results.scores[(results.scores["experiment"] == "test") & (results.scores["encoding"] == encoding)]
    metrics = real.drop(columns=["experiment", "encoding", "seed", "sample", "song"]).astype(float).mean()
    own = results.experiments.set_index("name")["encoding"]
    floors = results.measures[["experiment", "seed", "measure", "floor"]].itertuples(index=False)
    return dict(metrics) | {
        f"floor of {measure} for {name} seed {seed}": floor
        for name, seed, measure, floor in floors
        if (name, seed) in counted and own[name] == encoding and measure not in OF_THE_TEACHER
    }


def _rows(rule: str, of: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[Compared]:
    """Compare what has a number in the reference, by a rule that names the largest difference."""
    most = TOLERANCES[rule].most
    assert most is not None
    return [
        Compared(name, of, rule, _distance(ours.get(name, math.nan), value), most * max(1.0, min(abs(value), 1e9)))
        for name, value in theirs.items()
        if not math.isnan(value)
    ]


def _distance(one: float, other: float) -> float:
    difference = 0.0 if one == other else abs(one - other)
    return math.inf if math.isnan(difference) else difference


def _means(
    names: list[str], ours: Mapping[Key, Mapping[str, float]], theirs: Mapping[Key, Mapping[str, float]]
) -> list[Compared]:
    """Compare means over seeds where the reference has two seeds or more, by its spread."""
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
        quantile = quantiles[freedom]
        tolerance = max(quantile * deviation * math.sqrt(1 / len(one) + 1 / len(other)), 1e-6)
        difference = _distance(float(np.mean(one)), float(np.mean(other)))
        found.append(Compared(measure, f"{name}, mean of {len(one)} seeds", "trained", difference, tolerance))
    return found


def _by_measure(name: str, values: Mapping[Key, Mapping[str, float]]) -> dict[str, list[float]]:
    rows = [row for (experiment, _), row in values.items() if experiment == name]
    return {measure: [row.get(measure, math.nan) for row in rows] for measure in rows[0]}


def _pooled(groups: list[list[float]]) -> tuple[float, int]:
    """Return the standard deviation over seeds that several experiments have together, and its degrees of freedom."""
    finite = [group for group in groups if np.isfinite(group).all()]
    freedom = sum(len(group) - 1 for group in finite)
    return math.sqrt(sum(np.var(group) * len(group) for group in finite) / max(freedom, 1)), freedom

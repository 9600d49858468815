"""The claims of the paper and of its kind, declared before anything is run, and the verdicts, which code writes.

The rule is that of `eval.claims.verdicts`; all measures of models are such that less is closer to real music. Distances
that have a noise floor are multiples of it, and count as 1 where they are less: music closer to one half of the real
music than the other half is has no merit by that.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eval.claims.verdicts import Compared, Measured, Ruling, Verdict, verdict
from eval.results.anomalies import LOST
from eval.statistics.paired import same_size
from replication.util.errors import UserError

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd
    from numpy.typing import NDArray

    from eval.results.frames import Results


@dataclass(frozen=True, kw_only=True)
class Contrasted:
    """The claim that one model is better than another: that it has less of the measures.

    Attributes:
        name: of the claim.
        statement: the claim in one sentence.
        ours: experiment that is claimed to be better.
        other: experiment that it is compared with.
        measures: the family.
    """

    name: str
    statement: str
    ours: str
    other: str
    measures: tuple[Measured, ...]


@dataclass(frozen=True, kw_only=True)
class Correlated:
    """The claim that a number measures the distance from real music: that the two rise and fall together.

    Judged by rho(number, distance) - |rho(step, distance)|, Spearman's rank correlations over the checkpoints of a
    training run, one for each seed, -2 to 1: a number that falls with every step, as any clock, rises and falls with
    whatever training changes, and has 0.

    Attributes:
        name: of the claim.
        statement: the claim in one sentence.
        audited: experiment whose checkpoints are looked at.
        number: column of the audits.
        measure: the correlation beyond that of a clock.
    """

    name: str
    statement: str
    audited: str
    number: str
    measure: Measured


_DISTANCES = (
    Measured(name="distance", label="distance", unit=" floors"),
    Measured(name="classifier_auc", label="distance of the classifier's AUC from 1/2", low=-0.5, high=0.5),
    Measured(name="chords", label="distance in chords", unit=" floors"),
)
_BOUND = Measured(name="nll", label="likelihood bound", unit=" nats per token")

CLAIMS: tuple[Contrasted | Correlated, ...] = (
    Contrasted(
        name="C1",
        statement="Embeddings trained end to end are better than frozen Gaussian ones.",
        ours="e2e",
        other="gaussian",
        measures=(*_DISTANCES, _BOUND),
    ),
    Contrasted(
        name="C2",
        statement="Embeddings trained end to end are better than frozen pretrained ones (skip-gram).",
        ours="e2e",
        other="pretrained",
        measures=(*_DISTANCES, _BOUND),
    ),
    Correlated(
        name="C3",
        statement="Bits per word measure the quality of what is generated.",
        audited="recipe",
        number="bits_per_word",
        measure=Measured(
            name="rank_correlation",
            label="rank correlation with the distance beyond that of the step",
            low=-2.0,
            high=1.0,
        ),
    ),
    Contrasted(
        name="C4",
        statement="Diffusion comes closer to real music than an autoregressive model of equal budget.",
        ours="e2e",
        other="autoregressive",
        measures=_DISTANCES,  # a bound on the likelihood cannot be ranked against an exact value
    ),
    Contrasted(
        name="C5",
        statement="The larger backbone (like BERT) is better than the smaller (like ELECTRA).",
        ours="e2e",
        other="e2e-small",
        measures=(*_DISTANCES, _BOUND),
    ),
)

# The only numbers of the report on music: bits per word, by model and training iteration.
PUBLISHED: dict[str, dict[int, float]] = {
    "BERT-base": {800: 0.00003, 1000: 0.00004, 2000: 0.00007},
    "ELECTRA": {1000: 0.00020, 2000: 0.00030},
}


@functools.lru_cache(maxsize=2)  # tables, page and terminal ask for the same
def verdicts_on(results: Results) -> tuple[Verdict, ...]:
    """Return the verdict on each of `CLAIMS` by the results of a comparison."""
    return tuple(judge(measured(results.trials, results.measures), results.audits, results.events))


def judge(values: pd.DataFrame, audits: pd.DataFrame, events: pd.DataFrame) -> list[Verdict]:
    """Return the verdict on each of `CLAIMS`; its sentence ends with what went wrong in the trials that it is about.

    Args:
        values: columns experiment, seed, measure, value and n: distance and chords as multiples of the floor, at
            least 1, classifier_auc as the distance of the AUC from 1/2, nll in nats per token; n windows on either
            side, NaN for nll. No two rows of one experiment, seed and measure.
        audits: columns seed, step, bits_per_word and distance (floors): a row per checkpoint.
        events: columns experiment, seed and event; see `eval.results.anomalies`.
    """
    return [
        _contrasted(claim, values, events) if isinstance(claim, Contrasted) else _correlated(claim, audits, events)
        for claim in CLAIMS
    ]


def measured(trials: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """Return the values that `judge` takes, of frames of the results."""
    import pandas as pd

    distances = measures[measures["measure"].isin(["distance", "chords"])]
    values = [
        distances.assign(value=distances["ratio"].clip(lower=1)),  # closer than real music to itself is no merit
        measures[measures["measure"] == "classifier_auc"].assign(value=lambda frame: (frame["value"] - 0.5).abs()),
        trials.assign(measure="nll", value=trials["nll"], n=math.nan),
    ]
    return pd.concat([frame[["experiment", "seed", "measure", "value", "n"]] for frame in values], ignore_index=True)


def _contrasted(claim: Contrasted, values: pd.DataFrame, events: pd.DataFrame) -> Verdict:
    models = [claim.ours, claim.other]
    wrong = _went_wrong(events[events["experiment"].isin(models)])
    missing = [name for name in models if name not in set(values["experiment"])]
    if missing:
        verb = "was" if len(missing) == 1 else "were"
        return _untested(claim, f"{' and '.join(missing)} {verb} not {'done' if wrong else 'run'}{wrong}")
    family = values["experiment"].isin(models) & values["measure"].isin([measure.name for measure in claim.measures])
    rows = values[family]
    try:
        same_size(
            {
                f"{name} with seed {seed} ({measure})": int(n)
                for name, seed, measure, n in rows[["experiment", "seed", "measure", "n"]].dropna(subset="n").to_numpy()
            }
        )
    except UserError as error:
        return _untested(claim, f"{error}{wrong}")
    compared = []
    for measure in claim.measures:
        of_measure = rows[rows["measure"] == measure.name].set_index(["experiment", "seed"])
        if not of_measure.index.is_unique:
            raise ValueError(f"{measure.name} has two values of one experiment and seed")
        ours, other = (of_measure["value"].get(name, of_measure["value"].iloc[:0]) for name in models)
        # Seeds that only one of the models has are no pairs; a value that is NaN stays, and leaves no test.
        seeds = ours.index.intersection(other.index)
        differences = (ours[seeds] - other[seeds]).to_numpy(dtype=float)
        compared.append(Compared.of(measure, differences, tests=len(claim.measures)))
    return verdict(claim.name, claim.statement, compared, better=-1, note=_unpaired(rows, models) + wrong)


def _unpaired(rows: pd.DataFrame, models: list[str]) -> str:
    """Say which seeds only one of two models has."""
    ours, other = (set(rows[rows["experiment"] == name]["seed"]) for name in models)
    lone = {models[0]: sorted(ours - other), models[1]: sorted(other - ours)}
    named = [f"{name} seed {seed}" for name, seeds in lone.items() for seed in seeds]
    return f"; left out, without a counterpart: {', '.join(named)}" if named else ""


def _went_wrong(events: pd.DataFrame) -> str:
    """Say what went wrong, trial by trial."""
    trials = [
        f"{name} seed {seed} ({', '.join(found['event'])})"
        for (name, seed), found in events.groupby(["experiment", "seed"], sort=False)
    ]
    return f"; went wrong: {', '.join(trials)}" if trials else ""


def _correlated(claim: Correlated, audits: pd.DataFrame, events: pd.DataFrame) -> Verdict:
    # What its last samples are like does not count: every checkpoint was judged by itself.
    lost = events[(events["experiment"] == claim.audited) & events["event"].isin(LOST)]
    wrong = _went_wrong(lost)
    if not len(audits):
        return _untested(claim, f"no checkpoints were audited{wrong}")
    runs = [run[[claim.number, "step", "distance"]].to_numpy(dtype=float).T for _, run in audits.groupby("seed")]
    fewest = min(run.shape[1] for run in runs)
    # Sums of squared differences of ranks are even: 1 - 6 sum / (k^3 - k) is a multiple of this, and so is 2.
    step = 12 / (fewest**3 - fewest) if fewest > 1 else math.nan
    of_number, of_step = np.transpose(
        [[_rank_correlation(one, distance) for one in (number, clock)] for number, clock, distance in runs]
    )
    compared = Compared.of(claim.measure, of_number - np.abs(of_step), tests=1, resolution=step)
    means = (float(of_number.mean()), float(of_step.mean()))
    note = "; correlation with the distance {:+.2f} on average, that of the step {:+.2f}".format(*means)
    known = "" if math.isnan(sum(means)) else note
    return verdict(claim.name, claim.statement, [compared], better=1, note=known + wrong)


def _rank_correlation(number: NDArray[Any], distance: NDArray[Any]) -> float:
    """Return Spearman's correlation over checkpoints; NaN where a value is not finite or all are equal."""
    from scipy import stats

    if not np.isfinite([number, distance]).all() or not np.ptp(number) or not np.ptp(distance):
        return math.nan
    # Correlations that are equal differ by rounding, and a difference of 1e-16 in every seed would be significant.
    return round(float(stats.spearmanr(number, distance).statistic), 12)


def _untested(claim: Contrasted | Correlated, reason: str) -> Verdict:
    sentence = f"{Ruling.NOT_TESTED.capitalize()}: {reason}."
    return Verdict(name=claim.name, statement=claim.statement, verdict=Ruling.NOT_TESTED, sentence=sentence)

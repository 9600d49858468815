"""Declare the claims before anything is run, and judge each by the results.

`eval.claims.verdicts` has the rule. For every measure of a model, less is closer to real music. Distances that have a
noise floor are multiples of it, and smaller ones count as 1: samples that are closer to one half of the real music than
the other half is are not better for it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.claims.number import Decision, judge_number
from eval.claims.verdicts import Comparison, Finding, Measure, Row, Ruling, Verdict, verdict
from eval.results.anomalies import EXCLUDED
from eval.statistics.paired import Procedure, same_size
from replication.util.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from eval.results.frames import Results


@dataclass(frozen=True, kw_only=True)
class ContrastClaim:
    """A claim that one model is better than another, that is, that its measures are smaller.

    Attributes:
        name: Name of the claim.
        statement: Claim in one sentence.
        ours: Experiment that is claimed to be better.
        other: Experiment that it is compared with.
        measures: Family of measures that are tested together.
    """

    name: str
    statement: str
    ours: str
    other: str
    measures: tuple[Measure, ...]


@dataclass(frozen=True, kw_only=True)
class CorrelationClaim:
    """A claim that a number measures the distance from real music; see `eval.claims.number`.

    Attributes:
        name: Name of the claim.
        statement: Claim in one sentence.
        measure: Rank correlation of the number with the distance.
    """

    name: str
    statement: str
    measure: Measure


_DISTANCES = (
    Measure(name="distance", label="distance", unit=" floors"),
    Measure(name="classifier_auc", label="distance of the classifier's AUC from 1/2", low=-0.5, high=0.5),
    Measure(name="chords", label="distance in chords", unit=" floors"),
)
_BOUND = Measure(name="nll", label="likelihood bound", unit=" nats per token")

CLAIMS: tuple[ContrastClaim | CorrelationClaim, ...] = (
    ContrastClaim(
        name="C1",
        statement="Embeddings trained end to end are better than frozen Gaussian ones.",
        ours="e2e",
        other="gaussian",
        measures=(*_DISTANCES, _BOUND),
    ),
    ContrastClaim(
        name="C2",
        statement="Embeddings trained end to end are better than frozen pretrained ones (skip-gram).",
        ours="e2e",
        other="pretrained",
        measures=(*_DISTANCES, _BOUND),
    ),
    CorrelationClaim(
        name="C3",
        statement="Bits per word measure the quality of what is generated.",
        measure=Measure(
            name="rank_correlation",
            label="rank correlation with the distance within ages",
            low=-1.0,
            high=1.0,
        ),
    ),
    ContrastClaim(
        name="C4",
        statement="Diffusion comes closer to real music than an autoregressive model of equal budget.",
        ours="e2e",
        other="autoregressive",
        measures=_DISTANCES,  # without nll: a bound cannot be ranked against an exact value
    ),
    ContrastClaim(
        name="C5",
        statement="The larger backbone (like BERT) is better than the smaller (like ELECTRA).",
        ours="e2e",
        other="e2e-small",
        measures=(*_DISTANCES, _BOUND),
    ),
)

# The only numbers that the paper reports on music: bits per word by model and training iteration. Their definition is
# not given.
PUBLISHED: dict[str, dict[int, float]] = {
    "BERT-base": {800: 0.00003, 1000: 0.00004, 2000: 0.00007},
    "ELECTRA": {1000: 0.00020, 2000: 0.00030},
}


@functools.lru_cache(maxsize=2)  # tables, page and terminal all ask for it
def verdicts_on(results: Results) -> tuple[Verdict, ...]:
    """Return the verdicts on `CLAIMS` for the results of a comparison."""
    return tuple(judge(claim_values(results.trials, results.measures), results.audits, results.anomalies))


def judge(values: pd.DataFrame, audits: pd.DataFrame, anomalies: pd.DataFrame) -> list[Verdict]:
    """Return the verdicts on `CLAIMS`; each sentence ends with the anomalies of the trials that it is about.

    Args:
        values: Columns experiment, seed, measure, value and n. Distance and chords are multiples of the floor, at least
            1; classifier_auc is the distance of the AUC from 1/2; nll is in nats per token; n is the number of windows
            on either side, NaN for nll. There is one row per experiment, seed and measure.
        audits: See `eval.claims.number.judge_number`.
        anomalies: Columns experiment, seed and anomaly; see `eval.results.anomalies`.
    """
    return [
        _contrasted(claim, values, anomalies)
        if isinstance(claim, ContrastClaim)
        else _correlated(claim, audits, anomalies)
        for claim in CLAIMS
    ]


def claim_values(trials: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """Return the argument `values` of `judge`, given two frames of the results."""
    import pandas as pd

    distances = measures[measures["measure"].isin(["distance", "chords"])]
    values = [
        distances.assign(value=distances["ratio"].clip(lower=1)),  # closer than real music is to itself is not better
        measures[measures["measure"] == "classifier_auc"].assign(value=lambda frame: (frame["value"] - 0.5).abs()),
        trials.assign(measure="nll", value=trials["nll"], n=math.nan),
    ]
    return pd.concat([frame[["experiment", "seed", "measure", "value", "n"]] for frame in values], ignore_index=True)


def _contrasted(claim: ContrastClaim, values: pd.DataFrame, anomalies: pd.DataFrame) -> Verdict:
    models = [claim.ours, claim.other]
    wrong = _went_wrong(anomalies[anomalies["experiment"].isin(models)])
    missing = [name for name in models if name not in set(values["experiment"])]
    if missing:
        verb = "was" if len(missing) == 1 else "were"
        return _untested(claim, f"{' and '.join(missing)} {verb} not {'finished' if wrong else 'run'}{wrong}")
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
    comparisons = []
    for measure in claim.measures:
        of_measure = rows[rows["measure"] == measure.name].set_index(["experiment", "seed"])
        if not of_measure.index.is_unique:
            raise ValueError(f"{measure.name} has two values of one experiment and seed")
        ours, other = (of_measure["value"].get(name, of_measure["value"].iloc[:0]) for name in models)
        # Seeds of only one of the models are left out. NaN stays, and then the measure is not tested.
        seeds = ours.index.intersection(other.index)
        differences = (ours[seeds] - other[seeds]).to_numpy(dtype=float)
        comparisons.append(Comparison.of(measure, differences, tests=len(claim.measures)))
    return verdict(claim.name, claim.statement, comparisons, better=-1, note=_unpaired(rows, models) + wrong)


def _unpaired(rows: pd.DataFrame, models: list[str]) -> str:
    """Name the seeds that only one of two models has."""
    ours, other = (set(rows[rows["experiment"] == name]["seed"]) for name in models)
    lone = {models[0]: sorted(ours - other), models[1]: sorted(other - ours)}
    named = [f"{name} seed {seed}" for name, seeds in lone.items() for seed in seeds]
    return f"; left out because the other model lacks the seed: {', '.join(named)}" if named else ""


def _went_wrong(anomalies: pd.DataFrame) -> str:
    """List the anomalies of each trial."""
    trials = [
        f"{name} seed {seed} ({', '.join(found['anomaly'])})"
        for (name, seed), found in anomalies.groupby(["experiment", "seed"], sort=False)
    ]
    return f"; anomalies: {', '.join(trials)}" if trials else ""


def _correlated(claim: CorrelationClaim, audits: pd.DataFrame, anomalies: pd.DataFrame) -> Verdict:
    # Anomalies of the final samples do not count, since every age was judged by itself.
    lost = anomalies["experiment"].isin(set(audits["experiment"])) & anomalies["anomaly"].isin(EXCLUDED)
    wrong = _went_wrong(anomalies[lost])
    found = judge_number(audits)
    ruling, finding = _OUTCOMES[found.decision]
    if ruling is Ruling.NOT_TESTED:
        return Verdict(name=claim.name, statement=claim.statement, verdict=ruling, sentence=found.sentence)
    rho, low, high, _, p, trials, _ = found.number
    row = Row(claim.measure.name, rho, low, high, p, Procedure.PERMUTATION, p, trials, math.nan, finding)
    sentence = f"{found.sentence.removesuffix('.')}{wrong}."
    return Verdict(name=claim.name, statement=claim.statement, verdict=ruling, sentence=sentence, rows=(row,))


_OUTCOMES = {
    Decision.REPRODUCED: (Ruling.REPRODUCED, Finding.FOR),
    Decision.CONTRADICTED: (Ruling.NOT_REPRODUCED, Finding.AGAINST),
    Decision.NO_DIFFERENCE: (Ruling.INCONCLUSIVE, Finding.OPEN),
    Decision.INCONCLUSIVE: (Ruling.INCONCLUSIVE, Finding.OPEN),
    Decision.NOT_TESTED: (Ruling.NOT_TESTED, Finding.OPEN),
}


def _untested(claim: ContrastClaim | CorrelationClaim, reason: str) -> Verdict:
    sentence = f"{Ruling.NOT_TESTED.capitalize()}: {reason}."
    return Verdict(name=claim.name, statement=claim.statement, verdict=Ruling.NOT_TESTED, sentence=sentence)

"""The table of claims, and what each of them is judged by. `eval.claims.verdicts` has the rule.

The primary endpoint of every claim on models is the distance from real music in noise floors
(`eval.distances.endpoint`). Which claims, endpoint, margin and seeds a comparison was started with is declared before
its first trial: see `eval.claims.declaration`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.claims.verdicts import EndpointScale, Evidence, Refusal, Ruling, Secondary
from eval.scoring.measures import DISTANCE, WASSERSTEIN
from eval.statistics.paired import contrast, same_size
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from eval.results.frames import Results

MARGIN = 0.5  # floors: half the distance between two halves of real music
FLOORS = EndpointScale(unit=" floors", margin=MARGIN, better=-1)  # smaller is closer to real music
REQUIRED = ("pitches-permuted", "onsets-shuffled")  # controls that the endpoint must tell from real music
SAME_MUSIC = ("replay", "test-copy", "round-trip", "noise-and-round")  # controls that are real music, and must sound so


@dataclass(frozen=True, kw_only=True)
class ContrastClaim:
    """A claim that samples of one model are closer to real music than those of another.

    Attributes:
        name: Name of the claim.
        statement: Claim in one sentence.
        ours: Experiment that is claimed to be better.
        other: Experiment that it is compared with.
    """

    name: str
    statement: str
    ours: str
    other: str


@dataclass(frozen=True, kw_only=True)
class NumberClaim:
    """A claim that a number orders models of equal age by their distance from real music.

    Attributes:
        name: Name of the claim.
        statement: Claim in one sentence.
        number: Column of the audits.
    """

    name: str
    statement: str
    number: str


Claim = ContrastClaim | NumberClaim

CLAIMS: tuple[Claim, ...] = (
    ContrastClaim(
        name="C1",
        statement="Embeddings trained end to end are better than frozen Gaussian ones.",
        ours="e2e",
        other="gaussian",
    ),
    ContrastClaim(
        name="C2",
        statement="Embeddings trained end to end are better than frozen pretrained ones (skip-gram).",
        ours="e2e",
        other="pretrained",
    ),
    NumberClaim(
        name="C3",
        statement="Bits per word measure the quality of what is generated.",
        number="bits_per_word",
    ),
    ContrastClaim(
        name="C4",
        statement="Diffusion comes closer to real music than an autoregressive model with as many training steps.",
        ours="e2e",
        other="autoregressive",
    ),
    ContrastClaim(
        name="C4b",
        statement="Diffusion comes closer to real music than an autoregressive model with its best number of steps.",
        ours="e2e",
        other="autoregressive-best",
    ),
    ContrastClaim(
        name="C5",
        statement="The larger backbone (like BERT) is better than the smaller (like ELECTRA).",
        ours="e2e-large",
        other="e2e-small",
    ),
)

# The only numbers that the paper reports on music: bits per word by model and training iteration.
PUBLISHED: dict[str, dict[int, float]] = {
    "BERT-base": {800: 0.00003, 1000: 0.00004, 2000: 0.00007},
    "ELECTRA": {1000: 0.00020, 2000: 0.00030},
}


def primary_values(results: Results, measure: str = DISTANCE) -> pd.DataFrame:
    """Return one row per trial: experiment, seed, value (of a measure, in floors, at least 1) and n (windows)."""
    found = results.measures[results.measures["measure"] == measure]
    # To be closer to real music than real music is to itself is not better.
    return found.assign(value=found["ratio"].clip(lower=1))[["experiment", "seed", "value", "n"]]


def contrast_evidence(
    claim: ContrastClaim, values: pd.DataFrame, results: Results, *, scale: EndpointScale = FLOORS
) -> Evidence | Refusal:
    """Return what a claim on two models is judged by.

    Args:
        claim: The claim.
        values: One row per trial, as `primary_values` returns.
        results: Results that the values are from, for anomalies and secondary measures.
        scale: Scale of the values.
    """
    models = [claim.ours, claim.other]
    wrong = _went_wrong(results.anomalies[results.anomalies["experiment"].isin(models)])
    missing = [name for name in models if name not in set(values["experiment"])]
    if missing:
        verb = "was" if len(missing) == 1 else "were"
        lost = f" ({'; '.join(wrong)})" if wrong else ""
        return Refusal(
            ruling=Ruling.NOT_TESTED,
            reason=f"{' and '.join(missing)} {verb} not {'finished' if wrong else 'run'}{lost}",
        )
    rows = values[values["experiment"].isin(models)]
    try:
        same_size(
            {
                f"{name} with seed {seed}": int(n)
                for name, seed, n in rows[["experiment", "seed", "n"]].dropna(subset="n").to_numpy()
            }
        )
    except UserError as error:
        return Refusal(ruling=Ruling.NOT_TESTED, reason=str(error))
    differences, lone = paired_differences(values, claim)
    return Evidence(
        scale=scale,
        contrast=contrast(differences, margin=scale.margin),
        secondary=_secondary(claim, results),
        notes=(*lone, *wrong),
    )


def paired_differences(values: pd.DataFrame, claim: ContrastClaim) -> tuple[list[float], tuple[str, ...]]:
    """Return ours minus other for each seed that both have, and a note on the seeds that only one has."""
    sides = [
        values[values["experiment"] == name].set_index("seed")["value"].sort_index()
        for name in (claim.ours, claim.other)
    ]
    for side in sides:
        if not side.index.is_unique:
            raise ValueError(f"{claim.name} has two values of one experiment and seed")
    ours, other = sides
    seeds = ours.index.intersection(other.index)
    lone = [
        f"{name} seed {seed}"
        for name, side in ((claim.ours, ours), (claim.other, other))
        for seed in side.index.difference(seeds)
    ]
    notes = (f"left out because the other model lacks the seed: {', '.join(lone)}",) if lone else ()
    return (ours[seeds] - other[seeds]).astype(float).tolist(), notes


def deafness(results: Results) -> Refusal | None:
    """Return why no claim can be tested, if the endpoint cannot tell this music from what it must, or was not asked."""
    if missing := [name for name in REQUIRED if name not in set(results.measures["experiment"])]:
        return Refusal(
            ruling=Ruling.NOT_TESTED,
            reason=f"{' and '.join(missing)} {'was' if len(missing) == 1 else 'were'} not run, without which nothing"
            " shows what the distance can hear",
        )
    deaf = not_heard(results, REQUIRED)
    reason = f"on this music the distance cannot tell {' and '.join(deaf)} from real music"
    return Refusal(ruling=Ruling.NOT_TESTABLE, reason=reason) if deaf else None


def not_heard(results: Results, names: Sequence[str] | None = None) -> list[str]:
    """Return the labels of the controls that the endpoint cannot tell from this real music.

    Args:
        results: The results; controls that were not run are not listed.
        names: Names of controls; None for all but `SAME_MUSIC`.
    """
    rows = results.measures[results.measures["measure"] == DISTANCE]
    heard = rows.groupby("experiment")[["ratio", "floor_p95"]].mean()
    kinds = results.experiments.set_index("name")
    if names is None:
        names = [name for name in kinds.index if kinds.loc[name, "control"] and name not in SAME_MUSIC]
    return [
        str(kinds.loc[name, "label"]).removesuffix(" (control)").lower()
        for name in names
        if name in heard.index and heard.loc[name, "ratio"] <= heard.loc[name, "floor_p95"]
    ]


_SECONDARY: tuple[tuple[str, str], ...] = (
    ("classifier_auc", "Classifier AUC, distance from 1/2"),
    ("chords", "Chord bigrams (floors)"),
    (WASSERSTEIN, "Mean Wasserstein distance of 14 metrics (floors)"),
    ("teacher_nll", "Gap of the teacher's NLL to real music (nats per token)"),
)


def _secondary(claim: ContrastClaim, results: Results) -> tuple[Secondary, ...]:
    """Return the contrasts of the secondary measures, and of the bounds of both models if both are bounds."""
    found = []
    for measure, label in _SECONDARY:
        rows = results.measures[results.measures["measure"] == measure]
        if measure == "classifier_auc":
            values = rows.assign(value=(rows["value"] - 0.5).abs())
        elif measure == "teacher_nll":
            values = rows.assign(value=(rows["value"] - rows["floor"]).abs())
        else:
            values = rows.assign(value=rows["ratio"])
        found.append((label, values))
    models = results.trials[results.trials["experiment"].isin([claim.ours, claim.other])]
    if len(models) and not models["exact"].astype(bool).any():  # a bound cannot be ranked against an exact value
        found.append(("Likelihood bound (nats per token)", models.assign(value=models["nll"])))
    contrasts = [(label, contrast(paired_differences(values, claim)[0], margin=math.inf)) for label, values in found]
    return tuple(Secondary(label, one) for label, one in contrasts if one.n and not math.isnan(one.difference))


def _went_wrong(anomalies: pd.DataFrame) -> tuple[str, ...]:
    """Return a note with the anomalies of each trial; none if there are none."""
    trials = [
        f"{name} seed {seed} ({', '.join(found['anomaly'])})"
        for (name, seed), found in anomalies.groupby(["experiment", "seed"], sort=False)
    ]
    return (f"anomalies: {', '.join(trials)}",) if trials else ()

"""What went wrong: the table of events, and how other tables say that a mean is over fewer trials, or over such."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eval.results.anomalies import ANOMALIES, FINITE
from reports.format.facts import labels, models, of, setting
from reports.format.table import DOUBLE_DAGGER, MISSING, Cell, Table, cell, number, plain

if TYPE_CHECKING:
    from eval.results.anomalies import Anomaly
    from eval.results.frames import Results


def events(results: Results) -> Table:
    """Return every event of every trial; one line where there is none."""
    names, found = labels(results), results.anomalies
    limits = {event.name: _limits(event) for event in ANOMALIES}
    rows = [
        {
            "Trial": Cell(
                f"{names.get(row.experiment, row.experiment)}, seed {row.seed}",
                {"experiment": row.experiment, "seed": row.seed},
            ),
            "Event": plain("event", row.anomaly),
            "Steps": Cell(_steps(row.first, row.last), {"first": row.first, "last": row.last}),
            "Value": cell("value", row.value, 3),
            "Limits": plain("limits", limits.get(row.anomaly)),
        }
        for row in found.itertuples()
    ]
    caption = (
        f"{_lead(results)} {setting(results)} Watched are the losses and gradients, the size and the distances of "
        "the embeddings at every validation, the likelihoods, and the samples: whether they are repeated, monotonous, "
        "empty or invalid. No trial is left out of a mean for an event, but those that failed or are not done are in "
        "none. Controls that are no music are to have some, and the audited recipe trains too briefly for samples to "
        "be valid."
    )
    notes = [f"{event.name}: {event.meaning}" for event in ANOMALIES if event.name in set(found["anomaly"])]
    return Table.of("events", rows=rows, caption=caption, notes=notes)


def _lead(results: Results) -> str:
    if results.anomalies.empty:
        return "Nothing went wrong with the numbers."
    spared = set(models(results)).isdisjoint(results.anomalies["experiment"])
    return f"What went wrong with the numbers{', in no trial of a model that competes' * spared}."


def mark(results: Results, experiment: str) -> str:
    """Return what marks an experiment in whose trials something went wrong."""
    return DOUBLE_DAGGER if len(of(results.anomalies, experiment)) else ""


def remarks(results: Results) -> list[str]:
    """Return what went wrong with each experiment that has a row in the tables, trial by trial."""
    return [
        f"{DOUBLE_DAGGER} {label}: {'; '.join(trials)}."
        for name, label in labels(results).items()
        if (trials := by_trial(results, name))
    ]


def by_trial(results: Results, experiment: str) -> list[str]:
    """Return the events of each trial of an experiment: seed 2 failed, loss-not-finite."""
    return [
        f"seed {seed} {', '.join(own['anomaly'])}" for seed, own in of(results.anomalies, experiment).groupby("seed")
    ]


def _steps(first: float, last: float) -> str:
    if math.isnan(first):
        return MISSING
    return f"{first:.0f}" if first == last else f"{first:.0f} to {last:.0f}"


def _limits(event: Anomaly) -> str | None:
    if event.most == FINITE:
        return "finite"
    if math.isfinite(event.most):
        return f"at most {number(event.most, 1)}"
    return f"at least {number(event.least, 1)}" if math.isfinite(event.least) else None

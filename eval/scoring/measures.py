"""The measures of a set of windows as a whole: their labels, units and ideal values."""

from __future__ import annotations

from dataclasses import dataclass

from eval.distances.copying import COPYING
from eval.distances.table import DISTANCES
from eval.metrics.table import EDITION as METRICS_EDITION
from eval.metrics.table import METRICS
from replication.util.files import digest


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a measure is called and what it would be for music like the real one.

    Attributes:
        label: the name in tables and figures.
        unit: what the number counts; "1" for a rate or a number without unit.
        ideal: its value for sets of equal distribution; None where real music has a value of its own to compare with.
    """

    label: str
    unit: str
    ideal: float | None = None


DISTANCE = "distance"  # the headline: the mean Wasserstein distance over metrics
MEASURES: dict[str, Measure] = {
    DISTANCE: Measure(label="Distance", unit="SD", ideal=0.0),
    **{name: Measure(label=row.label, unit=row.unit, ideal=row.ideal) for name, row in DISTANCES.items()},
    "mmd_p": Measure(label="p (MMD)", unit="1"),
    **{name: Measure(label=row.label, unit=row.unit) for name, row in COPYING.items()},
    "teacher_nll": Measure(label="Teacher NLL", unit="nats per token"),
    "teacher_ruled_out": Measure(label="Ruled out by the teacher", unit="1"),
    "token_entropy": Measure(label="Token entropy", unit="nats"),
    "nan_rate": Measure(label="Undefined", unit="1"),
}


# Measures whose multiples of the noise floor mean something.
IN_FLOORS = (DISTANCE, *(name for name, row in DISTANCES.items() if row.in_floors))


# Raise this when a measure comes to give other numbers or to mean something else: what was scored before is scored
# again.
EDITION = 2


def scoring_version() -> str:
    """Return the name of what scores are: results under another name are scored again."""
    return digest(EDITION, METRICS_EDITION, list(METRICS), list(MEASURES))[:16]

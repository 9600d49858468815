"""The measures of a set of windows as a whole: their labels, units and ideal values."""

from __future__ import annotations

from dataclasses import dataclass

from eval.distances.copying import COPYING
from eval.distances.endpoint import ENDPOINT
from eval.distances.table import DISTANCES
from eval.metrics.table import EDITION as METRICS_EDITION
from eval.metrics.table import METRICS
from replication.util.files import digest


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The name and unit of a measure, and its value for music like real music.

    Attributes:
        label: Name in tables and figures.
        unit: Unit of the number; "1" for a rate or a number without unit.
        ideal: Value for sets of equal distribution; None if it has to be compared with the value of real music.
    """

    label: str
    unit: str
    ideal: float | None = None


DISTANCE = ENDPOINT
WASSERSTEIN = "wasserstein"
SECOND_SAMPLER = "second_sampler"
MEASURES: dict[str, Measure] = {
    DISTANCE: Measure(label="Distance", unit="floors", ideal=1.0),
    WASSERSTEIN: Measure(label="Mean Wasserstein distance", unit="SD", ideal=0.0),
    **{name: Measure(label=row.label, unit=row.unit, ideal=row.ideal) for name, row in DISTANCES.items()},
    "mmd_p": Measure(label="p (MMD)", unit="1"),
    **{name: Measure(label=row.label, unit=row.unit) for name, row in COPYING.items()},
    "teacher_nll": Measure(label="Teacher NLL", unit="nats per token"),
    "teacher_ruled_out": Measure(label="Ruled out by the teacher", unit="1"),
    "token_entropy": Measure(label="Token entropy", unit="nats"),
    "nan_rate": Measure(label="Undefined", unit="1"),
    SECOND_SAMPLER: Measure(label="Distance, second sampler", unit="floors", ideal=1.0),
}


# Measures whose multiples of the noise floor mean something.
IN_FLOORS = (DISTANCE, SECOND_SAMPLER, WASSERSTEIN, *(name for name, row in DISTANCES.items() if row.in_floors))


# Raise this when a measure gives other numbers or changes its meaning; runs are then scored again.
# tests/eval/scoring/test_stored_scores.py checks it.
EDITION = 4


def scoring_version() -> str:
    """Return the version of the scores; trials that were scored under another version are scored again."""
    return digest(EDITION, METRICS_EDITION, list(METRICS), list(MEASURES))[:16]

"""Compute the numbers of a scored trial under the names that MLflow shows.

The few main numbers have short names without a section; all others are named `section/name`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval.scoring.measures import DISTANCE
from replication.util.files import read_json
from replication.util.text import number

if TYPE_CHECKING:
    from pathlib import Path

UNITS = {"token": "nll", "note": "nll_per_note", "beat": "nll_per_beat", "second": "nll_per_second"}


def summary(folder: Path, scores: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a trial folder by name.

    Args:
        folder: Folder of a trial.
        scores: Content of its scores.json.

    Returns:
        distance (in multiples of the noise floor), classifier_auc, validity, nll (nats per token; also per note, beat
        and second), teacher_gap and entropy_gap (to real music); measures/ and floors/ (a value, and the same as a
        multiple of the noise floor), metrics/ (means over samples), nan_rate/, muspy/, nll/ (errors and terms of a
        bound), cost/.
    """
    measures = scores["measures"]
    found = {
        "distance": measures[DISTANCE]["ratio"],
        "classifier_auc": measures["classifier_auc"]["value"],
        "validity": scores["validity"],
        "teacher_gap": _gap(measures["teacher_nll"]),
        "entropy_gap": _gap(measures["token_entropy"]),
        **{f"measures/{name}": row["value"] for name, row in measures.items()},
        **{f"floors/{name}": row["ratio"] for name, row in measures.items()},
        **{f"muspy/{name}": value for name, value in scores["muspy"].items()},
        **_metrics(folder),
        **_likelihood(folder / "likelihood.json"),
        **_costs(folder / "timing.json"),
    }
    return {name: number(value) for name, value in found.items()}


def _gap(row: dict[str, float | None]) -> float:
    return number(row["value"]) - number(row["floor"])


def _metrics(folder: Path) -> dict[str, float]:
    """Return the means of the metrics over samples, their distances, and the shares of samples without a value."""
    import pandas as pd

    if not (path := folder / "distances.parquet").exists():
        return {}
    distances = pd.read_parquet(path).set_index("metric")
    means = pd.read_parquet(folder / "scores.parquet", columns=list(distances.index)).mean()
    return {
        **{f"metrics/{name}": value for name, value in means.items()},
        **{f"floors/{name}": value for name, value in distances["ratio"].items()},
        **{f"nan_rate/{name}": value for name, value in distances["nan_rate"].items() if value},
    }


def _likelihood(path: Path) -> dict[str, float]:
    """Return the likelihood of a trial and, if it is a bound, its terms; nothing for a control without likelihood."""
    nll = read_json(path) if path.exists() else {}
    terms = {} if nll.get("exact", True) else nll["terms"]
    found = {
        **{short: nll.get(f"nats_per_{unit}") for unit, short in UNITS.items()},
        **{f"nll/{key}": value for key, value in nll.items() if key.startswith("error_")},
        **{f"nll/{name}": value for name, value in terms.items()},
        "cost/parameters": nll.get("parameters"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _costs(path: Path) -> dict[str, float]:
    """Return the seconds of each stage."""
    return {f"cost/{stage}_seconds": value for stage, value in (read_json(path) if path.exists() else {}).items()}

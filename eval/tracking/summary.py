"""Compute the numbers of a scored trial under the names that MLflow shows.

The few main numbers have short names without a section; all others are named `section/name`. A narrow chart of MLflow
shows the first twelve letters of a name, so these say what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval.results.schema import TRAINING
from eval.scoring.measures import DISTANCE
from replication.util.files import read_json
from replication.util.text import number

if TYPE_CHECKING:
    from pathlib import Path

# Sections: means of metrics over samples, shares of samples without a value, numbers of muspy on whole sets, measures
# in their own units, and measures and metrics as multiples of the noise floor.
MEAN, UNDEFINED, MUSPY, OWN_UNIT, FLOORS = "avg", "nan", "muspy", "own", "x"
_SHORT = {  # names whose first letters do not tell them apart
    "n_pitches_used": "pitches_used",
    "n_pitch_classes_used": "classes_used",
    "pitch_range": "range",
    "pitch_entropy": "entropy",
    "pitch_class_entropy": "pc_entropy",
    "pitch_class_entropy_1bar": "pc1_entropy",
    "pitch_class_entropy_4bar": "pc4_entropy",
    "pitch_in_c_major_rate": "c_major",
    "pitch_in_scale_rate": "in_scale",
    "pitch_deviation": "pitch_sd",
    "mean_pitch": "pitch",
    "polyphony_rate": "poly_rate",
    "polyphony_rate_ge2": "poly_ge2",
    "empty_beat_rate": "beats_empty",
    "empty_measure_rate": "bars_empty",
    "groove_consistency": "groove",
    "groove_jaccard": "jaccard",
    "note_density": "density",
    "note_density_seconds": "dens_s",
    "mean_duration": "duration",
    "mean_duration_seconds": "dur_s",
    "duration_deviation": "dur_sd",
    "duration_deviation_seconds": "dur_s_sd",
    "mean_inter_onset": "ioi",
    "mean_inter_onset_seconds": "ioi_s",
    "inter_onset_deviation": "ioi_sd",
    "inter_onset_deviation_seconds": "ioi_s_sd",
    "mean_velocity": "velocity",
    "velocity_deviation": "vel_sd",
    "length_seconds": "len_s",
    "teacher_ruled_out": "ruled_out",
    "error_of_estimate": "se_estimate",
    "error_over_songs": "se_songs",
}
UNITS = {"token": "nll", "note": "nll_per_note", "beat": "nll_per_beat", "second": "nll_per_second"}


def title(section: str, name: str) -> str:
    """Return the name of a number in MLflow.

    >>> title(MEAN, "pitch_class_entropy_4bar"), title(FLOORS, "chords")
    ('avg/pc4_entropy', 'x/chords')
    """
    return f"{section}/{_SHORT.get(name, name)}"


def summary(folder: Path, scores: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a trial folder by name.

    Args:
        folder: Folder of a trial.
        scores: Content of its scores.json.

    Returns:
        distance (in multiples of the noise floor), classifier_auc, validity, nll (nats per token; also per note, beat
        and second), teacher_gap and entropy_gap (to real music); own/ and x/ (a value, and the same as a multiple of
        the noise floor), avg/ (means over samples), nan/, muspy/, nll/ (standard errors and, of a bound, its terms,
        the power and the variance of its estimator, and the bound of the plain prediction), cost/.
    """
    measures = scores["measures"]
    found = {
        "distance": measures[DISTANCE]["ratio"],
        "classifier_auc": measures["classifier_auc"]["value"],
        "validity": scores["validity"],
        "teacher_gap": _gap(measures["teacher_nll"]),
        "entropy_gap": _gap(measures["token_entropy"]),
        **{title(OWN_UNIT, name): row["value"] for name, row in measures.items()},
        **{title(FLOORS, name): row["ratio"] for name, row in measures.items()},
        **{title(MUSPY, name): value for name, value in scores["muspy"].items()},
        **_metrics(folder),
        **_likelihood(folder / "likelihood.json"),
        **_costs(folder),
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
        **{title(MEAN, name): value for name, value in means.items()},
        **{title(FLOORS, name): value for name, value in distances["ratio"].items()},
        **{title(UNDEFINED, name): value for name, value in distances["nan_rate"].items() if value},
    }


def _likelihood(path: Path) -> dict[str, float]:
    """Return the likelihood of a trial and, of a bound, its terms, its estimator's constants and the plain bound.

    Nothing for a control without likelihood.
    """
    nll = read_json(path) if path.exists() else {}
    terms = {} if nll.get("exact", True) else nll["terms"]
    estimator, plain = nll.get("estimator") or {}, nll.get("plain") or {}
    found = {
        **{short: nll.get(f"nats_per_{unit}") for unit, short in UNITS.items()},
        **{title("nll", key): value for key, value in nll.items() if key.startswith("error_")},
        **{f"nll/{name}": value for name, value in terms.items()},
        **{f"nll/{name}": estimator.get(name) for name in ("power", "variance")},
        "nll/plain": plain.get("nats_per_token"),
        "nll/plain_se": plain.get("error_of_estimate"),
        "cost/parameters": nll.get("parameters"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _costs(folder: Path) -> dict[str, float]:
    """Return the seconds of each stage, and the tokens and floating-point operations of training."""
    times, training = (
        read_json(path) if (path := folder / name).exists() else {} for name in ("timing.json", TRAINING)
    )
    return {f"cost/{stage}_seconds": value for stage, value in times.items()} | {
        f"cost/{name}": value for name, value in training.items()
    }

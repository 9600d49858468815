"""What tuning leaves: the chosen points, and what every arm scored at every point of its grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eval.results.schema import as_written, read_trial
from eval.scoring.measures import DISTANCE
from replication.training.scales import Point, tuning_name
from replication.util.files import read_json
from replication.util.text import number

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

CHOSEN = "tuning.json"


MOST = 1_000  # that dimensions and scales may be multiplied by


def chosen_points(comparison: Path) -> dict[str, Point]:
    """Return the points that were chosen before."""
    path = comparison / CHOSEN
    with as_written(path):
        return {arm: _point(**point) for arm, point in (read_json(path) if path.exists() else {}).items()}


def _point(*, dimension: int, scale: float) -> Point:
    if not (0 < int(dimension) <= MOST and 0 < float(scale) <= MOST):
        raise ValueError(f"a point of dimension {dimension} and scale {scale}")
    return Point(dimension=int(dimension), scale=float(scale))


def tuning_folder(comparison: Path) -> Path:
    """Return the folder of the tuning trials of a comparison, which is that of its scale and corpus."""
    return comparison.parent.with_name(tuning_name(comparison.parent.name)) / comparison.name


def grid_rows(comparison: Path) -> pd.DataFrame:
    """Return what every arm scored at every point of its grid: arm, dimension, scale, distance, nll, chosen.

    Points whose trial failed have NaN. Without tuning there are no rows.
    """
    import pandas as pd

    chosen, rows = chosen_points(comparison), []
    for place in sorted(tuning_folder(comparison).glob("*/*/trial.json")):
        about = read_trial(place.parent)
        arm, model = about["experiment"].partition("-d")[0], about["config"]["model"]
        if arm not in chosen or model["type"] != "Diffusion":
            continue
        base = about["config"]["scale"]["dimension"]
        point = Point(dimension=model["dimension"] // base, scale=model["embedding"]["scale"])
        path = place.with_name("scores.json")
        scores = read_json(path) if path.exists() and about["status"] == "FINISHED" else {}
        likelihood = place.with_name("likelihood.json")
        nll = read_json(likelihood) if scores and likelihood.exists() else {}
        found = (
            number(scores["measures"][DISTANCE]["ratio"]) if scores else math.nan,
            number(nll.get("nats_per_token")),
        )
        rows.append((arm, model["dimension"], point.scale, *found, point == chosen[arm]))
    return pd.DataFrame(rows, columns=["arm", "dimension", "scale", "distance", "nll", "chosen"])

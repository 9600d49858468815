"""Read the tuning of a comparison: the chosen points, and the scores of every arm at every point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eval.results.schema import as_written, read_point, read_trial
from eval.scoring.measures import DISTANCE
from replication.training.scales import tuning_name
from replication.util.files import read_json
from replication.util.text import number

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from replication.training.scales import TuningPoint

CHOSEN = "tuning.json"


def chosen_points(comparison: Path) -> dict[str, TuningPoint]:
    """Return the point that was chosen for each arm; empty before tuning."""
    path = comparison / CHOSEN
    with as_written(path):
        return {arm: read_point(**point) for arm, point in (read_json(path) if path.exists() else {}).items()}


def tuning_folder(comparison: Path) -> Path:
    """Return the folder of the tuning trials of a comparison."""
    return comparison.parent.with_name(tuning_name(comparison.parent.name)) / comparison.name


def grid_rows(comparison: Path) -> pd.DataFrame:
    """Return the scores of every tuned arm at every point: arm, dimension, scale, distance, nll, chosen.

    Points whose trial failed have NaN. Without tuning there are no rows.
    """
    import pandas as pd

    chosen, rows = chosen_points(comparison), []
    for path in sorted(tuning_folder(comparison).glob("*/*/trial.json")):
        about = read_trial(path.parent)
        arm = about["arm"]
        if about["point"] is None or arm not in chosen:
            continue
        point, scores = read_point(**about["point"]), path.with_name("scores.json")
        found = read_json(scores) if scores.exists() and about["status"] == "FINISHED" else {}
        likelihood = path.with_name("likelihood.json")
        nll = read_json(likelihood) if found and likelihood.exists() else {}
        distance = number(found["measures"][DISTANCE]["ratio"]) if found else math.nan
        dimension = about["config"]["model"]["dimension"]
        rows.append((arm, dimension, point.scale, distance, number(nll.get("nats_per_token")), point == chosen[arm]))
    return pd.DataFrame(rows, columns=["arm", "dimension", "scale", "distance", "nll", "chosen"])

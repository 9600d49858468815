"""Read the tuning of a comparison: the points chosen with each seed, and the scores of every arm at every point."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from eval.results.schema import as_written, read_point, read_trial
from eval.scoring.measures import DISTANCE
from replication.training.scales import tuning_name
from replication.util.files import read_json, write_json
from replication.util.text import number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from replication.training.scales import TuningPoint

CHOSEN = "tuning.json"


def chosen_points(comparison: Path) -> dict[int, dict[str, TuningPoint]]:
    """Return the point that was chosen for each arm by seed; a seed whose search is not finished is missing."""
    path = comparison / CHOSEN
    with as_written(path):
        return {
            int(seed): {arm: read_point(**point) for arm, point in points.items()}
            for seed, points in (read_json(path) if path.exists() else {}).items()
        }


def write_chosen(comparison: Path, chosen: Mapping[int, Mapping[str, TuningPoint]]) -> None:
    """Write what `chosen_points` reads."""
    points = {str(seed): {arm: asdict(point) for arm, point in own.items()} for seed, own in sorted(chosen.items())}
    write_json(comparison / CHOSEN, points)


def point_words(about: Mapping[str, Any]) -> str | None:
    """Return the tuning point of a trial in words, given its trial.json; None if it has none."""
    if about["point"] is None:
        return None
    return f"d {about['config']['model']['dimension']}, scale {about['point']['scale']:g}"


def tuning_folder(comparison: Path) -> Path:
    """Return the folder of the tuning trials of a comparison."""
    return comparison.parent.with_name(tuning_name(comparison.parent.name)) / comparison.name


def grid_rows(comparison: Path) -> pd.DataFrame:
    """Return the scores of every tuned arm at every point with every seed: see `Results.grid`.

    Points whose trial failed have NaN. Without tuning there are no rows.
    """
    import pandas as pd

    chosen, rows = chosen_points(comparison), []
    for path in sorted(tuning_folder(comparison).glob("*/*/trial.json")):
        about = read_trial(path.parent)
        arm, seed = about["arm"], about["seed"]
        if about["point"] is None or arm not in chosen.get(seed, {}):
            continue
        point, scores = read_point(**about["point"]), path.with_name("scores.json")
        found = read_json(scores) if scores.exists() and about["status"] == "FINISHED" else {}
        likelihood = path.with_name("likelihood.json")
        nll = read_json(likelihood) if found and likelihood.exists() else {}
        distance = number(found["measures"][DISTANCE]["ratio"]) if found else math.nan
        dimension = about["config"]["model"]["dimension"]
        best = point == chosen[seed][arm]
        rows.append((arm, seed, dimension, point.scale, distance, number(nll.get("nats_per_token")), best))
    return pd.DataFrame(rows, columns=["arm", "seed", "dimension", "scale", "distance", "nll", "chosen"])

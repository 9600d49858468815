"""What tells two trials apart to the last bit: hashes of what they learnt and drew, and the machines that made it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from replication.util.files import read_json, sha256

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def fingerprint(folder: Path) -> pd.DataFrame:
    """Return the row of `Results.fingerprints` of a finished trial; no weights are needed, which may have stayed away.

    The samples are hashed as text: how their tokens are packed in samples.npz is up to a version of zlib.
    """
    import pandas as pd

    about, samples = read_json(folder / "trial.json"), folder / "samples.txt"
    places = [about["environment"], *(move["environment"] for move in about.get("moves", []))]
    row = {
        "weights": read_json(folder / "scores.json").get("weights", ""),
        "samples": sha256(samples) if samples.exists() else "",
        "places": json.dumps(places, sort_keys=True),
    }
    return pd.DataFrame([row], dtype=object)

"""Read the files of one trial folder as rows of the frames in `eval.results.frames`."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from eval.results import training_log
from eval.results.schema import AUDITS, TRAINING
from replication.tokens.encodings import encoding_on
from replication.util.files import read_json, sha256
from replication.util.text import number

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from replication.midi.piece import TimeGrid

PITCH = re.compile(r"(?:p|Pitch_)(\d+)")  # words that name a pitch, here and in REMI
CURVE_COLUMNS = ("step", "key", "value")
PAIR_COLUMNS = ("pair", "side", "share", "onset", "duration", "pitch")
AUDIT_COLUMNS = ("age", "bits_per_word", "nll", "nll_error", "teacher_gap", "distance")
_TERMS = ("prior", "diffusion", "rounding")
_UNITS = ("note", "beat", "second")


def stack(
    trials: dict[tuple[str, int], Path], read: Callable[[Path], pd.DataFrame | None], columns: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Concatenate the frames that `read` returns for each trial, with columns experiment and seed in front.

    Args:
        trials: Trial folders by experiment and seed.
        read: Function that reads a folder; None if the folder has no such frame.
        columns: Columns of the empty result if no folder has one.
    """
    import pandas as pd

    frames = []
    for (experiment, seed), folder in trials.items():
        frame = read(folder)
        if frame is not None:
            frame.insert(0, "experiment", experiment)
            frame.insert(1, "seed", seed)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["experiment", "seed", *columns])


def parquet(name: str) -> Callable[[Path], pd.DataFrame | None]:
    """Return a function that reads a table of a trial folder, or returns None if it is missing."""

    def read(folder: Path) -> pd.DataFrame | None:
        import pandas as pd

        path = folder / f"{name}.parquet"
        return pd.read_parquet(path) if path.exists() else None

    return read


def trial_row(experiment: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return the row of `Results.trials`; a control made of real windows has neither likelihood nor costs."""
    scores, likelihood = read_json(folder / "scores.json"), folder / "likelihood.json"
    nll: dict[str, Any] = read_json(likelihood) if likelihood.exists() else {"exact": True}
    terms, plain = {} if nll["exact"] else nll["terms"], nll.get("plain") or {}
    check = nll.get("every_timestep") or {}
    timing = folder / "timing.json"
    times = read_json(timing) if timing.exists() else {}
    cost = read_json(folder / TRAINING) if (folder / TRAINING).exists() else {}
    return {
        "experiment": experiment,
        "seed": seed,
        "parameters": number(nll.get("parameters")),
        "tokens_seen": number(cost.get("tokens_seen")),
        "flop": number(cost.get("flop")),
        "fit_seconds": number(times.get("fit")),
        "sample_seconds": number(times.get("sample")),
        "validity": number(scores["validity"]),
        "searched": scores["searched"],
        "nll": number(nll.get("nats_per_token")),
        **{f"nll_{unit}": number(nll.get(f"nats_per_{unit}")) for unit in _UNITS},
        "nll_error": math.nan if nll["exact"] else number(nll.get("error_of_estimate")),
        "nll_error_songs": number(nll.get("error_over_songs")),
        "nll_every": number(check.get("every")),
        "nll_drawn": number(check.get("drawn")),
        "nll_drawn_error": number(check.get("error")),
        "changed": number(scores.get("changed")),
        "estimator": _estimator(nll.get("estimator")),
        "nll_plain": number(plain.get("nats_per_token")),
        "nll_plain_error": number(plain.get("error_of_estimate")),
        "exact": nll["exact"],
        **{f"nll_{name}": number(terms.get(name)) for name in _TERMS},
    }


def _estimator(described: dict[str, Any] | None) -> str:
    """Return the constants of `Interpolated`, whose description likelihood.json holds; empty for a model without."""
    return f"power {described['power']:g}, variance {described['variance']:g}" if described else ""


def measure_rows(folder: Path) -> pd.DataFrame:
    """Return every measure of the sample set: measure, value, floor, floor_p95, ratio, p, n."""
    import pandas as pd

    measures = read_json(folder / "scores.json")["measures"]
    rows = [{"measure": name, **{key: number(value) for key, value in row.items()}} for name, row in measures.items()]
    return pd.DataFrame(rows, columns=["measure", "value", "floor", "floor_p95", "ratio", "p", "n"])


def muspy_rows(folder: Path) -> pd.DataFrame:
    """Return the means of the metrics as muspy computes them: metric, value."""
    import pandas as pd

    found = read_json(folder / "scores.json")["muspy"]
    return pd.DataFrame({"metric": list(found), "value": [number(value) for value in found.values()]})


def curve_rows(folder: Path) -> pd.DataFrame | None:
    """Return the values of the training log, one row per step and key; None if there is no log."""
    import pandas as pd

    path = folder / training_log.FILE
    if not path.exists():
        return None
    rows = [(entry.step, key, value) for entry in training_log.read(path) for key, value in entry.values.items()]  # noqa: PD011
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def audit_rows(folder: Path) -> pd.DataFrame | None:
    """Return the results of the audit, one row per age; None if there are none."""
    import pandas as pd

    path = folder / AUDITS / f"{read_json(folder / 'scores.json')['scoring']}.json"
    if not path.exists():
        return None
    rows = [
        {"age": int(age), **{name: number(value) for name, value in found.items()}}
        for age, found in read_json(path).items()
    ]
    return pd.DataFrame(rows, columns=AUDIT_COLUMNS).sort_values("age", ignore_index=True)


def embedding_rows(folder: Path, data: dict[str, Any], grid: TimeGrid) -> pd.DataFrame | None:
    """Return the embedding table of a trial, one row per word; None if it has none, or one that is not shown."""
    import pandas as pd

    about, path = read_json(folder / "trial.json"), folder / "embedding.parquet"
    if not (about["embeddings"] and path.exists()):
        return None
    config = about["config"]
    frame = pd.read_parquet(path)
    words = encoding_on(config["encoding"], grid).vocabulary
    used = set(data["encodings"][config["encoding"]]["words_used"])
    pitches = [PITCH.fullmatch(word) if word in used else None for word in words]
    frame.insert(0, "word", words)
    frame.insert(1, "pitch", [float(found[1]) if found else math.nan for found in pitches])
    return frame


def evaluations(sampler: dict[str, Any]) -> int:
    """Return the number of network evaluations per sample of a sampler, given its configuration."""
    if "candidates" in sampler:
        return int(sampler["candidates"]) * evaluations(sampler["sampler"])
    return int(sampler["steps"])


def fingerprint_rows(folder: Path) -> pd.DataFrame:
    """Return the row of `Results.fingerprints`; the hash of the weights is read from scores.json, not computed.

    Samples are hashed as text, because the bytes of samples.npz depend on the version of zlib.
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

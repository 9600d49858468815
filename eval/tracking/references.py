"""Collect real music and published numbers, which MLflow shows with the trials as runs of kind `reference`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.claims.claims import PUBLISHED
from eval.metrics.table import METRICS
from eval.results.schema import read_trial
from eval.scoring.measures import scoring_version
from eval.scoring.reference import INK, reference_file
from eval.tracking.runs import RunContent
from eval.tracking.summary import FLOORS, MEAN, MUSPY, OWN_UNIT, title
from replication.tokens.encodings import ENCODINGS
from replication.util.files import digest, read_json
from replication.util.text import plain

if TYPE_CHECKING:
    import pandas as pd

REAL = "real music"
_YEAR = datetime(2022, 1, 1, tzinfo=UTC).timestamp()  # year of the publication, which has no exact date
_PAPER = """**{name}**, as published by Kasera, Liu and Li (2022): "bits per word" by training iteration.

This is the only number in that paper, which does not define it. It is consistent with the loss of reading words back \
from their own embeddings, which `audit/bits_per_word` is here. That loss depends strongly on the dimension of the \
embeddings and on the vocabulary, so the two can differ by many orders of magnitude."""
_REAL = """**Real music**: the test split of {corpus}, {windows} windows of {songs} songs, with which all samples are \
compared.

Compare scores with these. Multiples of the noise floor are 1 and gaps are 0 by definition. `avg/` and \
`muspy/` are measured on the test split, and `own/` compares one half of it with the other. The artifacts belong to \
the whole comparison: the data, the chosen tuning points, and the scores of the real windows."""


def published() -> list[RunContent]:
    """Return the published numbers, one run per model of the paper."""
    runs = []
    for model, numbers in PUBLISHED.items():
        about = _about(f"paper: {model}", started=_YEAR, note=_PAPER.format(name=model))
        lines = [{"step": step, "time": _YEAR, "paper/bits_per_word": value} for step, value in numbers.items()]
        encoded = [json.dumps(line).encode() for line in lines]
        runs.append(RunContent(path=Path(), about=about, lines=encoded, scores=b"", patterns=()))
    return runs


def real_music(comparison: Path) -> list[RunContent]:
    """Return the run of the real music of a comparison; no run before the first trial is scored."""
    import pandas as pd

    path = comparison / "data.json"
    data = read_json(path) if path.exists() else {"encodings": {}}
    for encoding in ENCODINGS:  # the first one with scores represents all: the music is the same
        facts = data["encodings"].get(encoding)
        if not facts or not (table := reference_file(comparison, facts["digest"], "scores.parquet")).exists():
            continue
        trials = [read_trial(place.parent) for place in sorted(comparison.glob("*/*/trial.json"))]
        scores = _means(pd.read_parquet(table)) | _between_halves(comparison, trials, encoding)
        raw = read_json(reference_file(comparison, facts["digest"], "raw.json"))
        values = scores | {title(MUSPY, name): value for name, value in raw.items()}
        sizes = {"windows": facts["windows"]["test"], "songs": facts["songs"]["test"]}
        about = _about(
            REAL,
            started=min(trial["started"] for trial in trials),
            note=_REAL.format(corpus=data["title"], **sizes),
            scale=comparison.parent.name,
            corpus=data["corpus"],
        )
        files = ("data.json", "card.json", "tuning.json", f"reference/*-{scoring_version()}-*")
        content = json.dumps({name: plain(value) for name, value in values.items()}, sort_keys=True).encode()
        return [RunContent(path=comparison, about=about, lines=[], scores=content, patterns=files, values=values)]
    return []


def _about(
    name: str, *, started: float, note: str, scale: str | None = None, corpus: str | None = None
) -> dict[str, Any]:
    """Return the counterpart of trial.json."""
    return {
        "id": digest("reference", name, scale, corpus),
        "experiment": name,
        "label": name,
        "note": note,
        "colour": INK,
        "seed": None,
        "kind": "reference",
        "scale": scale,
        "corpus": corpus,
        "config": {},
        "dataset": None,
        "environment": {},
        "status": "FINISHED",
        "started": started,
        "ended": started,  # constant, so that no point is logged twice
    }


def _means(scores: pd.DataFrame) -> dict[str, float]:
    """Return the scores of the real windows, under the names of the scores of samples."""
    defined = {"distance": 1.0, "teacher_gap": 0.0, "entropy_gap": 0.0}
    measured = {title(MEAN, name): float(scores[name].mean()) for name in METRICS if name in scores}
    return {**defined, "validity": float(scores["valid"].mean()), **measured}


def _between_halves(comparison: Path, trials: list[dict[str, Any]], encoding: str) -> dict[str, float]:
    """Return the measures between two halves of the real music, which are the floors in the scores of every trial."""
    for trial in trials:
        path = comparison / trial["experiment"] / str(trial["seed"]) / "scores.json"
        if trial["kind"] == "trial" and trial["config"]["encoding"] == encoding and path.exists():
            measures = read_json(path)["measures"]
            floors = {name: row["floor"] for name, row in measures.items() if row["floor"] is not None}
            return {
                "classifier_auc": floors["classifier_auc"],
                **{title(OWN_UNIT, name): value for name, value in floors.items()},
                **{title(FLOORS, name): 1.0 for name, row in measures.items() if row["ratio"] is not None},
            }
    return {}

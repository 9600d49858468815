"""What MLflow shows beside the trials: real music, and published numbers; each is a run of kind `reference`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.claims.claims import PUBLISHED
from eval.metrics.table import METRICS
from eval.results.schema import as_written, read_trial
from eval.scoring.measures import scoring_version
from eval.scoring.reference import INK, reference_file
from eval.tracking.records import Record
from replication.tokens.encodings import ENCODINGS
from replication.util.files import digest, read_json
from replication.util.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from eval.tracking.store import Store

REAL = "real music"
_YEAR = datetime(2022, 1, 1, tzinfo=UTC).timestamp()  # of the publication; the day is not stated
_PAPER = """**{name}**, as published by Kasera, Liu and Li (2022): "bits per word" by training iteration.

It is the only number of that report. It is the loss of reading words back from their own embeddings, no likelihood, \
so that it stands beside the audit of the same number here (`audit/bits_per_word`) and nowhere else."""
_REAL = """**Real music**: the test split of {corpus}, {windows} windows of {songs} songs, which all samples are held \
against.

It is what the scores are to be compared with: 1 in multiples of the noise floor and 0 in gaps by definition, \
`metrics/` and `muspy/` as measured, `measures/` as one half of it is from the other. Here is too what the comparison \
has and no trial: the data, the points that were chosen, the scores of the real windows."""


def level(store: Store, comparisons: Iterable[Path]) -> int:
    """Bring MLflow level with all that is in the folders of comparisons; return how many trials these have.

    Raises:
        StoreError: if MLflow cannot be reached.
    """
    count = 0
    for comparison in comparisons:
        for path in sorted(comparison.glob("*/*/trial.json")):
            with as_written(path.parent):
                store.sync(path.parent, final=True)
            count += 1
        with as_written(comparison):
            for record in real_music(comparison):
                store.show(record)
    for record in published():
        store.show(record)
    return count


def published() -> list[Record]:
    """Return the numbers of the paper, a record for each of its models."""
    records = []
    for model, numbers in PUBLISHED.items():
        about = _about(f"paper: {model}", started=_YEAR, note=_PAPER.format(name=model))
        lines = [{"step": step, "time": _YEAR, "paper/bits_per_word": value} for step, value in numbers.items()]
        encoded = [json.dumps(line).encode() for line in lines]
        records.append(Record(path=Path(), about=about, lines=encoded, scores=b"", patterns=()))
    return records


def real_music(comparison: Path) -> list[Record]:
    """Return the record of the real music of a comparison's folder; none before anything is scored there."""
    import pandas as pd

    path = comparison / "data.json"
    data = read_json(path) if path.exists() else {"encodings": {}}
    for encoding in ENCODINGS:  # the first that trials were scored in speaks for all: they are of the same music
        facts = data["encodings"].get(encoding)
        if not facts or not (table := reference_file(comparison, facts["digest"], "scores.parquet")).exists():
            continue
        trials = [read_trial(place.parent) for place in sorted(comparison.glob("*/*/trial.json"))]
        scores = _means(pd.read_parquet(table)) | _between_halves(comparison, trials, encoding)
        raw = read_json(reference_file(comparison, facts["digest"], "raw.json"))
        shown = scores | {f"muspy/{name}": value for name, value in raw.items()}
        sizes = {"windows": facts["windows"]["test"], "songs": facts["songs"]["test"]}
        about = _about(
            REAL,
            started=min(trial["started"] for trial in trials),
            note=_REAL.format(corpus=data["title"], **sizes),
            scale=comparison.parent.name,
            corpus=data["corpus"],
        )
        files = ("data.json", "card.json", "tuning.json", f"reference/*-{scoring_version()}-*")
        content = json.dumps({name: plain(value) for name, value in shown.items()}, sort_keys=True).encode()
        return [Record(path=comparison, about=about, lines=[], scores=content, patterns=files, shown=shown)]
    return []


def _about(
    name: str, *, started: float, note: str, scale: str | None = None, corpus: str | None = None
) -> dict[str, Any]:
    """Return what stands for trial.json."""
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
        "ended": started,  # the same whenever it is shown, so that no point is there twice
    }


def _means(scores: pd.DataFrame) -> dict[str, float]:
    """Return the scores of the real windows, as `etude.trial.scoring` has those of samples."""
    defined = {"distance": 1.0, "teacher_gap": 0.0, "entropy_gap": 0.0}
    measured = {f"metrics/{name}": float(scores[name].mean()) for name in METRICS if name in scores}
    return {**defined, "validity": float(scores["valid"].mean()), **measured}


def _between_halves(comparison: Path, trials: list[dict[str, Any]], encoding: str) -> dict[str, float]:
    """Return the measures of one half of the real music beside the other: the floors of every trial's measures."""
    for trial in trials:
        path = comparison / trial["experiment"] / str(trial["seed"]) / "scores.json"
        if trial["kind"] == "trial" and trial["config"]["encoding"] == encoding and path.exists():
            measures = read_json(path)["measures"]
            floors = {name: row["floor"] for name, row in measures.items() if row["floor"] is not None}
            return {
                "classifier_auc": floors["classifier_auc"],
                **{f"measures/{name}": value for name, value in floors.items()},
                **{f"floors/{name}": 1.0 for name, row in measures.items() if row["ratio"] is not None},
            }
    return {}

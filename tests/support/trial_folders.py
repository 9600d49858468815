"""Synthetic trial folders in the form that a worker leaves them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from replication.util.files import write_json

if TYPE_CHECKING:
    from pathlib import Path

START = 1_763_000_000.0


def make_trial(folder: Path, *, lines: int = 3, **changes: object) -> Path:
    folder.mkdir(parents=True)
    about = {
        "id": f"id-{folder.name}",
        "experiment": "e2e",
        "label": "End-to-end",
        "seed": 0,
        "kind": "trial",
        "arm": "e2e",
        "point": None,
        "embeddings": True,
        "tunes": None,
        "scale": "smoke",
        "corpus": "bach",
        "note": "A *synthetic* trial.",
        "colour": "#0072B2",
        "config": {
            "model": {
                "type": "DiffusionLM",
                "embedding": {"type": "Learned", "width": 16},
                "dimension": 16,
                "words": ["a"] * 300,
            }
        }
        | {f"option{i}": i for i in range(150)},  # more than MLflow takes in one call
        "environment": {"commit": "abc", "python": "3.11", "torch": "2.13"},
        "dataset": {"name": "bach", "digest": "ab" * 32, "windows": {"train": 1234, "test": 56}},
        "declaration": None,
        "status": "RUNNING",
        "started": START,
        "ended": None,
    }
    write_json(folder / "trial.json", about | changes)
    append(folder, range(lines))
    return folder


def append(folder: Path, steps: range) -> None:
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for step in steps:
            line = {"step": step, "time": START + step, "train/loss": 1 / (step + 1), "val/loss": math.nan}
            file.write(json.dumps(line) + "\n")


def end(folder: Path, status: str = "FINISHED", scores: dict[str, Any] | None = None) -> None:
    about = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
    write_json(folder / "trial.json", about | {"status": status, "ended": START + 60})
    if scores is not None:
        write_json(folder / "scores.json", scores)


def scores_of(distance: float, **measures: float) -> dict[str, Any]:
    """Return a scores.json with this distance in floors, and with the values of other measures."""
    values = {"classifier_auc": 0.7, "teacher_nll": 1.5, "token_entropy": 3.0, **measures}
    rows = {name: {"value": value, "floor": value, "ratio": None} for name, value in values.items()}
    rows["distance"] = {"value": 0.1 * distance, "floor": 0.1, "ratio": distance}
    return {"scoring": "scoring", "validity": None, "searched": 1.0, "measures": rows, "muspy": {}}

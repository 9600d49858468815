"""Scores for MIDI files of any origin: a model that Etude has never seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.metrics import METRICS
from eval.stages import distances_to, reference, scored
from eval.suite import Plan, prepare
from replication.corpora import folder_corpus, load
from replication.errors import UserError
from replication.tokens import ENCODINGS

if TYPE_CHECKING:
    from pathlib import Path


def score_files(path: Path, plan: Plan) -> str:
    """Return a table of how far the files are from the test split of the plan's corpus.

    The files are cut into windows as the corpus was, the first window of each file, so that no file counts twice.

    Raises:
        UserError: if too few files give a window.
    """
    encoding = ENCODINGS[plan.experiments[0].encoding]
    dataset = prepare(plan)
    loaded = load(folder_corpus(path), plan.root / "runs" / "cache")
    cut = [encoding.windows(piece.notes, plan.scale.length)[:1] for piece in loaded.pieces]
    windows = [window for first in cut for window in first if np.count_nonzero(window) >= plan.scale.length // 2]
    if not windows:
        raise UserError(
            f"{path}: none of its {len(loaded.pieces)} pieces fills half a window of {plan.scale.length} tokens"
        )
    table, _ = scored(np.stack(windows), encoding)
    real = reference(plan.comparison, dataset, encoding)
    distances = distances_to(real, table, dataset)
    for place, (name, scores) in enumerate({"value": table, "test": real}.items()):
        distances.insert(place, name, scores[list(METRICS)].mean())
    head = (
        f"{len(windows)} windows of {len(loaded.pieces)} files, {len(loaded.dropped)} files could not be read\n"
        f"ratio: distance to the test split of {plan.corpus.name} in multiples of the noise floor"
    )
    return f"{head}\n{distances.round(3).to_string()}"

"""Scores for MIDI files of any origin: a model that Etude has never seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics import METRICS
from eval.stages import distances_to, reference, scored
from eval.suite import Plan, prepare
from replication.corpora import folder_corpus
from replication.cutting import cut
from replication.encodings import encoding_on
from replication.errors import UserError
from replication.reading import load

if TYPE_CHECKING:
    from pathlib import Path


def score_files(path: Path, plan: Plan) -> str:
    """Return a table of how far the files are from the test split of the plan's corpus.

    The files are read in the time of the corpus and cut into windows as it was, the first window of each file, so that
    no file counts twice.

    Raises:
        UserError: if too few files give a window.
    """
    name, grid, cutting = plan.experiments[0].encoding, plan.corpus.reading.grid, plan.scale.cutting
    dataset, encoding = prepare(plan)[name], encoding_on(name, grid)
    corpus = folder_corpus(path)
    loaded = load(replace(corpus, reading=replace(corpus.reading, grid=grid)), plan.cache)
    outcomes = Counter(str(item.reason) for item in loaded.dropped)
    windows, firsts = [], replace(cutting, first_only=True)
    for piece in loaded.pieces:
        ((first, _, _),) = cut(piece.notes, encoding, firsts, train=False)
        if len(first):
            windows.append(first)
        else:
            outcomes["too short for half a window"] += 1
    if not windows:
        raise UserError(
            f"{path}: none of its {len(loaded.pieces)} pieces fills half a window of {cutting.length} tokens"
        )
    table, _ = scored(np.concatenate(windows), encoding)
    real = reference(plan.comparison, dataset, encoding)
    distances = distances_to(real, table, dataset)
    for place, (column, scores) in enumerate({"value": table, "test": real}.items()):
        distances.insert(place, column, scores[list(METRICS)].mean())
    counts = ", ".join(f"{n} {outcome}" for outcome, n in {"give a window": len(windows), **outcomes}.items())
    head = (
        f"{len(loaded.pieces) + len(loaded.dropped)} files: {counts}\n"
        f"ratio: distance to the test split of {plan.corpus.name} in multiples of the noise floor"
    )
    return f"{head}\n{distances.round(3).to_string()}"

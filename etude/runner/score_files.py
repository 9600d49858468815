"""Score MIDI files of any origin, such as the samples of a model that is not part of Etude."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etude.runner.plan import Plan, prepare
from eval.distances.noise_floor import MIN_WINDOWS
from eval.metrics.table import METRICS
from eval.scoring.controls import CONTROLS
from eval.scoring.measures import IN_FLOORS, MEASURES
from eval.scoring.reference import ReferenceSet
from eval.scoring.sample_set import SampleSet, read
from replication.corpora.corpus import folder_corpus
from replication.corpora.reading import load
from replication.tokens.encodings import encoding_on
from replication.util.errors import UserError
from replication.windows.cutting import cut

if TYPE_CHECKING:
    import pandas as pd


_ALL = 0.995  # share of changed windows above which a control counts as having changed all of them
# Measures of the panel that are shown as they are; those of `IN_FLOORS` are shown in multiples of the noise floor.
_VALUES = (
    "classifier_auc",
    "recall",
    "coverage",
    "copy_8",
    "copy_12",
    "longest_run",
    "distinct_4",
    "self_copy",
    "token_entropy",
)


def score_files(path: Path, plan: Plan) -> str:
    """Return tables that compare the files with the test split of the plan's corpus, and the scores of controls.

    The files are read with the time grid of the corpus and cut into windows in the same way. Only the first window of
    each file is used, so that each file counts once. Controls are built from as many windows; nothing is trained.

    Raises:
        UserError: If too few files give a window.
    """
    name = plan.experiments[0].encoding
    dataset, encoding = prepare(plan)[name], encoding_on(name, plan.corpus.reading.grid)
    tokens, outcomes = _windows(path, plan)
    scale = replace(plan.scale, samples=min(len(tokens), plan.scale.samples))
    reference = ReferenceSet.of(dataset, encoding, scale, comparison=plan.comparison)
    ours = read(tokens, encoding)
    distances, panel = reference.compare(ours)
    panels = {path.name or str(path): panel}
    for row in CONTROLS:
        if not row.model.needs:  # no trained model
            music, share = reference.control(row, seed=0, sibling=Path)
            some = 0 < share < _ALL
            panels[f"{row.label}, {share:.0%} changed" if some else row.label] = reference.compare(music)[1]
    n = int(panel["n"].iloc[0])
    return "\n".join(
        [
            f"{sum(outcomes.values())} files: {', '.join(f'{count} {outcome}' for outcome, count in outcomes.items())}",
            "",
            f"Sets of {n} windows of {scale.length} tokens compared with the test split of {plan.corpus.name}.",
            f"In multiples of the noise floor (1 is real music): {_labels(IN_FLOORS, panel)}.",
            f"Unscaled: {_labels(_VALUES, panel)}.",
            _compared(panels, panel),
            "",
            "Metrics: means of the files and of the test split, and their distance in multiples of the noise floor",
            _metrics(ours, reference.real, distances),
        ]
    )


def _windows(path: Path, plan: Plan) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint16]], Counter[str]]:
    """Return the first window of each file as (n, L) tokens, and the number of files per outcome."""
    grid, cutting = plan.corpus.reading.grid, plan.scale.cutting
    corpus, encoding = folder_corpus(path), encoding_on(plan.experiments[0].encoding, grid)
    loaded = load(replace(corpus, reading=replace(corpus.reading, grid=grid)), plan.cache)
    windows, dropped = [], Counter(str(item.reason) for item in loaded.dropped)
    for piece in loaded.pieces:
        ((first, _, _),) = cut(piece.notes, encoding, replace(cutting, first_only=True), train=False)
        if len(first):
            windows.append(first)
        else:
            dropped["too short for half a window"] += 1
    outcomes = Counter({"give a window": len(windows), **dropped})
    if len(windows) < MIN_WINDOWS:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        raise UserError(
            f"{path}: scoring needs {MIN_WINDOWS} files that fill half a window of {cutting.length} tokens; of its"
            f" {sum(outcomes.values())} files, {counts}"
        )
    return np.concatenate(windows), outcomes


def _labels(names: tuple[str, ...], panel: pd.DataFrame) -> str:
    there = set(panel["measure"])
    return ", ".join(f"{name} ({MEASURES[name].label})" for name in names if name in there)


def _compared(panels: dict[str, pd.DataFrame], ours: pd.DataFrame) -> str:
    """Return a table with one row per set of windows; the test split is the second row."""
    import pandas as pd

    def row(panel: pd.DataFrame) -> dict[str, float]:
        table = panel.set_index("measure")
        found = {name: table["ratio"].get(name) for name in IN_FLOORS}
        return {**found, **{name: table["value"].get(name) for name in _VALUES}}

    floor = ours.set_index("measure")["floor"]
    (name, first), *controls = panels.items()
    real = {**dict.fromkeys(IN_FLOORS, 1.0), **{measure: floor.get(measure) for measure in _VALUES}}
    rows = {name: row(first), "Test split": real, **{label: row(panel) for label, panel in controls}}
    return str(pd.DataFrame(rows).T.astype(float).dropna(axis=1, how="all").round(3).to_string(na_rep="-"))


def _metrics(ours: SampleSet, real: SampleSet, distances: pd.DataFrame) -> str:
    import pandas as pd

    table = pd.DataFrame({"files": ours.scored.scores.mean(), "test": real.scored.scores.mean()})
    table = table.join(distances[["ratio", "worst", "nan_rate"]])
    table.index = pd.Index([f"{METRICS[str(name)].label} ({METRICS[str(name)].unit})" for name in table.index])
    return str(table.round(3).to_string(na_rep="-"))

"""The table of distances between two sets of windows, such as generated and real music.

A distance is meaningful only in comparison with that of two sets of real music of the same size, because most distances
shrink as the sets grow, and none shows by itself what is far. `eval.distances.noise_floor` computes that floor.

The rows of `DISTANCES` compare sets of windows by facts that are computed once per window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.distances.events import (
    duration_counts,
    inter_onset_counts,
    lower_line_counts,
    pitch_class_counts,
    place_counts,
    register_counts,
    sounding_counts,
    struck_counts,
    upper_line_counts,
)
from eval.distances.harmony import bar_facts, bar_similarity, chord_counts, divergence, interval_counts
from eval.distances.point_clouds import classifier_auc, coverage, features, frechet, mmd, precision, recall

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from eval.distances.rows import Rows
    from eval.metrics.windows import Windows


@dataclass(frozen=True, kw_only=True)
class Distance:
    """A row of `DISTANCES`.

    Attributes:
        facts: Function from windows and their scores to the (n, ...) values of `Rows`; distances may share it.
        function: Function from the rows of a sample, as many rows of a reference and a generator to the distance.
        label: Name in tables and figures.
        unit: Unit of the distance; "1" if it has none.
        ideal: Limit for large sets of one distribution; None if it depends on the distribution and on k.
        in_floors: Whether multiples of the noise floor are meaningful. They are for a distance from 0, but not for a
            share, an area or an estimate that is 0 on average.
        draws: Number of halvings of the reference, as many as the cost allows.
        needs_beats: Whether the distance is undefined for performances without beats.
        family: Family of the endpoint that the distance belongs to; None if it is not part of the endpoint.
    """

    facts: Callable[[Windows, pd.DataFrame], NDArray[Any]]
    function: Callable[[Rows, Rows, np.random.Generator], float]
    label: str
    unit: str = "1"
    ideal: float | None = 0.0
    in_floors: bool = False
    draws: int = 20
    needs_beats: bool = False
    family: str | None = None


def _divergence(
    family: str, label: str, facts: Callable[[Windows, pd.DataFrame], NDArray[Any]], *, needs_beats: bool = False
) -> Distance:
    """Return the row of a measure of the endpoint: the divergence of the counts of events."""
    return Distance(
        facts=facts,
        function=divergence,
        label=label,
        unit="bits",
        in_floors=True,
        draws=100,
        needs_beats=needs_beats,
        family=family,
    )


# The measures of the endpoint come first, by family; they share their halves, so all have the same number of draws.
DISTANCES: dict[str, Distance] = {
    "registers": _divergence("pitch", "JSD of registers", register_counts),
    "pitch_classes": _divergence("pitch", "JSD of pitch classes", pitch_class_counts),
    "inter_onsets": _divergence("rhythm", "JSD of inter-onset pairs", inter_onset_counts),
    "durations": _divergence("rhythm", "JSD of durations", duration_counts),
    "places": _divergence("rhythm", "JSD of places in the bar", place_counts, needs_beats=True),
    "intervals": _divergence("harmony", "JSD of vertical intervals", interval_counts),
    "upper_line": _divergence("melody", "JSD of steps of the upper line", upper_line_counts),
    "lower_line": _divergence("melody", "JSD of steps of the lower line", lower_line_counts),
    "struck_together": _divergence("texture", "JSD of notes struck together", struck_counts),
    "sounding_together": _divergence("texture", "JSD of pitches sounding together", sounding_counts),
    "frechet": Distance(facts=features, function=frechet, label="Fréchet distance of ranks", in_floors=True, draws=100),
    "mmd": Distance(facts=features, function=mmd, label="MMD², unbiased"),
    "classifier_auc": Distance(facts=features, function=classifier_auc, label="Classifier AUC", ideal=0.5),
    "precision": Distance(facts=features, function=precision, label="Precision", ideal=None),
    "recall": Distance(facts=features, function=recall, label="Recall", ideal=None),
    "coverage": Distance(facts=features, function=coverage, label="Coverage", ideal=None),
    "chords": Distance(
        facts=chord_counts, function=divergence, label="JSD of chord bigrams", unit="bits", in_floors=True, draws=100
    ),
    "bar_similarity": Distance(
        facts=bar_facts,
        function=bar_similarity,
        label="Bar-similarity error",
        in_floors=True,
        draws=100,
        needs_beats=True,
    ),
}


def distances_on(*, beats: bool, heard: bool = False) -> dict[str, Distance]:
    """Return the rows of `DISTANCES` that are defined on a grid, given whether it has beats.

    If `heard`, only those of the endpoint.
    """
    return {
        name: row
        for name, row in DISTANCES.items()
        if (beats or not row.needs_beats) and (row.family is not None or not heard)
    }

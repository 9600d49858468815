"""Tuning: every arm is tried at the same points of a small grid, and compared at its best point.

The scale of the embeddings relative to the noise, and their dimension, decide how hard denoising is, and what suits
one arm may not suit another. So every arm is trained at every point of the scale's grid, with a quarter of the steps
and one seed, and judged on the validation split, which the comparison does not use. Such a trial is a *tuning trial*:
its arm and its point are fields of its experiment. The functions here are pure functions of rows and numbers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from replication.models.ablations import ABLATIONS
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replication.models.ablations import Diffusion, Experiment
    from replication.training.scales import Scale, TuningPoint

TUNED = tuple(row.name for row in ABLATIONS if row.arm == row.name)  # names of the arms


def is_tuned(row: Experiment) -> bool:
    """Return whether an experiment takes the tuning point of an arm."""
    return row.arm is not None


def tuning_experiments(arms: Sequence[Experiment], scale: Scale) -> tuple[Experiment, ...]:
    """Return an experiment for every arm and every point of the scale's grid."""
    return tuple(
        replace(
            _at(row, point, scale),
            name=f"{row.name}-d{scale.dimension * point.dimension}-s{point.scale:g}",
            label=f"{row.label}, {_words(point, scale)}",
            kind="tuning",
        )
        for row in arms
        for point in scale.tuning_grid
    )


def choose(scores: Mapping[tuple[str, TuningPoint], float], scale: Scale) -> dict[str, TuningPoint]:
    """Return the best point of every arm that was tried.

    Args:
        scores: distance of every arm at every point, in multiples of the noise floor. Lower is better, NaN is worst.
        scale: the scale that the grid belongs to.

    Returns:
        The point with the lowest score by arm; the first in the grid if several are equal. An arm without a score at
        any point is left out.

    Raises:
        UserError: if an arm was tried at some points of the grid only.
    """
    chosen = {}
    for arm in dict.fromkeys(arm for arm, _ in scores):
        found = {point: scores[arm, point] for point in scale.tuning_grid if (arm, point) in scores}
        if missing := [_words(point, scale) for point in scale.tuning_grid if point not in found]:
            raise UserError(f"{arm} cannot be tuned without its trials at {'; '.join(missing)}: run the whole grid")
        if not all(math.isnan(score) for score in found.values()):
            chosen[arm] = min(found, key=lambda point: (math.isnan(found[point]), found[point]))
    return chosen


def tuned(experiments: Sequence[Experiment], chosen: Mapping[str, TuningPoint], scale: Scale) -> tuple[Experiment, ...]:
    """Return the experiments of the comparison, each at the point that was chosen for its arm."""
    return tuple(
        _at(row, chosen[row.arm], scale) if row.arm is not None and row.arm in chosen else row for row in experiments
    )


def _at(row: Experiment, point: TuningPoint, scale: Scale) -> Experiment:
    """Return an experiment at a point, with the point in its model and in its note."""
    model = cast("Diffusion", row.model)  # every experiment with an arm has one
    return replace(
        row,
        model=replace(
            model,
            embedding=replace(model.embedding, scale=model.embedding.scale * point.scale),
            dimension=scale.dimension * point.dimension,
        ),
        point=point,
        note=f"{row.note} Embeddings: {_words(point, scale)}.",
    )


def _words(point: TuningPoint, scale: Scale) -> str:
    return f"d {scale.dimension * point.dimension}, scale {point.scale:g}"

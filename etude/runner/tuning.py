"""Tuning: every arm is tried at the same points of a small grid, and compared at its best point, with every seed.

The scale of the embeddings relative to the noise, and their dimension, decide how hard denoising is, and what suits
one arm may not suit another. So every arm is trained at every point of the scale's grid, with a share of the steps,
and judged on the validation split, which the comparison does not use. Such a trial is a *tuning trial*: its arm and its
point are fields of its experiment.

A method includes its search: the whole search is repeated with every seed of the scale, and a seed's trials are at the
points that its own search chose. The interval over seeds of a contrast then covers the noise of tuning too (Gulrajani
and Lopez-Paz, "In Search of Lost Domain Generalization", 2021, repeat theirs likewise). The functions here are pure
functions of rows and numbers.
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
    """Return the best point of every arm that was tried with one seed.

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


def tuned(row: Experiment, chosen: Mapping[str, TuningPoint], scale: Scale) -> Experiment:
    """Return an experiment of the comparison at the point that was chosen for its arm, if one was."""
    return row if row.arm is None or row.arm not in chosen else _at(row, chosen[row.arm], scale)


def _at(row: Experiment, point: TuningPoint, scale: Scale) -> Experiment:
    """Return an experiment at a point."""
    model = cast("Diffusion", row.model)  # every experiment with an arm has one
    return replace(
        row,
        model=replace(
            model,
            embedding=replace(model.embedding, scale=model.embedding.scale * point.scale),
            dimension=scale.dimension * point.dimension,
        ),
        point=point,
    )


def _words(point: TuningPoint, scale: Scale) -> str:
    return f"d {scale.dimension * point.dimension}, scale {point.scale:g}"

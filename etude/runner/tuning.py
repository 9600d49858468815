"""The tuning of embeddings: every arm is tried at the same points of a small grid, and compared at its best.

How large embeddings are against the noise, and in how many dimensions, decides how hard denoising is, and what suits
one arm need not suit another. So every arm is trained at every point of the scale's grid, briefly and with one seed,
and is judged on the validation split, which the comparison does not use. Pure functions of rows and numbers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from replication.models.ablations import Diffusion
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replication.models.ablations import Experiment
    from replication.training.scales import Scale, TuningPoint

TUNED = ("e2e", "gaussian", "pretrained", "pretrained-ar")
FOLLOWS = {"e2e-small": "e2e"}  # rows that take the point of another, from which they are to differ in one thing


def is_tuned(row: Experiment) -> bool:
    """Return whether an experiment takes a point of the grid."""
    return FOLLOWS.get(row.name, row.name) in TUNED


def grid_experiments(experiments: Sequence[Experiment], scale: Scale) -> tuple[Experiment, ...]:
    """Return a row for every tuned arm among the experiments and every point of the scale's grid."""
    return tuple(
        replace(
            _put(row, point, scale),
            name=row_name(row.name, point, scale),
            label=f"{row.label}, {_words(point, scale)}",
        )
        for row in experiments
        if row.name in TUNED
        for point in scale.tuning_grid
    )


def row_name(arm: str, point: TuningPoint, scale: Scale) -> str:
    """Return the name of an arm's row at a point of the grid, as "e2e-d32-s0.5"."""
    return f"{arm}-d{scale.dimension * point.dimension}-s{point.scale:g}"


def choose(scores: Mapping[str, float], scale: Scale) -> dict[str, TuningPoint]:
    """Return the best point of every arm that was tried.

    Args:
        scores: distance in floors of every row of the grid by its name, lower is better; NaN is worst.
        scale: the scale whose grid it is.

    Returns:
        By arm the point with the lowest score, of equal ones the first of the grid; arms without any are left out.

    Raises:
        UserError: if an arm was tried at some points of the grid only.
    """
    chosen = {}
    for arm in TUNED:
        found = {point: scores[name] for point in scale.tuning_grid if (name := row_name(arm, point, scale)) in scores}
        if not found:
            continue
        missing = [row_name(arm, point, scale) for point in scale.tuning_grid if point not in found]
        if missing:
            raise UserError(f"{arm} cannot be tuned without {', '.join(missing)}: run the whole grid")
        if not all(math.isnan(score) for score in found.values()):
            chosen[arm] = min(found, key=lambda point: (math.isnan(found[point]), found[point]))
    return chosen


def tuned(experiments: Sequence[Experiment], chosen: Mapping[str, TuningPoint], scale: Scale) -> tuple[Experiment, ...]:
    """Return the experiments of the comparison with every arm, and those that follow it, at its chosen point."""
    rows = []
    for row in experiments:
        point = chosen.get(FOLLOWS.get(row.name, row.name))
        rows.append(_put(row, point, scale) if point else row)
    return tuple(rows)


def _put(row: Experiment, point: TuningPoint, scale: Scale) -> Experiment:
    """Return a row with the point in its model and in its note."""
    if not isinstance(row.model, Diffusion):
        raise TypeError(f"{row.name} has no embeddings to tune")
    embedding = row.model.embedding
    return replace(
        row,
        model=replace(
            row.model,
            embedding=replace(embedding, scale=embedding.scale * point.scale),
            dimension=scale.dimension * point.dimension,
        ),
        note=f"{row.note} Embeddings: {_words(point, scale)}.",
    )


def _words(point: TuningPoint, scale: Scale) -> str:
    return f"d {scale.dimension * point.dimension}, scale {point.scale:g}"

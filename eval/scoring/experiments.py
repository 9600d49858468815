"""The table of all experiments: ablations, baselines, controls and the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines import BASELINES, TEACHER
from eval.scoring.controls import CONTROLS
from replication.models.ablations import ABLATIONS, Experiment

if TYPE_CHECKING:
    from replication.training.scales import Scale

EXPERIMENTS: dict[str, Experiment] = {row.name: row for row in (*ABLATIONS, *BASELINES, *CONTROLS, TEACHER)}


def default(scale: Scale) -> tuple[str, ...]:
    """Return the experiments that a scale names, or all in the encoding of the paper's own, and every control."""
    return tuple(
        name
        for name, row in EXPERIMENTS.items()
        if row.control or (name in scale.experiments if scale.experiments else row.encoding == ABLATIONS[0].encoding)
    )

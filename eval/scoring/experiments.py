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
    """Return the names of the experiments that a scale runs by default.

    These are the ones that the scale names, or all in the paper's encoding if it names none; and always the controls
    and the teacher.
    """
    return tuple(
        name
        for name, row in EXPERIMENTS.items()
        if row.kind in {"control", "teacher"}
        or (name in scale.experiments if scale.experiments else row.encoding == ABLATIONS[0].encoding)
    )

"""The table of all experiments: ablations, baselines, controls and the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines import BASELINES, TEACHER, EmbeddingsOnlyConfig
from eval.scoring.controls import CONTROLS
from replication.models.ablations import ABLATIONS, Diffusion, Experiment

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


def is_audited(experiment: Experiment) -> bool:
    """Return whether the "bits per word" of an experiment's trials are audited.

    They are for the diffusion models of the comparison and for embeddings without a denoiser, in the first encoding:
    the number is per token.
    """
    audited = isinstance(experiment.model, EmbeddingsOnlyConfig) or (
        isinstance(experiment.model, Diffusion) and experiment.kind == "trial"
    )
    return audited and experiment.encoding == ABLATIONS[0].encoding

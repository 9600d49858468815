"""What a teacher, a language model that was trained apart, says of generated tokens: the field's fluency score.

It is reported as a gap to what the teacher says of real music, never as lower is better: tokens that are likelier than
real ones are simpler ones (bigrams and temperatures below 1 beat real music by far). Beside it stands the entropy of
the tokens, which repetition lowers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from replication.tokens.protocol import PAD
from replication.training.model import token_counts
from replication.util.files import sha256

if TYPE_CHECKING:
    from pathlib import Path

    from replication.training.model import Model


class TeacherScore(NamedTuple):
    """What a teacher says of a set of windows.

    Attributes:
        nll: mean nats per token over the windows that it gives a probability to; NaN if there are none.
        ruled_out: share of the windows, in 0..1, that break the marks' grammar and so have none.
        sha256: of the teacher's weights: numbers of different teachers cannot be compared.
    """

    nll: float
    ruled_out: float
    sha256: str


def teacher_nll(tokens: torch.Tensor, teacher: Model, weights: Path) -> TeacherScore:
    """Return -sum ln p(window) / sum tokens under a teacher, tokens as `token_counts` counts them.

    Every token weighs the same, as in all likelihoods here; Li et al. (2022, "lm-score") average over windows first.

    Args:
        tokens: (n, L) ids.
        teacher: an exact model, on the device to compute on; its weights are replaced.
        weights: the file of its weights.

    Raises:
        UserError: for weights that are damaged or of another model.
    """
    teacher.load(weights)
    device = next((p.device for p in teacher.parameters()), None) if isinstance(teacher, torch.nn.Module) else None
    windows = tokens.to(device).long()
    likelihood = teacher.nll(windows, seed=0)
    if not likelihood.exact:
        raise ValueError("a bound is no likelihood to judge others by")
    nats = likelihood.total
    known = nats.isfinite()
    count = int(token_counts(windows)[known].sum())
    return TeacherScore(
        nll=nats[known].sum().item() / count if count else math.nan,
        ruled_out=1 - known.double().mean().item() if len(windows) else math.nan,
        sha256=sha256(weights),
    )


def token_entropy(tokens: torch.Tensor) -> float:
    """Return the entropy -sum_w p_w ln p_w in nats of the tokens of (n, L) ids that a likelihood counts.

    That is all but the first of every window, which is given, and [PAD]. From 0 to ln V, NaN where nothing is left.
    """
    said = tokens[:, 1:][tokens[:, 1:] != PAD].long()
    if not len(said):
        return math.nan
    shares = torch.bincount(said).double() / len(said)
    return float(torch.special.entr(shares).sum())

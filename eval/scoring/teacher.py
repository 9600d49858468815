"""The likelihood of generated tokens under a teacher, a separately trained language model: the field's fluency score.

It is reported as a gap to the value of real music, never as "lower is better": tokens that are likelier than real ones
are simpler (bigrams and temperatures below 1 beat real music by far). The entropy of the tokens, which repetition
lowers, is reported with it.
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
    """The score of a set of windows under a teacher.

    Attributes:
        nll: Mean nats per token over the windows with a probability above 0; NaN if there are none.
        ruled_out: Share of the windows, in 0..1, that break the grammar of the tokens and have probability 0.
        sha256: Checksum of the teacher's weights; scores under different teachers cannot be compared.
    """

    nll: float
    ruled_out: float
    sha256: str


def teacher_nll(tokens: torch.Tensor, teacher: Model, weights: Path) -> TeacherScore:
    """Return -sum ln p(window) / sum tokens under a teacher, tokens as `token_counts` counts them.

    Every token weighs the same, as in all likelihoods here; Li et al. (2022, "lm-score") average over windows first.

    Args:
        tokens: (n, L) ids.
        teacher: Model with an exact likelihood, on the device to compute on; its weights are replaced.
        weights: File of its weights.

    Raises:
        UserError: If the weights are damaged or belong to another model.
    """
    teacher.load(weights)
    device = next((p.device for p in teacher.parameters()), None) if isinstance(teacher, torch.nn.Module) else None
    windows = tokens.to(device).long()
    likelihood = teacher.nll(windows, seed=0)
    if not likelihood.exact:
        raise ValueError("the teacher gives a bound; its likelihood must be exact")
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

    These are all tokens except [PAD] and the first of every window, which is given. From 0 to ln V, NaN where nothing
    is left.
    """
    counted = tokens[:, 1:][tokens[:, 1:] != PAD].long()
    if not len(counted):
        return math.nan
    shares = torch.bincount(counted).double() / len(counted)
    return float(torch.special.entr(shares).sum())

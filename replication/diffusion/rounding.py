"""Rounding: what becomes of each x_0 that the network predicts, before a sampler steps on with it.

Torch is imported where it is used, so that tables of scales can be read without it.
"""

from __future__ import annotations

from dataclasses import Field, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from replication.diffusion.schedule import Level


class Rounding(Protocol):
    """A frozen dataclass that maps predicted embeddings to others."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __call__(self, predicted: Tensor, level: Level, table: Tensor) -> Tensor:
        """Return (B, L, d) of the predicted x_0 (B, L, d), made at a level of noise, and of the embeddings (V, d)."""


@dataclass(frozen=True)
class AsPredicted:
    """No rounding: the network's word is taken."""

    def __call__(self, predicted: Tensor, level: Level, table: Tensor) -> Tensor:  # noqa: ARG002, D102 - see Rounding
        return predicted


@dataclass(frozen=True)
class Nearest:
    """The nearest embedding in L2 distance: the clamping trick (Li et al. 2022, section 4.2 and appendix E).

    Attributes:
        last: the share of the timesteps, counted from the clean end, in which it is done: 1 is at every step, as
            published; earlier predictions, which are means of many words, are then left as they are. 0 is never.
    """

    last: float = 1.0

    def __call__(self, predicted: Tensor, level: Level, table: Tensor) -> Tensor:  # noqa: D102 - see Rounding
        return predicted if level.share > self.last else table[nearest(table, predicted)]


@dataclass(frozen=True)
class Expectation:
    """The mean embedding sum_w p(w) E_w, for p(w) ~ exp(-||f - E_w||^2 / 2r) of a Gaussian around the prediction f.

    r = v s^2 / (a^2 v + s^2), with v the variance of the embeddings per dimension, is what x_i = a x_0 + s eps leaves
    unknown of Gaussian data as large as they are: soft where little is known, `Nearest` as the noise goes, and the same
    in embeddings of another scale. The logits of the rounding head, f . E_w + b_w, are not: they have one temperature
    at every level, which small embeddings never get out of. Nor is the evidence of x_i added: f has been told of it.
    """

    def __call__(self, predicted: Tensor, level: Level, table: Tensor) -> Tensor:  # noqa: D102 - see Rounding
        variance = table.var(0, correction=0).mean()
        unknown = variance * (1 - level.kept) / (level.kept * variance + 1 - level.kept)
        logits = predicted @ table.T - table.pow(2).sum(1) / 2  # but for ||f||^2, which all words share
        mean: Tensor = (logits / unknown).softmax(-1) @ table
        return mean


def nearest(table: Tensor, x: Tensor) -> Tensor:
    """Return the ids (...) of the rows of (V, d) that are nearest to x (..., d) in L2 distance."""
    import torch

    return torch.cdist(x.reshape(1, -1, x.shape[-1]), table[None]).argmin(-1).view(x.shape[:-1])

"""Rounding: map each predicted x_0 towards the embeddings before a sampler takes its next step.

Torch is imported inside functions, so that the table of scales can be read without it.
"""

from __future__ import annotations

from dataclasses import Field, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from replication.diffusion.schedule import NoiseLevel


class Rounding(Protocol):
    """A frozen dataclass that maps a predicted x_0 to the x_0 that the sampler uses."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __call__(self, predicted: Tensor, level: NoiseLevel, table: Tensor) -> Tensor:
        """Return the rounded x_0.

        Args:
            predicted: (B, L, d) predicted x_0.
            level: Noise level of the prediction.
            table: (V, d) embeddings.

        Returns:
            (B, L, d).
        """


@dataclass(frozen=True)
class AsPredicted:
    """Use the prediction as it is, without rounding."""

    def __call__(self, predicted: Tensor, level: NoiseLevel, table: Tensor) -> Tensor:  # noqa: ARG002, D102 - see Rounding
        return predicted


@dataclass(frozen=True)
class Nearest:
    """Use the nearest embedding in L2 distance: the clamping trick (Li et al. 2022, section 4.2 and appendix E).

    Attributes:
        last: Fraction of the timesteps, counted from the clean end, at which predictions are rounded. 1 is at every
            step, as published, and 0 is never. Earlier predictions, means of many words, are used as they are.
    """

    last: float = 1.0

    def __call__(self, predicted: Tensor, level: NoiseLevel, table: Tensor) -> Tensor:  # noqa: D102 - see Rounding
        return predicted if level.fraction > self.last else table[nearest(table, predicted)]


@dataclass(frozen=True)
class Expectation:
    """Use the mean embedding sum_w p(w) E_w with p(w) ~ exp(-||f - E_w||^2 / 2r), a Gaussian around the prediction f.

    With v the variance of the embeddings per dimension, r = v s^2 / (a^2 v + s^2) is the posterior variance of Gaussian
    data of variance v given x_i = a x_0 + s eps. The mean is thus soft at high noise, tends to `Nearest` as the noise
    vanishes, and adapts to the scale of the embeddings. The logits of the rounding head, f . E_w + b_w, do not: they
    have the same temperature at every level, so that small embeddings always give a soft mean. The evidence of x_i is
    not added, because f has already seen x_i.
    """

    def __call__(self, predicted: Tensor, level: NoiseLevel, table: Tensor) -> Tensor:  # noqa: D102 - see Rounding
        variance = table.var(0, correction=0).mean()
        posterior = variance * (1 - level.alpha_bar) / (level.alpha_bar * variance + 1 - level.alpha_bar)
        logits = predicted @ table.T - table.pow(2).sum(1) / 2  # without ||f||^2, which is equal for all words
        mean: Tensor = (logits / posterior).softmax(-1) @ table
        return mean


def nearest(table: Tensor, x: Tensor) -> Tensor:
    """Return the ids (...) of the rows of the table (V, d) nearest to x (..., d) in L2 distance.

    >>> import torch
    >>> nearest(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.9], [5.0]]))
    tensor([1, 2])
    """
    import torch

    return torch.cdist(x.reshape(1, -1, x.shape[-1]), table[None]).argmin(-1).view(x.shape[:-1])

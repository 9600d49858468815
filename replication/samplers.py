"""Samplers: from Gaussian noise to clean embeddings, with one signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from replication.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Sampler(Protocol):
    """A frozen dataclass that walks from noise to data."""

    def __call__(
        self,
        denoise: Callable[[Tensor, int], Tensor],
        clamp: Callable[[Tensor], Tensor],
        alpha_bar: Tensor,
        noise: Callable[[], Tensor],
    ) -> Tensor:
        """Return clean embeddings (B, L, d).

        Args:
            denoise: from x_i (B, L, d) and the index i to the predicted x_0 (B, L, d).
            clamp: moves a predicted x_0 to the nearest embeddings.
            alpha_bar: (T,) of the training schedule.
            noise: returns fresh standard normal (B, L, d) at each call.
        """


def respaced(timesteps: int, steps: int) -> list[int]:
    """Return `steps` indices out of 0..timesteps - 1 in falling order, evenly spaced, beginning with the last.

    They are indices of the training schedule, so that the network is asked at noise levels and times that it knows.
    """
    if not 1 <= steps <= timesteps:
        raise UserError(f"{steps} sampler steps: choose between 1 and the {timesteps} timesteps of training")
    return [round((step + 1) * timesteps / steps) - 1 for step in reversed(range(steps))]


@dataclass(frozen=True, kw_only=True)
class Ancestral:
    """DDPM's posterior steps (Ho et al. 2020, equation 7) on respaced indices, as Diffusion-LM decodes.

    The variance is the posterior's (the smaller choice). The last step returns the predicted x_0 itself; with clamping
    it is made of embeddings exactly (the clamping trick, Li et al. 2022, section 4.2 and appendix E).
    """

    steps: int
    clamp: bool = True

    def __call__(  # noqa: D102 - see Sampler
        self,
        denoise: Callable[[Tensor, int], Tensor],
        clamp: Callable[[Tensor], Tensor],
        alpha_bar: Tensor,
        noise: Callable[[], Tensor],
    ) -> Tensor:
        x = noise()
        indices = respaced(len(alpha_bar), self.steps)
        for here, there in zip(indices, [*indices[1:], None], strict=True):
            x_start = denoise(x, here)
            if self.clamp:
                x_start = clamp(x_start)
            now = alpha_bar[here].item()
            before = 1.0 if there is None else alpha_bar[there].item()
            beta = 1 - now / before
            mean = before**0.5 * beta / (1 - now) * x_start + (1 - beta) ** 0.5 * (1 - before) / (1 - now) * x
            x = mean if there is None else mean + (beta * (1 - before) / (1 - now)) ** 0.5 * noise()
        return x


def nearest(table: Tensor, x: Tensor) -> Tensor:
    """Return the ids (...) of the rows of (V, d) that are nearest to x (..., d) in L2 distance."""
    return torch.cdist(x.reshape(1, -1, x.shape[-1]), table[None]).argmin(-1).view(x.shape[:-1])

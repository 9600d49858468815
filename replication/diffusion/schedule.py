"""Noise schedules: alpha_bar, the share of the signal's variance that is left after each step.

A schedule turns a number of timesteps T into (T,) float64 values of alpha_bar, decreasing from near 1 at index 0 to
near 0 at index T - 1, so that x_i = sqrt(alpha_bar_i) x_0 + sqrt(1 - alpha_bar_i) noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Schedule(Protocol):
    """A frozen dataclass that says how fast the noise comes."""

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:
        """Return (timesteps,) float64 values, decreasing, in (0, 1)."""


def _from_function(signal: Callable[[float], float], timesteps: int) -> NDArray[np.float64]:
    """Chain steps beta_i = min(1 - signal((i+1)/T) / signal(i/T), 0.999), as Nichol and Dhariwal (2021) do."""
    levels = [signal(index / timesteps) for index in range(timesteps + 1)]
    kept = [max(after / before, 0.001) for before, after in pairwise(levels)]
    return np.array(kept, dtype=np.float64).cumprod()


@dataclass(frozen=True)
class Sqrt:
    """Diffusion-LM's schedule as its code has it: 1 - sqrt(u + s), chained from its own value at u = 0.

    So it is the paper's formula divided by 0.99 and shifted by one index; the first deviation is 0.121 at T = 2000.
    """

    offset: float = 1e-4

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:  # noqa: D102 - see Schedule
        return _from_function(lambda u: 1 - math.sqrt(u + self.offset), timesteps)


@dataclass(frozen=True)
class SqrtAsWritten:
    """Diffusion-LM's schedule as its paper has it: alpha_bar_t = 1 - sqrt(t/T + s) (Li et al. 2022, appendix A)."""

    offset: float = 1e-4

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:  # noqa: D102 - see Schedule
        return 1 - np.sqrt(np.arange(timesteps) / timesteps + self.offset)


@dataclass(frozen=True)
class Cosine:
    """Nichol and Dhariwal (2021), equation 17."""

    offset: float = 0.008

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:  # noqa: D102 - see Schedule
        return _from_function(lambda u: math.cos((u + self.offset) / (1 + self.offset) * math.pi / 2) ** 2, timesteps)


@dataclass(frozen=True)
class Linear:
    """Ho et al. (2020): beta from 1e-4 to 0.02 at T = 1000, scaled to other T."""

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:  # noqa: D102 - see Schedule
        scale = 1000 / timesteps
        beta = np.linspace(1e-4 * scale, 0.02 * scale, timesteps)
        return np.cumprod(1 - np.minimum(beta, 0.999))


class Level(NamedTuple):
    """A level of noise.

    Attributes:
        timestep: the i that the network is told.
        share: the part of all timesteps that is left: 1 at pure noise, 0 when clean.
        kept: abar_i.
    """

    timestep: float
    share: float
    kept: float

    @property
    def signal(self) -> float:
        """The factor a of x_0."""
        return math.sqrt(self.kept)

    @property
    def noise(self) -> float:
        """The factor s of eps."""
        return math.sqrt(1 - self.kept)

    @property
    def half_log_snr(self) -> float:
        """Return ln(a / s)."""
        return 0.5 * (math.log(self.kept) - math.log1p(-self.kept))

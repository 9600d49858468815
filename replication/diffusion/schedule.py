"""Noise schedules: alpha_bar, the fraction of the signal's variance that is left at each timestep.

For T timesteps, a schedule gives (T,) float64 values of alpha_bar that decrease from near 1 at index 0 to near 0 at
index T - 1. The forward process is x_i = sqrt(alpha_bar_i) x_0 + sqrt(1 - alpha_bar_i) noise.
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
    """A frozen dataclass that defines how the noise grows with the timesteps."""

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:
        """Return (timesteps,) decreasing float64 values in (0, 1)."""


def _from_function(signal: Callable[[float], float], timesteps: int) -> NDArray[np.float64]:
    """Return the products of 1 - beta_i, beta_i = min(1 - signal((i+1)/T) / signal(i/T), 0.999).

    This is how Nichol and Dhariwal (2021) discretise a continuous schedule.
    """
    levels = [signal(index / timesteps) for index in range(timesteps + 1)]
    kept = [max(after / before, 0.001) for before, after in pairwise(levels)]
    return np.array(kept, dtype=np.float64).cumprod()


@dataclass(frozen=True)
class Sqrt:
    """The schedule of Diffusion-LM's code: 1 - sqrt(u + s) with u = t/T, divided by its value at u = 0.

    It equals the paper's formula divided by 0.99 and shifted by one index. At T = 2000 the standard deviation of the
    noise at index 0 is 0.121.

    >>> Sqrt().alpha_bar(4).round(3).tolist()
    [0.505, 0.296, 0.135, 0.0]

    Attributes:
        offset: s.
    """

    offset: float = 1e-4

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:  # noqa: D102 - see Schedule
        return _from_function(lambda u: 1 - math.sqrt(u + self.offset), timesteps)


@dataclass(frozen=True)
class SqrtAsWritten:
    """The schedule of Diffusion-LM's paper: alpha_bar_t = 1 - sqrt(t/T + s) (Li et al. 2022, appendix A).

    Attributes:
        offset: s.
    """

    offset: float = 1e-4

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:  # noqa: D102 - see Schedule
        return 1 - np.sqrt(np.arange(timesteps) / timesteps + self.offset)


@dataclass(frozen=True)
class Cosine:
    """The cosine schedule of Nichol and Dhariwal (2021), equation 17.

    Attributes:
        offset: s in that equation.
    """

    offset: float = 0.008

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:  # noqa: D102 - see Schedule
        return _from_function(lambda u: math.cos((u + self.offset) / (1 + self.offset) * math.pi / 2) ** 2, timesteps)


@dataclass(frozen=True)
class Linear:
    """The linear schedule of Ho et al. (2020): beta from 1e-4 to 0.02 at T = 1000, and scaled for other T."""

    def alpha_bar(self, timesteps: int) -> NDArray[np.float64]:  # noqa: D102 - see Schedule
        scale = 1000 / timesteps
        beta = np.linspace(1e-4 * scale, 0.02 * scale, timesteps)
        return np.cumprod(1 - np.minimum(beta, 0.999))


class NoiseLevel(NamedTuple):
    """A noise level of a sampler: x_i = a x_0 + s eps with a^2 = alpha_bar and s^2 = 1 - alpha_bar.

    Attributes:
        timestep: Index i that the network receives.
        fraction: Fraction of the timesteps that remain: 1 at pure noise, 0 when clean.
        alpha_bar: Fraction of the signal's variance.
    """

    timestep: float
    fraction: float
    alpha_bar: float

    @property
    def signal(self) -> float:
        """Factor a of x_0."""
        return math.sqrt(self.alpha_bar)

    @property
    def noise(self) -> float:
        """Factor s of eps."""
        return math.sqrt(1 - self.alpha_bar)

    @property
    def half_log_snr(self) -> float:
        """Half of the log signal-to-noise ratio, ln(a / s)."""
        return 0.5 * (math.log(self.alpha_bar) - math.log1p(-self.alpha_bar))

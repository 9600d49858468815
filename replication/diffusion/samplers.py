"""Samplers: map Gaussian noise to clean embeddings, for any network that predicts x_0. All have one signature.

At a noise level i, x_i = a x_0 + s eps with a^2 = abar_i and s^2 = 1 - abar_i. A sampler visits one level per step. At
each it evaluates the network, f(x_i, i), rounds the prediction, and steps to x at the next level; after the last level
the rounded prediction is the result. In the formulas below x_0 is the rounded prediction, and a prime marks the next
level. This module does not import torch, so that the table of scales can be read without it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from replication.diffusion.rounding import Nearest
from replication.diffusion.schedule import NoiseLevel
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from replication.diffusion.rounding import Rounding
    from replication.diffusion.schedule import Schedule


class Sampler(Protocol):
    """A frozen dataclass that turns noise into data."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def evaluations(self) -> int:
        """Number of network evaluations per sample."""

    def __call__(
        self,
        denoise: Callable[[Tensor, float], Tensor],
        table: Tensor,
        alpha_bar: Tensor,
        noise: Callable[[], Tensor],
    ) -> Tensor:
        """Return clean embeddings (B, L, d).

        Args:
            denoise: Function of x_i (B, L, d) and the index i that predicts x_0 (B, L, d).
            table: (V, d) embeddings.
            alpha_bar: (T,) values of the training schedule.
            noise: Function that draws fresh standard normal noise (B, L, d).

        Raises:
            UserError: If there are more steps than timesteps.
        """


class SamplerState(NamedTuple):
    """The state of a sampler before a step.

    Attributes:
        x: (B, L, d) noisy embeddings at the level.
        x_start: (B, L, d) rounded prediction of x_0.
        level: Noise level of x.
        noise: Function that draws fresh standard normal noise (B, L, d).
        previous: Rounded prediction and noise level of the previous step; None at the first step.
    """

    x: Tensor
    x_start: Tensor
    level: NoiseLevel
    noise: Callable[[], Tensor]
    previous: tuple[Tensor, NoiseLevel] | None


def respaced_timesteps(timesteps: int, steps: int) -> list[int]:
    """Return `steps` evenly spaced indices out of 0..timesteps - 1, descending from the last.

    They are indices of the training schedule, so that the network is evaluated only at noise levels and times on which
    it was trained.

    Raises:
        UserError: Unless 1 <= steps <= timesteps.

    >>> respaced_timesteps(2000, 4)
    [1999, 1499, 999, 499]
    """
    if not 1 <= steps <= timesteps:
        raise UserError(f"{steps} sampler steps are impossible; choose 1 to {timesteps}, the timesteps of training")
    return [round((step + 1) * timesteps / steps) - 1 for step in reversed(range(steps))]


@dataclass(frozen=True, kw_only=True)
class IterativeSampler(ABC):
    """The loop that all samplers share; subclasses define the step from one noise level to the next.

    Attributes:
        steps: Number of steps, and of network evaluations.
        rounding: Rounding of each predicted x_0; by default the nearest embedding, as published.
    """

    steps: int
    rounding: Rounding = field(default_factory=Nearest)

    @property
    def evaluations(self) -> int:  # noqa: D102 - see Sampler
        return self.steps

    def __call__(  # noqa: D102 - see Sampler
        self,
        denoise: Callable[[Tensor, float], Tensor],
        table: Tensor,
        alpha_bar: Tensor,
        noise: Callable[[], Tensor],
    ) -> Tensor:
        x, previous = noise(), None
        levels = self.levels(alpha_bar.tolist())  # one transfer from the device for all steps
        for level, following in pairwise([*levels, None]):
            assert level is not None
            x_start = self.rounding(denoise(x, level.timestep), level, table)
            now = SamplerState(x, x_start, level, noise, previous)
            x = x_start if following is None else self.step(now, following)
            previous = (x_start, level)
        return x

    def levels(self, alpha_bar: Sequence[float]) -> list[NoiseLevel]:
        """Return the noise levels to visit, descending, for the values of the training schedule."""
        total = len(alpha_bar)
        return [
            NoiseLevel(index, (index + 1) / total, alpha_bar[index]) for index in respaced_timesteps(total, self.steps)
        ]

    @abstractmethod
    def step(self, now: SamplerState, following: NoiseLevel) -> Tensor:
        """Return x (B, L, d) at the following noise level."""


@dataclass(frozen=True, kw_only=True)
class Ancestral(IterativeSampler):
    """The posterior steps of DDPM (Ho et al. 2020, equation 7), with which Diffusion-LM decodes.

    x' ~ q(x' | x, x_0): with b = 1 - abar / abar', the mean is a' b / (1 - abar) x_0 + sqrt(1 - b) (1 - abar') /
    (1 - abar) x, and the variance is b (1 - abar') / (1 - abar).

    Attributes:
        rebuilt: The training schedule, to decode with few steps as the published code does; None to respace the
            timesteps. The schedule is rebuilt with `steps` timesteps, and at step j the network receives the time
            j T / steps, which is almost one step earlier than its noise.
    """

    rebuilt: Schedule | None = None

    def levels(self, alpha_bar: Sequence[float]) -> list[NoiseLevel]:  # noqa: D102 - see IterativeSampler
        respaced = super().levels(alpha_bar)
        if self.rebuilt is None:
            return respaced
        rebuilt = self.rebuilt.alpha_bar(self.steps).tolist()
        stride = len(alpha_bar) / self.steps
        return [NoiseLevel(j * stride, (j + 1) / self.steps, rebuilt[j]) for j in reversed(range(self.steps))]

    def step(self, now: SamplerState, following: NoiseLevel) -> Tensor:  # noqa: D102 - see IterativeSampler
        noise, noise_after = 1 - now.level.alpha_bar, 1 - following.alpha_bar  # variances
        beta = 1 - now.level.alpha_bar / following.alpha_bar
        mean = following.signal * beta / noise * now.x_start + math.sqrt(1 - beta) * noise_after / noise * now.x
        return mean + math.sqrt(beta * noise_after / noise) * now.noise()


@dataclass(frozen=True, kw_only=True)
class Renoised(IterativeSampler):
    """The step in the paper (Li et al. 2022, section 4.2), which its code does not use: x' = a' x_0 + s' eps.

    Each step discards everything in x except the prediction, so that errors do not accumulate. For the same reason it
    does not sample from the model's distribution, even with many steps: it prefers what is frequent.
    """

    def step(self, now: SamplerState, following: NoiseLevel) -> Tensor:  # noqa: D102 - see IterativeSampler
        return following.signal * now.x_start + following.noise * now.noise()


@dataclass(frozen=True, kw_only=True)
class DDIM(IterativeSampler):
    """DDIM steps (Song et al. 2021a, equation 12): x' = a' x_0 + sqrt(1 - abar' - v) (x - a x_0) / s + sqrt(v) eps.

    v = eta^2 (1 - abar') / (1 - abar) (1 - abar / abar'). With eta = 1 these are ancestral steps. With eta = 0 they are
    deterministic Euler steps of the probability-flow ODE in the variables x / a and s / a.

    Attributes:
        eta: Amount of noise per step, 0..1.
    """

    eta: float = 0.0

    def step(self, now: SamplerState, following: NoiseLevel) -> Tensor:  # noqa: D102 - see IterativeSampler
        level = now.level
        abar, abar_after = level.alpha_bar, following.alpha_bar
        variance = self.eta**2 * (1 - abar_after) / (1 - abar) * (1 - abar / abar_after)
        eps = (now.x - level.signal * now.x_start) / level.noise
        mean = following.signal * now.x_start + math.sqrt(1 - abar_after - variance) * eps
        return mean + math.sqrt(variance) * now.noise() if self.eta else mean


@dataclass(frozen=True, kw_only=True)
class DPMSolver(IterativeSampler):
    """Second-order steps of DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): x' = s' / s x - a' (exp(-h) - 1) D.

    h is the increase of ln(a / s), half the log SNR, in this step, and h_0 its increase in the previous step. D
    extrapolates the prediction: D = x_0 + h / (2 h_0) (x_0 - x_0 of the previous step). The first step has no previous
    one, and the last step goes to h = infinity, where the extrapolation diverges: both use D = x_0.
    """

    def step(self, now: SamplerState, following: NoiseLevel) -> Tensor:  # noqa: D102 - see IterativeSampler
        level, target = now.level, now.x_start
        h = following.half_log_snr - level.half_log_snr
        if now.previous is not None:
            previous_x_start, previous_level = now.previous
            ratio = h / (level.half_log_snr - previous_level.half_log_snr)
            target = target + ratio / 2 * (target - previous_x_start)
        return following.noise / level.noise * now.x - following.signal * math.expm1(-h) * target


@dataclass(frozen=True, kw_only=True)
class Euler(IterativeSampler):
    """Euler steps of the probability-flow ODE in the variance-preserving x (Song et al. 2021b, equation 13).

    With u = ln(a / s) as the time, the ODE is dx / du = a x_0 - a^2 x, and a step is x' = x + (u' - u) (a x_0 - a^2 x).
    """

    def step(self, now: SamplerState, following: NoiseLevel) -> Tensor:  # noqa: D102 - see IterativeSampler
        level = now.level
        slope = level.signal * now.x_start - level.alpha_bar * now.x
        return now.x + (following.half_log_snr - level.half_log_snr) * slope

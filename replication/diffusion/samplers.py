"""Samplers: from Gaussian noise to clean embeddings, with one signature, for any network that predicts x_0.

A level of noise is x_i = a_i x_0 + s_i eps with a_i^2 = abar_i and s_i^2 = 1 - abar_i. A sampler visits as many levels
as it has steps, asks the network for f(x_i, i) at each, and steps to the next; from the last it goes to f itself.
Nothing here needs torch but through its tensors, so that tables of scales can be read without it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from replication.diffusion.rounding import Nearest
from replication.diffusion.schedule import Level
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from replication.diffusion.rounding import Rounding
    from replication.diffusion.schedule import Schedule


class Sampler(Protocol):
    """A frozen dataclass that walks from noise to data."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def evaluations(self) -> int:
        """How often the network is asked for one sample."""

    def __call__(
        self,
        denoise: Callable[[Tensor, float], Tensor],
        table: Tensor,
        alpha_bar: Tensor,
        noise: Callable[[], Tensor],
    ) -> Tensor:
        """Return clean embeddings (B, L, d).

        Args:
            denoise: from x_i (B, L, d) and the index i to the predicted x_0 (B, L, d).
            table: (V, d) embeddings.
            alpha_bar: (T,) of the training schedule.
            noise: returns fresh standard normal (B, L, d) at each call.

        Raises:
            UserError: for more steps than timesteps.
        """


class State(NamedTuple):
    """Where a walk is, before a step.

    Attributes:
        x: (B, L, d), at the level.
        x_start: (B, L, d), the predicted and rounded x_0.
        noise: returns fresh standard normal (B, L, d) at each call.
        before: the predicted and rounded x_0 of the step before, and its level, if there was one.
    """

    x: Tensor
    x_start: Tensor
    level: Level
    noise: Callable[[], Tensor]
    before: tuple[Tensor, Level] | None


def respaced(timesteps: int, steps: int) -> list[int]:
    """Return `steps` indices out of 0..timesteps - 1 in falling order, evenly spaced, beginning with the last.

    They are indices of the training schedule, so that the network is asked at noise levels and times that it knows.
    """
    if not 1 <= steps <= timesteps:
        raise UserError(f"{steps} sampler steps: choose between 1 and the {timesteps} timesteps of training")
    return [round((step + 1) * timesteps / steps) - 1 for step in reversed(range(steps))]


@dataclass(frozen=True, kw_only=True)
class Walk(ABC):
    """What the samplers share: the levels, the rounding, and that the last estimate is the result.

    Attributes:
        steps: network evaluations.
        rounding: what becomes of each predicted x_0; the published default is the nearest embedding.
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
        x, before = noise(), None
        levels = self.levels(alpha_bar.tolist())  # one look at the device for all steps
        for level, there in pairwise([*levels, None]):
            assert level is not None
            x_start = self.rounding(denoise(x, level.timestep), level, table)
            x = x_start if there is None else self.step(State(x, x_start, level, noise, before), there)
            before = (x_start, level)
        return x

    def levels(self, alpha_bar: Sequence[float]) -> list[Level]:
        """Return the levels to visit."""
        total = len(alpha_bar)
        return [Level(index, (index + 1) / total, alpha_bar[index]) for index in respaced(total, self.steps)]

    @abstractmethod
    def step(self, now: State, there: Level) -> Tensor:
        """Return x (B, L, d) at the next level."""


@dataclass(frozen=True, kw_only=True)
class Ancestral(Walk):
    """DDPM's posterior steps (Ho et al. 2020, equation 7), as Diffusion-LM decodes; the variance is the posterior's.

    x' ~ q(x' | x, x_0): with b = 1 - abar / abar' its mean is a' b / (1 - abar) x_0 + sqrt(1 - b) (1 - abar') /
    (1 - abar) x, and its variance b (1 - abar') / (1 - abar).

    Attributes:
        rebuilt: the published short cut for few steps, if given: this schedule, the one of training, is built anew with
            `steps` timesteps, and step j is told the time j T / steps, earlier than that of its noise by almost a step.
    """

    rebuilt: Schedule | None = None

    def levels(self, alpha_bar: Sequence[float]) -> list[Level]:  # noqa: D102 - see Walk
        known = super().levels(alpha_bar)
        if self.rebuilt is None:
            return known
        kept = self.rebuilt.alpha_bar(self.steps).tolist()
        stride = len(alpha_bar) / self.steps
        return [Level(step * stride, (step + 1) / self.steps, kept[step]) for step in reversed(range(self.steps))]

    def step(self, now: State, there: Level) -> Tensor:  # noqa: D102 - see Walk
        lost, left, beta = 1 - now.level.kept, 1 - there.kept, 1 - now.level.kept / there.kept
        mean = there.signal * beta / lost * now.x_start + math.sqrt(1 - beta) * left / lost * now.x
        return mean + math.sqrt(beta * left / lost) * now.noise()


@dataclass(frozen=True, kw_only=True)
class Renoised(Walk):
    """The paper's own rule (Li et al. 2022, section 4.2), which its code does not have: x' = a' x_0 + s' eps.

    All that x held beyond the prediction is forgotten at every step, so that mistakes are not carried on. For the same
    reason it is no sampler of the model's distribution, however many the steps: it leans to what is frequent.
    """

    def step(self, now: State, there: Level) -> Tensor:  # noqa: D102 - see Walk
        return there.signal * now.x_start + there.noise * now.noise()


@dataclass(frozen=True, kw_only=True)
class DDIM(Walk):
    """Song et al. (2021a), equation 12: x' = a' x_0 + sqrt(1 - abar' - v) (x - a x_0) / s + sqrt(v) eps.

    v = eta^2 (1 - abar') / (1 - abar) (1 - abar / abar'). With eta = 1 these are ancestral steps; with eta = 0 nothing
    is drawn but the start, and each is an Euler step of the probability-flow ODE in x / a and s / a.
    """

    eta: float = 0.0

    def step(self, now: State, there: Level) -> Tensor:  # noqa: D102 - see Walk
        level = now.level
        variance = self.eta**2 * (1 - there.kept) / (1 - level.kept) * (1 - level.kept / there.kept)
        eps = (now.x - level.signal * now.x_start) / level.noise
        mean = there.signal * now.x_start + math.sqrt(1 - there.kept - variance) * eps
        return mean + math.sqrt(variance) * now.noise() if self.eta else mean


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Walk):
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): x' = s' / s x - a' (exp(-h) - 1) D, of second order.

    h is how much the half-log SNR ln(a / s) grows in this step, h_0 in the one before, and D extrapolates:
    D = x_0 + h / (2 h_0) (x_0 - x_0 of the step before). The first step has no step before, and the last goes to
    h = infinity, where the line would leave every bound: both take D = x_0.
    """

    def step(self, now: State, there: Level) -> Tensor:  # noqa: D102 - see Walk
        level, target = now.level, now.x_start
        grown = there.half_log_snr - level.half_log_snr
        if now.before is not None:
            x_start, last = now.before
            ratio = grown / (level.half_log_snr - last.half_log_snr)
            target = target + ratio / 2 * (target - x_start)
        return there.noise / level.noise * now.x - there.signal * math.expm1(-grown) * target


@dataclass(frozen=True, kw_only=True)
class Euler(Walk):
    """Euler steps of the probability-flow ODE in the variance-preserving x (Song et al. 2021b, equation 13).

    With u = ln(a / s) for time the ODE is dx / du = a x_0 - a^2 x, so that x' = x + (u' - u) (a x_0 - a^2 x).
    """

    def step(self, now: State, there: Level) -> Tensor:  # noqa: D102 - see Walk
        level = now.level
        slope = level.signal * now.x_start - level.kept * now.x
        return now.x + (there.half_log_snr - level.half_log_snr) * slope

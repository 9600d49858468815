"""The estimates of x_0 of a diffusion model along its way from noise to samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.metrics.pitch import pitch_class_entropy
from eval.metrics.windows import Windows
from eval.scoring.sample_set import notes_of
from replication.diffusion.rounding import nearest
from replication.diffusion.samplers import IterativeSampler

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from replication.diffusion.rounding import Rounding
    from replication.diffusion.schedule import NoiseLevel
    from replication.tokens.protocol import Encoding
    from replication.training.scales import Scale

WINDOWS = 64  # maximum number of samples that are followed, as many as one batch
LEVELS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)  # t / T at which the notes of the first sample are kept; 0 is the sample
CURVES = ("step", "t", "flips", "margin", "entropy", "validity")
NOTES = ("level", "onset", "duration", "pitch", "velocity")


class Estimate(NamedTuple):
    """The estimate of x_0 at one evaluation of the network.

    Attributes:
        t: Share of the timesteps that is left, 1 at pure noise.
        tokens: (B, L) ids of the tokens nearest to the rounded estimate that the sampler continues with.
        margin: Distance of the network's prediction to the second nearest embedding minus that to the nearest, mean
            over tokens.
    """

    t: float
    tokens: NDArray[np.int64]
    margin: float


@dataclass(frozen=True)
class RecordingRounding:
    """A rounding that applies another one and records every estimate of a sampler.

    Attributes:
        rounding: Rounding that is applied.
        seen: List to which every evaluation appends its estimate.
    """

    rounding: Rounding
    seen: list[Estimate]

    def __call__(self, predicted: Tensor, level: NoiseLevel, table: Tensor) -> Tensor:
        """Apply the other rounding; see `Rounding`."""
        rounded = self.rounding(predicted, level, table)
        self.seen.append(Estimate(level.fraction, nearest(table, rounded).cpu().numpy(), margin(predicted, table)))
        return rounded


def margin(predicted: Tensor, table: Tensor) -> float:
    """Return how much nearer the nearest row of (V, d) is than the second nearest, mean over (..., d) predictions."""
    import torch

    distances = torch.cdist(predicted.reshape(1, -1, predicted.shape[-1]), table[None])
    near, _ = distances.topk(2, largest=False)
    return (near[..., 1] - near[..., 0]).mean().item()


def trajectory(
    trained: Callable[[Scale], Any], scale: Scale, encoding: Encoding, *, seed: int
) -> dict[str, pd.DataFrame]:
    """Follow the first `WINDOWS` samples of a diffusion model, drawn again by its own sampler and noise.

    Args:
        trained: Function from a scale, which differs from the trial's only in its sampler, to the trained model.
        scale: Scale of the trial.
        encoding: Encoding of the tokens.
        seed: Seed of the samples.

    Returns:
        Tables by name, none if the sampler is not a `Walk`. "trajectory", a row for each evaluation of the network:
        step from 0; t, the share of the timesteps that is left, 1 at pure noise; flips, the share of tokens that differ
        from the evaluation before, NaN at the first; margin, as `Estimate` has it, in mean distances between two
        different embeddings; entropy, `pitch_class_entropy` in bits, mean over samples with notes; validity, the share
        of samples that need no repair. "trajectory-notes": level (of `LEVELS`), and the notes of the first sample there
        as `notes_of` has them. Margins are what rounding has to work with (Li et al. 2022, section 4.2).
    """
    import torch

    seen: list[Estimate] = []
    if not isinstance(scale.sampler, IterativeSampler):
        return {}
    sampler = replace(scale.sampler, rounding=RecordingRounding(scale.sampler.rounding, seen))
    model = trained(replace(scale, sampler=sampler))
    samples = min(WINDOWS, scale.samples)
    model.sample(range(samples), seed=seed)
    apart = torch.pdist(model.embedding.weight.detach()).mean().item()
    estimates = [Estimate(one.t, one.tokens[:samples], one.margin / apart) for one in seen]
    return {"trajectory": curves(estimates, encoding), "trajectory-notes": notes(estimates, encoding)}


def curves(estimates: list[Estimate], encoding: Encoding) -> pd.DataFrame:
    """Return one row per estimate; see `trajectory`."""
    import pandas as pd

    rows, before = [], None
    for step, (t, tokens, gap) in enumerate(estimates):
        decoded = [encoding.decode(row) for row in tokens.tolist()]
        entropies = pitch_class_entropy(Windows.joined([one.notes for one in decoded], encoding.grid))
        entropies = entropies[~np.isnan(entropies)]
        flips = math.nan if before is None else float((tokens != before).mean())
        entropy = float(entropies.mean()) if len(entropies) else math.nan
        rows.append((step, t, flips, gap, entropy, float(np.mean([one.valid for one in decoded]))))
        before = tokens
    return pd.DataFrame(rows, columns=list(CURVES))


def notes(estimates: list[Estimate], encoding: Encoding) -> pd.DataFrame:
    """Return the notes of the first sample at the estimates that are closest to each of `LEVELS`; see `trajectory`."""
    import pandas as pd

    levels = np.abs(np.subtract.outer(LEVELS, [one.t for one in estimates])).argmin(axis=1)
    rows = [encoding.decode(estimates[index].tokens[0].tolist()).notes for index in levels]
    found = notes_of(Windows.joined(rows, encoding.grid))
    return pd.DataFrame({"level": np.array(LEVELS)[found["sample"]], **found.drop(columns="sample")})

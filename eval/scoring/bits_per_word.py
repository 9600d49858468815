"""The audit of "bits per word": that number, known measures of quality and a distance, of the same weights.

The report on Diffusion-LM for music compares models by "bits per word" of 3e-5 to 3e-4 and does not define them. They
are consistent with the rounding term of the training loss: the certainty with which a token is recovered from its own
embedding under the noise of the first timestep. The denoiser does not enter that term. Here it is measured for every
diffusion model of a comparison at several ages, with the distance of samples from real music, a bound on the likelihood
and the gap to real music by a teacher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from eval.metrics.windows import evenly
from replication.models.diffusion_lm import standard_normal
from replication.training.model import token_counts
from replication.training.neural_model import CHUNK
from replication.util.files import read_json, write_json
from replication.util.generators import generator
from replication.util.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from baselines.embeddings_only import EmbeddingsOnly
    from replication.models.diffusion_lm import DiffusionLM

    Audited = DiffusionLM | EmbeddingsOnly

WINDOWS = 64  # windows whose bound is measured, evenly spread over the held-out split: one chunk
STRATA = 8  # timesteps drawn for each of them
SAMPLES = 128  # samples that are compared with real music
SEED = 0  # of the noise of the number and of the bound, the same for all models, so that it cancels in comparisons


@dataclass(frozen=True, kw_only=True, eq=False)
class Yardsticks:
    """The real music that the models of an audit are measured with.

    Attributes:
        real: (n, L) token ids of the held-out split.
        distance: Function from (k, L) token ids to their distance from real music in floors.
        teacher: Function from (k, L) token ids to their nats per token by the teacher, or None if there is no teacher.
    """

    real: torch.Tensor
    distance: Callable[[torch.Tensor], float]
    teacher: Callable[[torch.Tensor], float] | None


def audit(
    model: Audited, weights: Mapping[int, Path], drawn: torch.Tensor, yardsticks: Yardsticks, *, path: Path, seed: int
) -> dict[int, dict[str, float | None]]:
    """Measure the weights of one training run at several ages.

    Each result is written to `path` (JSON) when it is ready; ages that are already there are skipped.

    Args:
        model: Model of the run, on the device to compute on; its weights are replaced.
        weights: File of the averaged weights at each age, in training steps. The last are those of the trained model.
        drawn: (k, L) samples of the trained model, which are not drawn again.
        yardsticks: Real music.
        path: File of the results.
        seed: Seed of the samples.

    Returns:
        By age: `bits_per_word`, see there; `nll`, the model's bound of the negative log-likelihood in nats per token,
        with `nll_error`, its standard error; `teacher_gap`, in nats per token, see `teacher_gap`, None without a
        teacher; `distance` of `SAMPLES` samples, or of k if these are fewer.

    Raises:
        UserError: If the weights of an age are damaged or belong to another model.
    """
    done: dict[str, dict[str, float | None]] = read_json(path) if path.exists() else {}
    some = yardsticks.real[evenly(len(yardsticks.real), WINDOWS)].long()
    tokens = int(token_counts(some).sum())
    samples = drawn[:SAMPLES].long()
    for age, file in weights.items():
        if str(age) in done:
            continue
        model.load(file)
        bound = model.nll(some.to(model.alpha_bar.device), seed=SEED)
        assert bound.error is not None
        music = samples if age == max(weights) else model.sample(range(len(samples)), seed=seed)
        gap = teacher_gap(yardsticks.teacher, music, yardsticks.real) if yardsticks.teacher else math.nan
        measured = {
            "bits_per_word": bits_per_word(model, yardsticks.real, seed=SEED),
            "nll": bound.total.sum().item() / tokens,
            "nll_error": bound.error.norm().item() / tokens,
            "teacher_gap": gap,
            "distance": yardsticks.distance(music),
        }
        done[str(age)] = {name: plain(value) for name, value in measured.items()}
        write_json(path, done)
    return {age: done[str(age)] for age in weights}


def teacher_gap(teacher: Callable[[torch.Tensor], float], samples: torch.Tensor, real: torch.Tensor) -> float:
    """Return |teacher's nats per token of samples - of real music|, on as many real windows as there are samples.

    Infinite if the teacher rules out all samples, which are then as far from real music as samples can be.

    Args:
        teacher: Function from (k, L) token ids to nats per token, NaN if it rules out all of them.
        samples: (k, L) token ids.
        real: (n, L) token ids.
    """
    gap = abs(teacher(samples) - teacher(real[evenly(len(real), len(samples))].long()))
    return math.inf if math.isnan(gap) else gap


@torch.no_grad()
def bits_per_word(model: Audited, tokens: torch.Tensor, *, seed: int) -> float:
    """Return the rounding term of the training loss in bits, which is not a likelihood or a measure of samples.

    mean over all positions, padding included, of -log2 softmax(E (e + sigma_0 noise) + b)[w]: close to 0 for embeddings
    that are far apart compared with the noise, as random ones in 128 dimensions are; log2 V for equal ones.

    Args:
        model: Model with table E and bias b of the rounding head; its network, if it has one, is not used.
        tokens: (n, L) ids w.
        seed: Seed of the noise.
    """
    table, abar = model.embedding.weight.double(), model.alpha_bar
    total = 0.0
    for number, part in enumerate(torch.split(tokens, CHUNK)):
        words = part.to(table.device).long()
        clean = table[words]
        noise = standard_normal(clean, generator("bits-per-word", seed, number, device=table.device))
        logits = model.rounding_logits(clean + (1 - abar[0]).sqrt() * noise)
        own = words[..., None]
        # ln(1 + odds of the others): the cross-entropy itself is 0 below 1e-14, where random embeddings begin.
        others = (logits - logits.gather(-1, own)).scatter(-1, own, -torch.inf).logsumexp(-1)
        total += F.softplus(others).sum().item()
    return total / tokens.numel() / math.log(2)
